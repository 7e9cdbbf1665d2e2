"""The Track API: the bytes of a write, what each answer means, and the check before the first write."""

from collections.abc import Callable

import httpx
import pytest
import respx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.errors import DestinationError
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from reconciler.models.ids import IdType
from reconciler.models.spec import Region, Segment
from tests.fakes.wire import KEY, SEGMENT, SITE, FakeGate, FakeTime, destination
from tests.unit.customerio.conftest import Clients

Open = Callable[..., Clients]
ADD_URL = "https://track.customer.io/api/v1/segments/56/add_customers"
REGION_URL = "https://track.customer.io/api/v1/accounts/region"
BATCH = Batch(Direction.ADD, ("cust_000001", "5"))


def send(clients: Clients, batch: Batch = BATCH, gate: FakeGate | None = None) -> BatchResult:
    return clients[0].send(SEGMENT, batch, gate or FakeGate())


@respx.mock
def test_a_write_is_exactly_these_bytes(open_clients: Open) -> None:
    route = respx.post(ADD_URL).respond(200, content=b"{}\n")
    batch = Batch(Direction.ADD, ("7", "007", 'a"b', "żółw", "a+b@x.com"))

    answer = send(open_clients(destination()), batch)

    request = route.calls.last.request
    assert answer == BatchResult(Outcome.ACKNOWLEDGED, 1)
    assert str(request.url) == ADD_URL + "?id_type=id"
    assert request.content == '{"ids":["7","007","a\\"b","żółw","a+b@x.com"]}'.encode()
    assert httpx.BasicAuth(SITE, KEY)._auth_header == request.headers["authorization"]
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("reconcile/")


@respx.mock
@pytest.mark.parametrize("id_type", IdType)
@pytest.mark.parametrize(
    ("direction", "action"), [(Direction.ADD, "add_customers"), (Direction.REMOVE, "remove_customers")]
)
def test_direction_is_in_the_path_and_id_type_always_in_the_query(
    open_clients: Open, id_type: IdType, direction: Direction, action: str
) -> None:
    route = respx.post(url__startswith="https://track-eu.customer.io/").respond(200)
    segment = Segment(name="vip", segment_id=8, query="SELECT 1", source="w", id_type=id_type)
    track, _ = open_clients(destination(region=Region.EU))

    track.send(segment, Batch(direction, ("a@x.com",)), FakeGate())

    sent = str(route.calls.last.request.url)
    assert sent == f"https://track-eu.customer.io/api/v1/segments/8/{action}?id_type={id_type}"


@respx.mock
def test_a_base_url_may_have_a_path(open_clients: Open) -> None:
    route = respx.post("http://127.0.0.1:8025/cio/api/v1/segments/56/add_customers").respond(200)

    send(open_clients(destination("http://127.0.0.1:8025/cio/")))

    assert route.called


@respx.mock
@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
def test_a_redirect_is_not_followed_and_names_the_other_region(open_clients: Open, status: int) -> None:
    respx.post(ADD_URL).respond(status, headers={"Location": "https://track-eu.customer.io/api/v1/x"})
    other = respx.route(host="track-eu.customer.io").respond(200)

    answer = send(open_clients(destination()))

    assert (answer.outcome, answer.attempts, answer.unknown_at) == (Outcome.STOPPED, 1, None)
    assert "destination.region to eu" in answer.hint
    assert not other.called


@respx.mock
@pytest.mark.parametrize(
    ("status", "outcome", "attempts"),
    [
        (400, Outcome.BAD_REQUEST, 1),
        (422, Outcome.BAD_REQUEST, 1),
        (401, Outcome.STOPPED, 1),
        (403, Outcome.STOPPED, 1),
        (404, Outcome.STOPPED, 1),
        (405, Outcome.STOPPED, 1),
        (407, Outcome.STOPPED, 1),
        (409, Outcome.STOPPED, 1),
        (410, Outcome.STOPPED, 1),
        (413, Outcome.TOO_LARGE, 1),
        (408, Outcome.UNKNOWN, 5),
        (429, Outcome.REFUSED, 5),
        (500, Outcome.UNKNOWN, 5),
        (503, Outcome.UNKNOWN, 5),
        (522, Outcome.UNKNOWN, 5),
    ],
)
def test_each_status_ends_so_and_says_why(open_clients: Open, status: int, outcome: Outcome, attempts: int) -> None:
    respx.post(ADD_URL).respond(status)

    answer = send(open_clients(destination()))

    assert (answer.outcome, answer.attempts) == (outcome, attempts)
    assert (answer.unknown_at is not None) == (outcome is Outcome.UNKNOWN)
    assert str(status) in answer.message
    assert answer.hint


@respx.mock
@pytest.mark.parametrize(
    ("error", "outcome", "unknown"),
    [
        (httpx.ConnectError, Outcome.REFUSED, False),
        (httpx.ConnectTimeout, Outcome.REFUSED, False),
        (httpx.PoolTimeout, Outcome.REFUSED, False),
        (httpx.ReadTimeout, Outcome.UNKNOWN, True),
        (httpx.WriteTimeout, Outcome.UNKNOWN, True),
        (httpx.WriteError, Outcome.UNKNOWN, True),
        (httpx.ReadError, Outcome.UNKNOWN, True),
        (httpx.RemoteProtocolError, Outcome.UNKNOWN, True),
        (httpx.LocalProtocolError, Outcome.STOPPED, False),
        (httpx.UnsupportedProtocol, Outcome.STOPPED, False),
    ],
)
def test_each_failure_ends_so(open_clients: Open, error: type[Exception], outcome: Outcome, unknown: bool) -> None:
    respx.post(ADD_URL).mock(side_effect=error)

    answer = send(open_clients(destination()))

    assert answer.outcome is outcome
    assert (answer.unknown_at is not None) == unknown
    assert answer.attempts == (1 if outcome is Outcome.STOPPED else 5)


@respx.mock
def test_the_apis_words_are_told_with_ids_and_keys_masked(open_clients: Open) -> None:
    words = f"cust_000001 and '5' of {KEY} are odd, see 55"
    respx.post(ADD_URL).respond(400, json={"meta": {"errors": [words]}})

    answer = send(open_clients(destination()))

    assert answer.message == "the Track API refused the request (400): *** and '***' of *** are odd, see 55"


@respx.mock
def test_a_server_that_asks_to_wait_is_waited_for(open_clients: Open, time: FakeTime) -> None:
    respx.post(ADD_URL).mock(side_effect=[httpx.Response(429, headers={"Retry-After": "7"}), httpx.Response(200)])

    answer = send(open_clients(destination()))

    assert (answer.outcome, answer.attempts, answer.unknown_at) == (Outcome.ACKNOWLEDGED, 2, None)
    assert time.waits == [7.0]


@respx.mock
@pytest.mark.parametrize("later", [200, 400, 429])
def test_an_unknown_attempt_is_told_whatever_came_after_it(open_clients: Open, time: FakeTime, later: int) -> None:
    began = time.wall()
    respx.post(ADD_URL).mock(side_effect=[httpx.ReadTimeout, *[httpx.Response(later)] * 4])

    answer = send(open_clients(destination()))

    assert answer.unknown_at == began
    assert answer.may_be_applied
    assert answer.outcome is {200: Outcome.ACKNOWLEDGED, 400: Outcome.BAD_REQUEST, 429: Outcome.UNKNOWN}[later]


@respx.mock
@pytest.mark.parametrize(
    ("first", "last", "outcome", "attempts"),
    [
        (200, 0, Outcome.NOT_STARTED, 0),
        (429, 1, Outcome.NOT_STARTED, 1),
        (503, 1, Outcome.UNKNOWN, 1),
    ],
)
def test_a_shut_gate_ends_with_what_is_known(
    open_clients: Open, first: int, last: int, outcome: Outcome, attempts: int
) -> None:
    route = respx.post(ADD_URL).respond(first)

    answer = send(open_clients(destination()), gate=FakeGate(last))

    assert (answer.outcome, answer.attempts, route.call_count) == (outcome, attempts, attempts)


@respx.mock
def test_a_stopping_run_sends_nothing_and_does_not_ask_the_gate(open_clients: Open, time: FakeTime) -> None:
    route, gate = respx.post(ADD_URL).respond(200), FakeGate()
    time.stopping = True

    answer = send(open_clients(destination()), gate=gate)

    assert (answer.outcome, gate.asked, route.called) == (Outcome.NOT_STARTED, [], False)


@respx.mock
def test_a_gate_that_fails_gives_its_permit_back(open_clients: Open, time: FakeTime) -> None:
    class Broken(FakeGate):
        def try_start(self, attempt: int) -> bool:
            raise RuntimeError("lease lost")

    respx.post(ADD_URL).respond(200)
    clients = open_clients(destination(rate_limit=0.001, concurrency=1))

    with pytest.raises(RuntimeError, match="lease lost"):
        send(clients, gate=Broken())

    assert send(clients).outcome is Outcome.ACKNOWLEDGED
    assert time.waits == []


# --- the check before the first write ------------------------------------------------------------------------------


def region_answer(**more: object) -> httpx.Response:
    return httpx.Response(200, json={"url": "https://track.customer.io", "region": "us", "environment_id": 3, **more})


@respx.mock
def test_the_check_gives_the_environment(open_clients: Open) -> None:
    route = respx.get(REGION_URL).mock(return_value=region_answer())
    track, _ = open_clients(destination(workspace_id=3))

    assert track.preflight() == 3
    assert route.calls.last.request.headers["authorization"].startswith("Basic ")


@respx.mock
@pytest.mark.parametrize("status", [404, 405])
def test_where_the_endpoint_does_not_exist_nothing_is_known_and_that_is_said(
    open_clients: Open, warnings: list[str], status: int
) -> None:
    respx.get(REGION_URL).respond(status)

    assert open_clients(destination())[0].preflight() is None
    assert f"there is no region endpoint at {REGION_URL} ({status})" in warnings[0]


@respx.mock
@pytest.mark.parametrize(
    ("location", "message", "hint"),
    [
        ("https://track-eu.customer.io/api/v1/accounts/region", "another region", "destination.region to eu"),
        (None, "another region", "destination.region to eu"),
        ("https://login.example/?token=hunter2", "it redirects to login.example", "destination.track_url"),
        ("/login?token=hunter2", "it redirects to track.customer.io", "a login page"),
        ("https://user:hunter2@customer.io.example/", "it redirects to customer.io.example", "never followed"),
        ("http://[hunter2", "it redirects to another host", "never followed"),
    ],
)
def test_a_redirect_to_a_login_page_is_no_matter_of_regions(
    open_clients: Open, location: str | None, message: str, hint: str
) -> None:
    respx.get(REGION_URL).respond(302, headers={"Location": location} if location else {})

    with pytest.raises(DestinationError, match=message) as caught:
        open_clients(destination())[0].preflight()

    assert hint in caught.value.hint
    assert "hunter2" not in caught.value.message + caught.value.hint


@respx.mock
def test_the_check_is_tried_again(open_clients: Open) -> None:
    respx.get(REGION_URL).mock(side_effect=[httpx.ReadTimeout, httpx.Response(503), region_answer()])

    assert open_clients(destination())[0].preflight() == 3


@respx.mock
@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (401, "credentials", "destination.site_id and destination.api_key"),
        (403, "forbids", "IP addresses"),
        (301, "another region", "destination.region to eu"),
        (429, "too often", "rate_limit"),
        (500, "failed", "run again"),
    ],
)
def test_a_check_that_fails_says_what_to_do(open_clients: Open, status: int, message: str, hint: str) -> None:
    respx.get(REGION_URL).respond(status)
    track, _ = open_clients(destination())

    with pytest.raises(DestinationError, match=message) as caught:
        track.preflight()

    assert hint in caught.value.hint


@respx.mock
@pytest.mark.parametrize("url", [None, "http://127.0.0.1:8025"])
def test_an_account_that_lives_in_the_other_region_is_refused(open_clients: Open, url: str | None) -> None:
    respx.get(path="/api/v1/accounts/region").mock(return_value=region_answer(region="eu"))
    track, _ = open_clients(destination(url))

    with pytest.raises(DestinationError, match="the account lives in eu") as caught:
        track.preflight()

    assert caught.value.hint == "set destination.region to eu"


@respx.mock
@pytest.mark.parametrize("environment", [4, None])
def test_keys_of_another_workspace_than_the_pinned_one_are_refused(open_clients: Open, environment: int | None) -> None:
    respx.get(REGION_URL).mock(return_value=region_answer(environment_id=environment))
    track, _ = open_clients(destination(workspace_id=3))

    with pytest.raises(DestinationError, match="workspace_id is 3") as caught:
        track.preflight()

    assert caught.value.code == "environment"


@respx.mock
def test_an_environment_that_is_not_told_is_not_known(open_clients: Open) -> None:
    respx.get(REGION_URL).respond(200, json={"region": "us"})

    assert open_clients(destination())[0].preflight() is None


@respx.mock
@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"7", b"{", b'{"region":"mars"}', b'{"region":["us"]}', b'{"region":"us","environment_id":true}',
     b'{"region":"us","environment_id":"3"}', b'{"region":"us","environment_id":3.5}', b"[" * 5000,
     b'{"region":"us","environment_id":3,"meta":{"errors":["down"]}}'],
)  # fmt: skip
def test_a_check_that_answers_nonsense_is_an_error_not_a_crash(open_clients: Open, body: bytes) -> None:
    respx.get(REGION_URL).respond(200, content=body)
    track, _ = open_clients(destination())

    with pytest.raises(DestinationError, match="the answer is not one"):
        track.preflight()


@respx.mock
def test_a_stopping_run_does_not_check(open_clients: Open, time: FakeTime) -> None:
    route = respx.get(REGION_URL).mock(return_value=region_answer())
    time.stopping = True

    with pytest.raises(DestinationError, match="stopped"):
        open_clients(destination())[0].preflight()

    assert not route.called


@pytest.fixture
def clients(open_clients: Open) -> Clients:
    return open_clients(destination())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(status=st.integers(200, 599), body=st.binary(max_size=300), after=st.text("0123456789 GMT:,Wed", max_size=30))
def test_any_answer_to_a_write_has_an_end(clients: Clients, status: int, body: bytes, after: str) -> None:
    with respx.mock:
        respx.post(ADD_URL).respond(status, content=body, headers={"Retry-After": after})

        answer = send(clients)

    assert answer.outcome is not Outcome.ACKNOWLEDGED or status < 300
    assert answer.outcome is not Outcome.ACKNOWLEDGED or not body.strip() or body.strip().startswith(b"{")
    assert len(answer.message) < 500
    assert answer.message.isprintable()
