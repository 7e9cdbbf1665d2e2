"""Opens both APIs of one destination."""

import base64
import random
import ssl
import threading
import time
from collections.abc import Callable

import httpx

from reconciler import __version__
from reconciler.clock import boot_seconds
from reconciler.customerio.app_api import AppClient
from reconciler.customerio.hosts import APP_HOSTS, TRACK_HOSTS, Proxy, base_url, find_proxy
from reconciler.customerio.network import Deadline, PoolTransport
from reconciler.customerio.outcomes import Endpoint
from reconciler.customerio.rate_limit import Limiter
from reconciler.customerio.track_api import TrackClient
from reconciler.customerio.transport import Transport
from reconciler.errors import DestinationError
from reconciler.models.fields import Secret
from reconciler.models.spec import DestinationSettings

APP_RATE = 10.0
"""Requests per second to the App API. Source: App API specification."""


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
        deadline = Deadline(clock)
        return Transport(
            endpoint.base,
            lambda: open_client(headers, tls, deadline, endpoint.proxy),
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
    headers = {
        "Authorization": f"Basic {base64.b64encode(f'{site}:{key}'.encode()).decode()}",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",  # its answers are a few bytes
    }
    keys = "destination.site_id and destination.api_key"
    endpoint = Endpoint("the Track API", "destination.track_url", base, keys, region, find_proxy(base))
    track = TrackClient(destination, endpoint, open_transport(endpoint, headers, destination.rate_limit), warn)
    if destination.app_api_key is None:
        return track, None
    try:
        base = base_url(destination.app_url, "app_url", APP_HOSTS[region])
        key = _check_key(destination.app_api_key, "app_api_key")
        headers = {"Authorization": f"Bearer {key}", "Accept-Encoding": "gzip"}
        keys = "destination.app_api_key"
        endpoint = Endpoint("the App API", "destination.app_url", base, keys, region, find_proxy(base))
        return track, AppClient(destination.app_api_key, endpoint, open_transport(endpoint, headers, APP_RATE))
    except DestinationError:
        track.close()
        raise


def open_client(
    headers: dict[str, str], tls: ssl.SSLContext, deadline: Deadline, proxy: Proxy | None = None
) -> httpx.Client:
    """Open a client for one request at a time: a kept connection, no redirects, no other proxy."""
    return httpx.Client(
        headers={"User-Agent": f"reconcile/{__version__}", "Accept": "application/json", **headers},
        transport=PoolTransport(tls, deadline, proxy),
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
