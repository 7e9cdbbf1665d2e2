"""Where Customer.io listens. Source: Track and App API specifications, server addresses."""

import importlib.util
import ipaddress
import os
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

import httpx

from reconciler.errors import DestinationError
from reconciler.models.spec import DestinationSettings, Region
from reconciler.models.urls import is_loopback

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


SCHEMES = ("http", "https", "socks5", "socks5h")

FORM = "write it as http://user:password@host:port, special characters in user and password as %XX"


@dataclass(frozen=True)
class Proxy:
    """Where to connect instead. `variable` names it for people."""

    variable: str
    scheme: str
    host: str
    port: int | None
    auth: tuple[bytes, bytes] | None = field(default=None, repr=False)

    @property
    def is_socks(self) -> bool:
        return self.scheme.startswith("socks")


def find_proxy(base: str) -> Proxy | None:
    """Find the proxy for a base URL. None: connect directly, as always to this machine.

    Raises DestinationError for a variable that can't be used.
    """
    parts = urlsplit(base)
    host, named = parts.hostname or "", getproxies()
    kind = parts.scheme if named.get(parts.scheme) else "all"
    text = named.get(kind)
    if not text or is_loopback(host) or is_excepted(host, parts.port, named.get("no", "")):
        return None
    return _parse(text, _variable(kind, text))


def _variable(kind: str, text: str) -> str:
    names = (f"{kind}_proxy", f"{kind.upper()}_PROXY")
    return next((name for name in names if os.environ.get(name) == text), "the system's proxy setting")


def is_excepted(host: str, port: int | None, text: str) -> bool:
    """Tell whether NO_PROXY names the host. An entry that makes no sense excepts nothing."""
    entries = re.split(r"[,\s]+", text.lower())
    return any(_names(entry.rpartition("://")[2], host, port or 443) for entry in entries if entry)


def _names(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    match = re.fullmatch(
        r"\[(?P<v6>[^\]]*)\](?P<size>/\d+)?(:(?P<port6>\d+))?|(?P<name>[^:]*)(:(?P<port>\d+))?|(?P<bare6>.*)", entry
    )
    if match is None:
        return False
    only = match["port6"] or match["port"]
    if only and only != str(port):
        return False
    named = (match["v6"] or "") + (match["size"] or "") or match["bare6"] or match["name"] or ""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(named, strict=False)
    except ValueError:
        name = named.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))


def _parse(text: str, variable: str) -> Proxy:
    """Read the URL of a proxy. One that can be read in two ways is refused: a part of a password could be shown."""
    full = text if "://" in text else f"http://{text}"
    scheme, _, rest = full.partition("://")
    place, *path = re.split(r"[/?#]", rest, maxsplit=1)
    userinfo, _, address = place.rpartition("@")
    if not full.isprintable() or " " in full or "@" in userinfo or "".join(path):
        raise _unusable(variable, "it is not the URL of a proxy", FORM)
    if scheme.lower() not in SCHEMES:
        raise _unusable(variable, "its URL is of no kind that a proxy has", FORM)
    try:
        parts = urlsplit(f"//{address}")
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError:
        raise _unusable(variable, "its host or port is wrong", FORM) from None
    if not host:
        raise _unusable(variable, "it names no host", FORM)
    user, _, password = userinfo.partition(":")
    auth = (unquote(user).encode(), unquote(password).encode()) if userinfo else None
    proxy = Proxy(variable, scheme.lower(), host, port, auth)
    if proxy.is_socks and importlib.util.find_spec("socksio") is None:
        raise _unusable(variable, "SOCKS needs a package", 'install "httpx[socks]", or name an HTTP proxy')
    return proxy


def _unusable(variable: str, why: str, hint: str) -> DestinationError:
    return DestinationError(f"the proxy of {variable} can't be used: {why}", f"check {variable}: {hint}")
