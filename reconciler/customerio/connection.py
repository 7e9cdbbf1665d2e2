"""Opens both APIs of each destination: their hosts, their keys, and the limits that destinations share.

No message about a URL or a key repeats its value.
"""

import base64
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

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


@dataclass(frozen=True)
class Access:
    """How one API is asked for one destination."""

    endpoint: Endpoint
    headers: Mapping[str, str] = field(repr=False)

    @property
    def account(self) -> tuple[httpx.URL, str]:
        """What the other end limits: one for all destinations that lead there with the same keys."""
        return httpx.URL(self.endpoint.base), self.headers["Authorization"]


class Connections:
    """Opens both APIs of the destinations of one run. One thread at a time may use it; close it.

    Destinations that lead to one account share its limits, of which the lowest `rate_limit` and `concurrency` count,
    and what a request has shown that no other gets past. `timeout` and `workspace_id` are each destination's own.
    """

    def __init__(
        self,
        destinations: Iterable[DestinationSettings],
        *,
        stop: threading.Event,
        warn: Callable[[str], None],
        clock: Callable[[], float] = boot_seconds,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`destinations` are all those of the run. Once `stop` is set no attempt starts and every wait ends.

        `warn` receives what could not be checked; `clock` is monotonic seconds, `wall` Unix seconds, `chance` gives 0
        to 1. Raises DestinationError where the certificates can't be read.
        """
        self._destinations = tuple(destinations)
        self._stop, self._warn, self._clock, self._wall, self._chance = stop, warn, clock, wall, chance
        try:
            self._tls = httpx.create_ssl_context()  # slow, so once for all clients
        except OSError:
            raise DestinationError("the certificates can't be read", "check SSL_CERT_FILE and SSL_CERT_DIR") from None
        self._transports: dict[object, Transport] = {}
        self._apps: dict[object, AppClient] = {}
        """By the account: the client from which the others are copied."""

    def open(self, destination: DestinationSettings) -> tuple[TrackClient, AppClient | None]:
        """Open both APIs of a destination; the App client is None without `app_api_key`. Nothing is sent yet.

        Raises DestinationError for a URL or a key that can't be one, and for a proxy that can't be used.
        """
        track, app = find_track(destination), find_app(destination)
        sharing = self._find_sharing(destination, track, find_track)
        transport = self._open_transport(track, sharing, min(each.rate_limit for each in sharing))
        track_client = TrackClient(destination, track.endpoint, transport, self._warn)
        if app is None:
            return track_client, None
        if app.account not in self._apps:
            transport = self._open_transport(app, self._find_sharing(destination, app, find_app), APP_RATE)
            self._apps[app.account] = AppClient(app.endpoint, transport, destination.timeout)
        return track_client, replace(self._apps[app.account], endpoint=app.endpoint, timeout=destination.timeout)

    def _find_sharing(
        self,
        destination: DestinationSettings,
        access: Access,
        find_access: Callable[[DestinationSettings], Access | None],
    ) -> list[DestinationSettings]:
        """Find the destinations of the run that lead to the same account as this one."""
        sharing = [destination]
        for each in self._destinations:
            with suppress(DestinationError):  # it leads nowhere, as opening it says
                other = find_access(each)
                if other is not None and other.account == access.account:
                    sharing.append(each)
        return sharing

    def _open_transport(self, access: Access, sharing: Iterable[DestinationSettings], rate: float) -> Transport:
        """Open the transport of an account, once; `rate` is requests per second."""
        if access.account not in self._transports:
            deadline, resolver, proxy = Deadline(self._clock), Resolver(), access.endpoint.proxy
            self._transports[access.account] = Transport(
                access.endpoint.base,
                lambda: open_client(access.headers, self._tls, deadline, proxy, resolver),
                Limiter(rate, self._clock, self._stop.wait),
                deadline,
                concurrency=min(each.concurrency for each in sharing),
                wait=self._stop.wait,
                clock=self._clock,
                wall=self._wall,
                chance=self._chance,
                is_proxied=proxy is not None,
            )
        return self._transports[access.account]

    def close(self) -> None:
        """Close all connections."""
        for transport in self._transports.values():
            transport.close()


def find_track(destination: DestinationSettings) -> Access:
    """Find how the Track API is asked. Raises DestinationError."""
    base = base_url(destination.track_url, "track_url", TRACK_HOSTS[destination.region])
    site, key = _check_key(destination.site_id, "site_id"), _check_key(destination.api_key, "api_key")
    headers = {
        "Authorization": f"Basic {base64.b64encode(f'{site}:{key}'.encode()).decode()}",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",  # its answers are a few bytes
    }
    name, url_key, keys = "the Track API", "destination.track_url", "destination.site_id and destination.api_key"
    secrets = (destination.site_id, destination.api_key)
    return Access(Endpoint(name, url_key, base, keys, destination.region, secrets, find_proxy(base)), headers)


def find_app(destination: DestinationSettings) -> Access | None:
    """Find how the App API is asked; None: there is no key for it. Raises DestinationError."""
    app_key = destination.app_api_key
    if app_key is None:
        return None
    base = base_url(destination.app_url, "app_url", APP_HOSTS[destination.region])
    headers = {"Authorization": f"Bearer {_check_key(app_key, 'app_api_key')}", "Accept-Encoding": "gzip"}
    name, url_key, keys = "the App API", "destination.app_url", "destination.app_api_key"
    return Access(Endpoint(name, url_key, base, keys, destination.region, (app_key,), find_proxy(base)), headers)


def open_client(
    headers: Mapping[str, str], tls: ssl.SSLContext, deadline: Deadline, proxy: Proxy | None, resolver: Resolver
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
