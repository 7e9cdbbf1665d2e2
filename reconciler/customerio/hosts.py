"""Where Customer.io listens. Source: Track and App API specifications, server addresses."""

import httpx

from reconciler.errors import DestinationError
from reconciler.models.spec import DestinationSettings, Region

TRACK_HOSTS = {Region.US: "https://track.customer.io", Region.EU: "https://track-eu.customer.io"}
APP_HOSTS = {Region.US: "https://api.customer.io", Region.EU: "https://api-eu.customer.io"}


def track_base(destination: DestinationSettings) -> str:
    """Give the base URL of the Track API, without a slash at its end. Raises DestinationError."""
    return _checked(destination.track_url, "track_url") or TRACK_HOSTS[destination.region]


def app_base(destination: DestinationSettings) -> str:
    """Give the base URL of the App API, without a slash at its end. Raises DestinationError."""
    return _checked(destination.app_url, "app_url") or APP_HOSTS[destination.region]


def _checked(text: str | None, key: str) -> str | None:
    """Refuse a URL that can't be a base, without repeating it: it may hold a password."""
    if not text:
        return None
    try:
        url = httpx.URL(text)
        url.host.encode("idna")  # what looking it up does
    except (httpx.InvalidURL, ValueError):
        raise DestinationError(f"destination.{key} is not a URL", "write it as https://host") from None
    if url.scheme not in ("http", "https") or not url.host or " " in text or (url.port or 1) > 65535:
        raise DestinationError(f"destination.{key} is not a URL of the web", "write it as https://host")
    if url.userinfo or url.query or url.fragment:
        raise DestinationError(
            f"destination.{key} holds more than a host and a path", "leave user, password, ? and # out of it"
        )
    return text.rstrip("/")
