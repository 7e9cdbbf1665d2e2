"""Opening both APIs: what is refused before anything is sent, and that no secret shows."""

import inspect
import threading
from contextlib import closing

import pytest
import respx

from reconciler.clock import boot_seconds
from reconciler.customerio.connection import Connections
from reconciler.errors import DestinationError
from reconciler.models.batches import Batch, Direction
from reconciler.models.fields import Secret
from reconciler.models.spec import DestinationSettings, Region
from tests.fakes.wire import APP_KEY, KEY, SEGMENT, SITE, FakeGate, FakeTime, destination
from tests.unit.customerio.conftest import Clients, QuickStop


def connect(*destinations: DestinationSettings) -> list[Clients]:
    """Open both APIs of each destination of one run, and close them again: nothing is sent."""
    with closing(Connections(destinations, stop=threading.Event(), warn=print)) as connections:
        return [connections.open(each) for each in destinations]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("url", "region", "track_base", "app_base"),
    [
        (None, Region.US, "https://track.customer.io", "https://api.customer.io"),
        (None, Region.EU, "https://track-eu.customer.io", "https://api-eu.customer.io"),
        ("http://127.0.0.1:8025/", Region.EU, "http://127.0.0.1:8025", "http://127.0.0.1:8025"),
    ],
    ids=["us", "eu", "an override loses its last slash"],
)
def test_each_region_has_its_hosts_unless_they_are_overridden(
    url: str | None, region: Region, track_base: str, app_base: str
) -> None:
    ((track, app),) = connect(destination(url, region=region))

    assert app is not None
    assert (track.endpoint.base, app.endpoint.base) == (track_base, app_base)


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8025", "ftp://host", "http://", "http://user:hunter2@host", "https://host?x=1", "https://host#x",
     "http://[::1", "http://host:99999999", "https://ho st/", "http://\udc80", f"http://{'x' * 64}.com", "http://a..b"],
)  # fmt: skip
def test_a_url_that_can_not_be_a_base_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(DestinationError, match="track_url") as caught:
        connect(destination(url))

    assert "hunter2" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "żółw", "tab\there"])
@pytest.mark.parametrize("name", ["site_id", "api_key", "app_api_key"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(name: str, key: str) -> None:
    with pytest.raises(DestinationError, match=f"destination.{name} ") as caught:
        connect(destination(**{name: Secret(key)}))

    assert not key or key not in str(caught.value) + caught.value.hint


def test_without_an_app_key_there_is_no_app_client() -> None:
    ((_, app),) = connect(destination(app_api_key=None))

    assert app is None


def test_destinations_of_one_account_share_its_limits_whatever_else_they_say() -> None:
    (one, app), *others = connect(
        destination(rate_limit=50, concurrency=8, timeout=300),
        destination(workspace_id=3),
        destination(track_url="https://TRACK.customer.io:443/", app_url="https://api.customer.io"),
        destination(rate_limit=10, concurrency=16, timeout=1),
        destination(rate_limit=20, concurrency=2, settle=99, workspace="another name"),
    )

    assert all(track.transport is one.transport for track, _ in others)
    assert all(other.transport is app.transport for _, other in others)
    assert (one.transport.limiter._window.capacity, one.transport.concurrency) == (10, 2)
    assert app.transport.concurrency == 2


def test_each_api_is_one_account_by_its_own_host_and_keys() -> None:
    (track, app), other_app, other_track, other_host, no_app = connect(
        destination(),
        destination(app_api_key=Secret("another")),
        destination(site_id=Secret("another")),
        destination("http://127.0.0.1:8025"),
        destination(app_api_key=None, rate_limit=1),
    )

    assert other_app[0].transport is no_app[0].transport is track.transport
    assert other_track[1].transport is app.transport
    transports = [app, other_app[1], track, other_track[0], *other_host]
    assert len({id(each.transport) for each in transports}) == 6
    assert track.transport.limiter._window.capacity == 1
    assert other_track[0].transport.limiter._window.capacity == 100


def test_a_destination_that_leads_nowhere_fails_alone() -> None:
    broken = destination("https://user:pass@track.customer.io", rate_limit=1)
    with closing(Connections([broken, destination()], stop=threading.Event(), warn=print)) as connections:
        with pytest.raises(DestinationError, match="track_url"):
            connections.open(broken)
        assert connections.open(destination())[0].transport.limiter._window.capacity == 100


@respx.mock
def test_the_time_out_of_a_request_is_that_of_the_spec_that_it_is_made_for(time: FakeTime) -> None:
    listed = {"segments": [{"id": 61, "name": "VIP", "type": "manual"}]}
    routes = [
        respx.post(host="track.customer.io").respond(200, json={}),
        respx.get(host="track.customer.io").respond(200, json={"region": "us", "environment_id": 3}),
        respx.get("https://api.customer.io/v1/segments").respond(200, json=listed),
        respx.get(path="/v1/segments/56/customer_count").respond(200, json={"count": 1}),
        respx.post("https://api.customer.io/v1/segments").respond(503),
    ]
    specs = [destination(timeout=50, rate_limit=10), destination(timeout=7), destination(timeout=20, workspace_id=3)]
    with closing(Connections(specs, stop=QuickStop(time), warn=print, clock=time.clock)) as connections:
        for spec in specs:
            track, app = connections.open(spec)
            assert app is not None
            track.preflight()
            track.ask_environment()
            track.send(SEGMENT, Batch(Direction.ADD, ("p1",)), FakeGate())
            app.segments(again=True)
            app.count(56)
            app.hurried(9, threading.Event()).count(56)
            app.create("New", "", lambda attempt: True)

    allowed = [[call.request.extensions["timeout"]["read"] for call in route.calls] for route in routes]
    assert allowed[0] == allowed[2] == allowed[4] == [50, 7, 20]
    assert allowed[1] == [50, 50, 7, 7, 20, 20]
    assert allowed[3] == [50, 9, 7, 7, 20, 9]


@respx.mock
def test_one_list_of_segments_serves_all_destinations_of_an_account() -> None:
    route = respx.get("https://api.customer.io/v1/segments").respond(200, json={"segments": []})
    with closing(Connections((), stop=threading.Event(), warn=print)) as connections:
        for spec in (destination(timeout=300), destination(timeout=7), destination(workspace_id=3)):
            app = connections.open(spec)[1]
            assert app is not None
            app.segments()

    assert route.call_count == 1


def test_deadlines_use_the_clock_that_counts_suspension() -> None:
    assert inspect.signature(Connections).parameters["clock"].default is boot_seconds


def test_nothing_that_is_opened_shows_a_secret() -> None:
    ((track, app),) = connect(destination())

    shown = repr((track, app))

    assert not any(secret in shown for secret in (SITE, KEY, APP_KEY))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SSL_CERT_FILE", "/nowhere/at/all.pem", "certificates"),
        ("HTTPS_PROXY", "foo://user:hunter2@host", "proxy"),
        ("ALL_PROXY", "socks5://user:hunter2@host", "proxy"),
    ],
)
def test_an_environment_that_can_not_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(DestinationError, match=message) as caught:
        connect(destination())

    assert name in caught.value.hint
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
