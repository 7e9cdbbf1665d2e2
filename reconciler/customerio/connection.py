"""Opens both APIs of one destination: their hosts and their keys.

No message about a URL or a key repeats its value.
"""

import base64
import random
import ssl
import threading
import time
from collections.abc import Callable

import httpx

from reconciler import __version__
from reconciler.clock import boot_seconds
from reconciler.customerio.clients import AppClient, TrackClient
from reconciler.customerio.network import Deadline, PoolTransport, Resolver
from reconciler.customerio.outcomes import Endpoint
from reconciler.customerio.proxy import Proxy, find_proxy
from reconciler.customerio.rate_limit import Limiter
from reconciler.customerio.transport import Transport
from reconciler.errors import DestinationError
from reconciler.models.fields import Secret
from reconciler.models.spec import DestinationSettings, Region

APP_RATE = 10.0
"""Requests per second to the App API. Source: App API specification."""

TRACK_HOSTS = {Region.US: "https://track.customer.io", Region.EU: "https://track-eu.customer.io"}
APP_HOSTS = {Region.US: "https://api.customer.io", Region.EU: "https://api-eu.customer.io"}
"""Source: Track and App API specifications, server addresses."""


def connect(
    destination: DestinationSettings,
    *,
    stop: threading.Event,
    warn: Callable[[str], None],
    clock: Callable[[], float] = boot_seconds,
    wall: Callable[[], float] = time.time,
    chance: Callable[[], float] = random.random,
) -> tuple[TrackClient, AppClient | None]:
    """Open both APIs of a destination, once per run: all users of the two clients share their limits.

    Nothing is sent yet. The App client is None without `app_api_key`. Once `stop` is set no attempt starts and every
    wait ends. `warn` receives what could not be checked; `clock` is monotonic seconds, `wall` Unix seconds, `chance`
    gives 0 to 1. Close both. Raises DestinationError for a URL or a key that can't be one, and for a proxy that can't
    be used.
    """
    try:
        tls = httpx.create_ssl_context()  # slow, so once for all clients
    except OSError:
        raise DestinationError("the certificates can't be read", "check SSL_CERT_FILE and SSL_CERT_DIR") from None

    def open_transport(endpoint: Endpoint, headers: dict[str, str], rate: float) -> Transport:
        deadline, resolver = Deadline(clock), Resolver()
        return Transport(
            endpoint.base,
            lambda: open_client(headers, tls, deadline, endpoint.proxy, resolver),
            Limiter(rate, clock, stop.wait),
            deadline,
            timeout=destination.timeout,
            concurrency=destination.concurrency,
            wait=stop.wait,
            clock=clock,
            wall=wall,
            chance=chance,
            is_proxied=endpoint.proxy is not None,
        )

    region = destination.region
    base = base_url(destination.track_url, "track_url", TRACK_HOSTS[region])
    site, key = _check_key(destination.site_id, "site_id"), _check_key(destination.api_key, "api_key")
    track_headers = {
        "Authorization": f"Basic {base64.b64encode(f'{site}:{key}'.encode()).decode()}",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",  # its answers are a few bytes
    }
    keys, secrets = "destination.site_id and destination.api_key", (destination.site_id, destination.api_key)
    track_endpoint = Endpoint("the Track API", "destination.track_url", base, keys, region, secrets, find_proxy(base))
    app_key = destination.app_api_key
    if app_key is not None:
        base = base_url(destination.app_url, "app_url", APP_HOSTS[region])
        app_headers = {"Authorization": f"Bearer {_check_key(app_key, 'app_api_key')}", "Accept-Encoding": "gzip"}
        keys = "destination.app_api_key"
        app_endpoint = Endpoint("the App API", "destination.app_url", base, keys, region, (app_key,), find_proxy(base))

    track = TrackClient(
        destination, track_endpoint, open_transport(track_endpoint, track_headers, destination.rate_limit), warn
    )
    if app_key is None:
        return track, None
    return track, AppClient(app_endpoint, open_transport(app_endpoint, app_headers, APP_RATE))


def open_client(
    headers: dict[str, str], tls: ssl.SSLContext, deadline: Deadline, proxy: Proxy | None, resolver: Resolver
) -> httpx.Client:
    """Open a client for one request at a time: a kept connection, no redirects, no other proxy."""
    return httpx.Client(
        headers={"User-Agent": f"reconcile/{__version__}", "Accept": "application/json", **headers},
        transport=PoolTransport(tls, deadline, proxy, resolver),
        follow_redirects=False,
        trust_env=False,
    )


def _check_key(secret: Secret, name: str) -> str:
    """Refuse a key that no header can carry, without showing it."""
    text = secret.reveal()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise DestinationError(
            f"destination.{name} is empty or has a character that a key can't have", "copy the key again"
        )
    return text


def base_url(override: str | None, key: str, host: str) -> str:
    """Return the base URL of an API, without a slash at its end: `destination.<key>` if it is set, else `host`.

    Raises DestinationError, without repeating the URL: it may hold a password.
    """
    if not override:
        return host
    try:
        url = httpx.URL(override)
        url.host.encode("idna")  # as resolving it does
    except (httpx.InvalidURL, ValueError):
        raise DestinationError(f"destination.{key} is not a URL", "write it as https://host") from None
    if url.scheme not in ("http", "https") or not url.host or " " in override or (url.port or 1) > 65535:
        raise DestinationError(f"destination.{key} is not a URL of the web", "write it as https://host")
    if url.userinfo or url.query or url.fragment:
        raise DestinationError(
            f"destination.{key} holds more than a host and a path", "leave user, password, ? and # out of it"
        )
    return override.rstrip("/")
