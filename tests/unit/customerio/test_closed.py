"""An API that can't be reached at all, or refuses the keys, is met once a run: later calls fail with that cause."""

import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from reconciler.customerio.network import Deadline
from reconciler.customerio.outcomes import CallResult
from reconciler.customerio.rate_limit import Limiter
from reconciler.customerio.retry import MAX_ATTEMPTS
from reconciler.customerio.transport import Call, Transport
from reconciler.errors import DestinationError
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from tests.fakes.wire import SEGMENT, FakeGate, FakeTime, RawServer, destination, read_request, reply
from tests.unit.customerio.conftest import CERTIFICATE, Clients

Open = Callable[..., Clients]
Ending = int | Exception
NO_HOST, NO_ANSWER, LOST = httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.ReadError("x")


class Api:
    """Answers calls by the endings of their path, in turn; the last one for ever."""

    def __init__(self, *, concurrency: int = 1, wait: Callable[[float], bool] | None = None, **endings: list[Ending]):
        self.time = FakeTime()
        self.attempts = Counter[str]()
        self._endings = endings
        self._lock = threading.Lock()
        self.transport = Transport(
            "https://track.example",
            lambda: httpx.Client(transport=httpx.MockTransport(self._answer)),
            Limiter(1e9, self.time.clock, self.time.wait),
            Deadline(self.time.clock),
            concurrency=concurrency,
            wait=wait or self.time.wait,
            clock=self.time.clock,
            wall=self.time.wall,
            chance=lambda: 1.0,
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.strip("/")
        with self._lock:
            self.attempts[path] += 1
            endings = self._endings[path]
            ending = endings.pop(0) if len(endings) > 1 else endings[0]
        if isinstance(ending, Exception):
            raise ending
        return httpx.Response(ending, stream=httpx.ByteStream(b"{}"))

    def call(self, path: str, try_start: Callable[[int], bool] | None = None, **more: int) -> CallResult:
        return self.transport.call(Call("POST", f"/{path}", content=b"{}"), try_start, timeout=10, **more)


@pytest.mark.parametrize("ending", [NO_HOST, httpx.ConnectTimeout("x"), httpx.ProxyError("x"), 401, 407])
def test_once_nothing_can_succeed_no_other_call_is_begun(ending: Ending) -> None:
    api, gate = Api(a=[ending], b=[200]), FakeGate()

    first, second = api.call("a"), api.call("b", gate.try_start)

    assert api.attempts == {"a": first.attempts}
    assert (second.outcome, second.attempts, second.unknown_at, gate.asked) == (Outcome.NOT_STARTED, 0, None, [])
    assert first.closed_by is second.closed_by is not None


@pytest.mark.parametrize("ending", [NO_ANSWER, LOST, httpx.RemoteProtocolError("x"), 403, 404, 429, 503])
def test_what_is_of_one_request_is_met_by_that_request_alone(ending: Ending) -> None:
    api = Api(a=[ending], b=[200])
    assert api.call("a").closed_by is None
    assert api.call("b").outcome is Outcome.ACKNOWLEDGED


def test_a_host_that_comes_back_in_time_stays_open() -> None:
    api = Api(a=[NO_HOST] * 4 + [200])
    assert (api.call("a").attempts, api.transport.closed_by) == (MAX_ATTEMPTS, None)


def test_a_host_that_dies_in_a_call_is_dead_and_what_may_have_arrived_stays_unknown() -> None:
    result = Api(a=[LOST, NO_HOST]).call("a")
    assert (result.outcome, result.attempts) == (Outcome.UNKNOWN, MAX_ATTEMPTS)
    assert result.unknown_at is not None
    assert result.closed_by is not None


def test_a_host_that_is_found_now_and_then_is_not_dead() -> None:
    assert Api(a=[503, 503, 503, NO_HOST]).call("a").closed_by is None


def test_one_that_answers_others_meanwhile_is_not_dead() -> None:
    api = Api(a=[NO_HOST], b=[503], concurrency=2)

    def ask_another(number: int) -> bool:
        if number == MAX_ATTEMPTS:
            api.call("b", most_attempts=1)
        return True

    assert api.call("a", ask_another).closed_by is None


def test_a_single_attempt_proves_nothing_about_the_host() -> None:
    api = Api(a=[NO_HOST])
    assert api.call("a", most_attempts=1).closed_by is None
    assert api.call("a").closed_by is not None


def test_a_stop_proves_nothing_about_the_host() -> None:
    result = Api(a=[NO_HOST], wait=lambda seconds: seconds > 0).call("a")
    assert (result.attempts, result.closed_by) == (1, None)


def test_a_call_that_waits_for_its_next_attempt_makes_none() -> None:
    api = Api(a=[503, 200], b=[401])

    def wait(seconds: float) -> bool:
        api.call("b")  # another one meets it meanwhile
        return False

    api.transport.wait = wait
    result = api.call("a")

    assert (api.attempts["a"], result.outcome, result.attempts) == (1, Outcome.UNKNOWN, 1)
    assert result.unknown_at is not None
    assert result.closed_by is api.transport.closed_by


def test_an_answer_that_comes_all_the_same_counts() -> None:
    api = Api(a=[200], b=[401], concurrency=2)

    def meet_it_meanwhile(number: int) -> bool:
        return api.call("b").closed_by is not None

    assert api.call("a", meet_it_meanwhile).outcome is Outcome.ACKNOWLEDGED


def test_of_many_at_once_each_tells_the_first_cause() -> None:
    api = Api(concurrency=8, a=[NO_HOST])
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: api.call("a"), range(60)))
    assert len({id(each.closed_by) for each in results}) == 1
    assert api.attempts["a"] <= 8 * MAX_ATTEMPTS


# --- over real sockets, through the clients ------------------------------------------------------------------------


def send(clients: Clients, gate: FakeGate | None = None) -> BatchResult:
    return clients[0].send(SEGMENT, Batch(Direction.ADD, ("ada", "bob")), gate or FakeGate())


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A host that swallows what is sent to it: its queue of connections is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        while True:
            one = socket.socket()
            one.settimeout(0.2)
            waiting.append(one)
            try:
                one.connect(listener.getsockname())
            except TimeoutError:
                break
        yield int(listener.getsockname()[1])
        for one in waiting:
            one.close()


def test_a_dead_host_is_told_alike_by_sends_and_reads(open_clients: Open, closed_port: int) -> None:
    clients, gate = open_clients(destination(f"http://127.0.0.1:{closed_port}")), FakeGate()

    first, second = send(clients), send(clients, gate)

    assert (first.is_closed, first.outcome, first.attempts) == (True, Outcome.REFUSED, 5)
    assert (second.is_closed, second.outcome, second.attempts, gate.asked) == (True, Outcome.NOT_STARTED, 0, [])
    assert (first.message, first.hint) == (second.message, second.hint)
    for ask in (clients[0].check_open, clients[0].preflight):
        with pytest.raises(DestinationError) as refused:
            ask()
        assert (refused.value.message, refused.value.hint) == (first.message, first.hint)


def test_a_host_that_swallows_packets_is_dead(open_clients: Open, silent_port: int) -> None:
    clients = open_clients(destination(f"http://127.0.0.1:{silent_port}", timeout=0.1))
    first, second = send(clients), send(clients)
    assert (first.outcome, first.unknown_at, first.is_closed) == (Outcome.REFUSED, None, True)
    assert "no connection in time" in second.message
    assert second.attempts == 0


def test_one_that_takes_connections_and_never_answers_is_not_dead(open_clients: Open, time: FakeTime) -> None:
    ended = threading.Event()

    def serve(connection: socket.socket, number: int) -> None:
        read_request(connection)
        ended.wait(30)

    with RawServer(serve) as server:
        result = send(open_clients(destination(server.url, timeout=0.05)))
        ended.set()
    assert (result.outcome, result.is_closed) == (Outcome.UNKNOWN, False)


def test_each_api_is_met_by_itself(open_clients: Open, closed_port: int) -> None:
    def serve(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(reply("200 OK", b"{}"))

    with RawServer(serve) as server:
        dead = f"http://127.0.0.1:{closed_port}"
        clients = open_clients(destination(server.url, app_url=dead))
        with pytest.raises(DestinationError) as first:
            clients[1].count(56)
        with pytest.raises(DestinationError) as second:
            clients[1].used_by(57)
        assert first.value.message == second.value.message
        assert send(clients).outcome is Outcome.ACKNOWLEDGED
        clients[0].check_open()


def test_a_certificate_that_is_not_trusted_is_met_once(open_clients: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATE)

    def serve(connection: socket.socket, number: int) -> None:
        tls.wrap_socket(connection, server_side=True)

    with RawServer(serve) as server:
        monkeypatch.delenv("SSL_CERT_FILE")
        clients = open_clients(destination(f"https://localhost:{server.port}"))
        results = [send(clients) for _ in range(3)]
        assert server.connections == 1
    assert [each.attempts for each in results] == [1, 0, 0]
    assert {each.message for each in results} == {results[0].message}
