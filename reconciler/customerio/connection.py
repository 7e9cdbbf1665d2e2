"""Opens both APIs of one destination."""

import base64
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from reconciler.core.spec import DestinationSettings, Secret
from reconciler.customerio.app import AppClient
from reconciler.customerio.deadline import Deadline
from reconciler.customerio.explain import Surface
from reconciler.customerio.hosts import app_base, track_base
from reconciler.customerio.limiter import Limiter
from reconciler.customerio.retry import Retrier
from reconciler.customerio.track import TrackClient
from reconciler.customerio.transport import Limited, Logged, Wire, open_client
from reconciler.errors import DestinationError

APP_RATE = 10.0
"""Requests per second to the App API. Source: App API specification."""


@dataclass(frozen=True)
class Ambience:
    """What a client takes from the world: `clock` is monotonic seconds, `wall` Unix seconds, `chance` gives 0 to 1."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random


def connect(
    destination: DestinationSettings, *, stop: threading.Event, ambience: Ambience | None = None
) -> tuple[TrackClient, AppClient | None]:
    """Open both APIs of a destination, once per run: its limits are shared by all who use what comes back.

    Nothing is sent yet. The App client is None without `app_api_key`. Once `stop` is set no attempt starts and every
    wait ends. Close both. Raises DestinationError for a URL or a key that can't be one.
    """
    around = ambience or Ambience()
    track = _open_track(destination, stop.wait, around)
    if destination.app_api_key is None:
        return track, None
    return track, _open_app(destination, destination.app_api_key, stop.wait, around)


def _open_track(destination: DestinationSettings, wait: Callable[[float], bool], around: Ambience) -> TrackClient:
    base = track_base(destination)
    site, key = _checked(destination.site_id, "site_id"), _checked(destination.api_key, "api_key")
    basic = base64.b64encode(f"{site}:{key}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/json", "Accept-Encoding": "identity"}
    client = open_client(headers, destination.concurrency)
    retrier = _retrier(client, base, destination, destination.rate_limit, wait, around)
    surface = Surface("the Track API", _host(base), "destination.site_id and destination.api_key", destination.region)
    return TrackClient(destination, surface, retrier, client)


def _open_app(
    destination: DestinationSettings, secret: Secret, wait: Callable[[float], bool], around: Ambience
) -> AppClient:
    base = app_base(destination)
    key = _checked(secret, "app_api_key")
    client = open_client({"Authorization": f"Bearer {key}", "Accept-Encoding": "gzip"}, destination.concurrency)
    retrier = _retrier(client, base, destination, APP_RATE, wait, around)
    surface = Surface("the App API", _host(base), "destination.app_api_key", destination.region)
    return AppClient(secret, surface, retrier, client)


def _retrier(
    client: httpx.Client,
    base: str,
    destination: DestinationSettings,
    rate: float,
    wait: Callable[[float], bool],
    around: Ambience,
) -> Retrier:
    """Put the wrappers around each other: retry, limit, log, wire."""
    wire = Wire(client, base, Deadline(around.clock), around.wall)
    limiter = Limiter(rate, around.clock, wait)
    limited = Limited(Logged(wire, around.clock), limiter, destination.concurrency)
    return Retrier(limited, destination.timeout, around.clock, around.wall, wait, around.chance)


def _checked(secret: Secret, name: str) -> str:
    """Refuse a key that no header can carry, without showing it."""
    text = secret.reveal()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise DestinationError(
            f"destination.{name} is empty or has a character that a key can't have", "copy the key again"
        )
    return text


def _host(base: str) -> str:
    return urlsplit(base).netloc
