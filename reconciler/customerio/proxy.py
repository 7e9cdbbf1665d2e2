"""The proxy that the environment names for a URL: HTTPS_PROXY, ALL_PROXY and NO_PROXY.

No message about a variable repeats its value: it may hold a password.
"""

import importlib.util
import ipaddress
import os
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from reconciler.errors import DestinationError
from reconciler.models.urls import is_loopback

PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")

PROXY_FORM = "write it as http://user:password@host:port, special characters in user and password as %XX"

NO_PROXY_ENTRY = re.compile(
    r"\[(?P<v6>[^\]]*)\](?P<size>/\d+)?(:(?P<port6>\d+))?|(?P<name>[^:]*)(:(?P<port>\d+))?|(?P<bare6>.*)"
)


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
    names = (f"{kind}_proxy", f"{kind.upper()}_PROXY")
    variable = next((name for name in names if os.environ.get(name) == text), "the system's proxy setting")
    return _parse_proxy(text, variable)


def is_excepted(host: str, port: int | None, text: str) -> bool:
    """Return whether NO_PROXY names the host. An entry that makes no sense excepts nothing."""
    for entry in re.split(r"[,\s]+", text.lower()):
        entry = entry.rpartition("://")[2]
        if entry == "*":
            return True
        match = NO_PROXY_ENTRY.fullmatch(entry)
        if match is None:
            continue
        only = match["port6"] or match["port"]
        if only and only != str(port or 443):
            continue
        v6, size = match["v6"] or "", match["size"] or ""
        named = f"{v6}{size}" or match["bare6"] or match["name"] or ""
        try:
            is_named = ipaddress.ip_address(host) in ipaddress.ip_network(named, strict=False)
        except ValueError:
            name = named.removeprefix("*").strip(".")
            is_named = bool(name) and (host == name or host.endswith(f".{name}"))
        if is_named:
            return True
    return False


def _parse_proxy(text: str, variable: str) -> Proxy:
    """Parse the URL of a proxy. One that can be read in two ways is refused: a part of a password could be shown."""

    def unusable(why: str, hint: str = PROXY_FORM) -> DestinationError:
        return DestinationError(f"the proxy of {variable} can't be used: {why}", f"check {variable}: {hint}")

    full = text if "://" in text else f"http://{text}"
    scheme, _, rest = full.partition("://")
    place, *path = re.split(r"[/?#]", rest, maxsplit=1)
    userinfo, _, address = place.rpartition("@")
    if not full.isprintable() or " " in full or "@" in userinfo or "".join(path):
        raise unusable("it is not the URL of a proxy")
    if scheme.lower() not in PROXY_SCHEMES:
        raise unusable("its URL is of no kind that a proxy has")
    try:
        parts = urlsplit(f"//{address}")
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError:
        raise unusable("its host or port is wrong") from None
    if not host:
        raise unusable("it names no host")
    user, _, password = userinfo.partition(":")
    auth = (unquote(user).encode(), unquote(password).encode()) if userinfo else None
    proxy = Proxy(variable, scheme.lower(), host, port, auth)
    if proxy.is_socks and importlib.util.find_spec("socksio") is None:
        raise unusable("SOCKS needs a package", 'install "httpx[socks]", or name an HTTP proxy')
    return proxy
