"""Opens both APIs of one destination."""

import base64
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from reconciler import __version__
from reconciler.clock import boot_seconds
from reconciler.customerio.app_api import AppClient
from reconciler.customerio.hosts import Proxy, app_base, find_proxy, track_base
from reconciler.customerio.network import Deadline, Transport, open_pool
from reconciler.customerio.outcomes import Surface
from reconciler.customerio.rate_limit import Limiter
from reconciler.customerio.track_api import TrackClient
from reconciler.customerio.transport import Clients, Limited, Logged, Retrier, Wire
from reconciler.errors import DestinationError
from reconciler.models.spec import DestinationSettings, Secret

APP_RATE = 10.0
"""Requests per second to the App API. Source: App API specification."""


@dataclass(frozen=True)
class Ambience:
    """What a client takes from the world: `wall` is Unix seconds, `chance` gives 0 to 1."""

    clock: Callable[[], float] = boot_seconds
    wall: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random


def connect(
    destination: DestinationSettings,
    *,
    stop: threading.Event,
    warn: Callable[[str], None],
    ambience: Ambience | None = None,
) -> tuple[TrackClient, AppClient | None]:
    """Open both APIs of a destination, once per run: its limits are shared by all who use what comes back.

    Nothing is sent yet. The App client is None without `app_api_key`. Once `stop` is set no attempt starts and every
    wait ends. `warn` is told what could not be checked. Close both. Raises DestinationError for a URL or a key that
    can't be one, and for a proxy that can't be used.
    """
    opener = Opener(destination, stop.wait, warn, ambience or Ambience(), trust())
    track = opener.open_track()
    try:
        return track, opener.open_app()
    except DestinationError:
        track.close()
        raise


@dataclass(frozen=True)
class Opener:
    """Puts the parts together."""

    destination: DestinationSettings
    wait: Callable[[float], bool]
    warn: Callable[[str], None]
    around: Ambience
    tls: ssl.SSLContext

    def open_track(self) -> TrackClient:
        """Open the Track API: Basic, the site id and its key."""
        given = self.destination
        base = track_base(given)
        site, key = _checked(given.site_id, "site_id"), _checked(given.api_key, "api_key")
        basic = base64.b64encode(f"{site}:{key}".encode()).decode()
        headers = {
            "Authorization": f"Basic {basic}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",  # its answers are a few bytes
        }
        proxy, keys = find_proxy(base), "destination.site_id and destination.api_key"
        surface = Surface("the Track API", "destination.track_url", base, keys, given.region, proxy)
        clients, retrier = self._wrap(headers, base, given.rate_limit, proxy)
        return TrackClient(given, surface, retrier, clients, self.warn)

    def open_app(self) -> AppClient | None:
        """Open the App API: Bearer, a key of its own. None where there is no key."""
        given = self.destination
        if given.app_api_key is None:
            return None
        base, key = app_base(given), _checked(given.app_api_key, "app_api_key")
        headers = {"Authorization": f"Bearer {key}", "Accept-Encoding": "gzip"}
        proxy = find_proxy(base)
        surface = Surface("the App API", "destination.app_url", base, "destination.app_api_key", given.region, proxy)
        clients, retrier = self._wrap(headers, base, APP_RATE, proxy)
        return AppClient(given.app_api_key, surface, retrier, clients)

    def _wrap(self, headers: Mapping[str, str], base: str, rate: float, proxy: Proxy | None) -> tuple[Clients, Retrier]:
        """Open the clients, and put the wrappers around each other: retry, limit, log, wire."""
        around, deadline = self.around, Deadline(self.around.clock)
        clients = Clients(lambda: open_client(headers, self.tls, deadline, proxy))
        wire = Logged(Wire(clients, base, deadline, around.wall, is_proxied=proxy is not None), around.clock)
        limited = Limited(wire, Limiter(rate, around.clock, self.wait), self.destination.concurrency)
        return clients, Retrier(limited, self.destination.timeout, around.clock, around.wall, self.wait, around.chance)


def trust() -> ssl.SSLContext:
    """Load the certificates to trust: slow, so once for all clients. Raises DestinationError."""
    try:
        return httpx.create_ssl_context()
    except OSError:
        raise DestinationError("the certificates can't be read", "check SSL_CERT_FILE and SSL_CERT_DIR") from None


def open_client(
    headers: Mapping[str, str], tls: ssl.SSLContext, deadline: Deadline, proxy: Proxy | None = None
) -> httpx.Client:
    """Open a client for one request at a time: a kept connection, no redirects, no other proxy."""
    return httpx.Client(
        headers={"User-Agent": f"reconcile/{__version__}", "Accept": "application/json", **headers},
        transport=Transport(open_pool(tls, deadline, proxy)),
        follow_redirects=False,
        trust_env=False,
    )


def _checked(secret: Secret, name: str) -> str:
    """Refuse a key that no header can carry, without showing it."""
    text = secret.reveal()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise DestinationError(
            f"destination.{name} is empty or has a character that a key can't have", "copy the key again"
        )
    return text
