"""How many connections a source takes at a time."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy.engine import make_url

from reconciler.errors import SourceError
from reconciler.models.fields import Secret
from reconciler.models.options import read_options
from reconciler.sources import open_source, postgres
from reconciler.sources.drivers import log_in, read_login_seconds
from reconciler.sources.failures import Kind, Scrubber
from reconciler.sources.rows import MOST_CONNECTIONS, Connections, RowSource

from .conftest import Warehouse, open_url, read, segment


class TooManyConnections(Exception):
    sqlstate = "53300"


@pytest.fixture
def limited(postgres_warehouse: Warehouse) -> Iterator[str]:
    """The URL of a role that the server lets have two connections."""
    postgres_warehouse.execute("CREATE ROLE limited LOGIN CONNECTION LIMIT 2")
    yield make_url(postgres_warehouse.url).set(username="limited").render_as_string()
    postgres_warehouse.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'limited'")
    postgres_warehouse.execute("DROP ROLE limited")


@pytest.mark.parametrize("reader", ["columns", "rows"])
def test_a_role_that_may_have_two_connections_serves_many_segments_at_once(limited, reader):
    source = open_url(limited)
    if reader == "rows":
        source = RowSource(make_url(limited), Scrubber.of("warehouse", Secret(limited)))

    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(read, source, "SELECT g FROM generate_series(1, 20000) g") for _ in range(12)]
        checked = [threads.submit(source.check, segment("SELECT 1")) for _ in range(6)]

    assert [len(each.result()) for each in asked] == [20000] * 12
    assert [each.result() for each in checked] == [None] * 6


def test_never_more_than_two_are_open_and_who_waits_gets_its_turn():
    connections, lock = Connections(), threading.Lock()
    open_now, most = 0, 0
    both = threading.Barrier(MOST_CONNECTIONS)

    def use() -> None:
        nonlocal open_now, most
        with connections.slots:
            with lock:
                open_now += 1
                most = max(most, open_now)
            both.wait(60)
            with lock:
                open_now -= 1

    with ThreadPoolExecutor(6) as threads:
        for each in [threads.submit(use) for _ in range(6)]:
            each.result()

    assert most == MOST_CONNECTIONS


def test_a_failure_gives_its_connection_back():
    connections = Connections()

    for _ in range(MOST_CONNECTIONS + 1):
        with pytest.raises(ZeroDivisionError), connections.slots:
            raise ZeroDivisionError

    with connections.slots, connections.slots:
        pass


def refusing(times: int):
    """What connects only after the server has refused `times` times."""
    left = [times]

    def connect() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise TooManyConnections
        return "connected"

    return connect


def test_a_connection_that_the_server_still_counts_is_waited_for():
    pauses: list[float] = []
    connections = Connections(pauses.append)

    assert connections.connect(refusing(0)) == "connected"
    assert connections.connect(refusing(3)) == "connected"

    assert len(pauses) == 3


def test_a_limit_that_others_have_used_up_is_told_at_once_and_later_after_a_while():
    pauses: list[float] = []
    connections = Connections(pauses.append)

    with pytest.raises(TooManyConnections):
        connections.connect(refusing(1))
    assert not pauses

    connections.connect(refusing(0))
    with pytest.raises(TooManyConnections):
        connections.connect(refusing(100))
    assert pauses


def test_another_failure_is_not_waited_for():
    pauses: list[float] = []
    connections = Connections(pauses.append)
    connections.connect(refusing(0))

    def refuse() -> str:
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        connections.connect(refuse)
    assert not pauses


@pytest.mark.parametrize(
    ("words", "tries"),
    [
        ("connection to server at 'db' failed: Connection refused", 1),
        ("could not translate host name", 1),
        ('password authentication failed for user "reader"', 1),
        ("certificate verify failed: self-signed certificate", 1),
        ("the database system is starting up", 3),
        ("server closed the connection unexpectedly", 3),
    ],
)
def test_what_holds_for_all_segments_of_a_source_is_met_once(words: str, tries: int) -> None:
    connections, met = Connections(), list[str]()

    def refuse() -> str:
        met.append(words)
        raise psycopg.OperationalError(words)

    for _ in range(3):
        with pytest.raises(psycopg.OperationalError, match=words[:20]):
            connections.connect(refuse)

    assert len(met) == tries


def test_a_wrong_password_is_tried_once_for_all_segments_of_either_reader(postgres_warehouse: Warehouse) -> None:
    url = make_url(postgres_warehouse.url).set(username="nobody_here").render_as_string()
    for source in (open_url(url), RowSource(make_url(url), Scrubber.of("warehouse", Secret(url)))):
        told = set()
        for number in range(3):
            with pytest.raises(SourceError) as caught:
                source.check(segment(f"SELECT {number}"))
            told.add((caught.value.message, caught.value.hint))
        assert len(told) == 1


def test_too_many_connections_have_a_next_step_of_their_own(postgres_warehouse: Warehouse):
    postgres_warehouse.execute("DROP ROLE IF EXISTS barred")
    postgres_warehouse.execute("CREATE ROLE barred LOGIN CONNECTION LIMIT 0")
    url = make_url(postgres_warehouse.url).set(username="barred").render_as_string()

    for source in (open_url(url), RowSource(make_url(url), Scrubber.of("warehouse", Secret(url)))):
        with pytest.raises(SourceError, match='too many connections for role "barred"') as caught:
            source.check(segment("SELECT 1"))

        assert caught.value.hint == Kind.CONNECTIONS.value


def test_a_query_is_described_in_the_transaction_that_prepared_it(
    postgres_warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of one, a pooler may have another session describe what somebody else prepared there."""
    seen: list[TransactionStatus] = []
    prepare = postgres._prepare

    def look(connection: psycopg.Connection, *more: Any) -> Any:
        seen.append(connection.info.transaction_status)
        return prepare(connection, *more)

    monkeypatch.setattr(postgres, "_prepare", look)

    postgres_warehouse.source.check(segment("SELECT 1"))

    assert set(seen) == {TransactionStatus.INTRANS}


# --- how long a login may take ---------------------------------------------------------------------------------------


class Late:
    """A connection of a server that answers when it is told to."""

    def __init__(self) -> None:
        self.answers, self.closed = threading.Event(), threading.Event()

    def open(self) -> "Late":
        self.answers.wait(60)
        return self

    def close(self) -> None:
        self.closed.set()


def test_a_login_that_ends_too_late_is_given_up_and_closed():
    late = Late()

    with pytest.raises(TimeoutError, match=r"^no login within 0\.01 seconds$"):
        log_in(late.open, 0.01)

    assert not late.closed.is_set()
    late.answers.set()
    assert late.closed.wait(60)


def test_a_login_in_time_stays_open_and_a_time_out_of_the_driver_is_its_own():
    late = Late()
    late.answers.set()

    assert log_in(late.open, 60) is late
    assert not late.closed.is_set()

    def time_out() -> Late:
        raise TimeoutError("the driver's")

    with pytest.raises(TimeoutError, match="the driver's"):
        log_in(time_out, 60)


def test_a_silent_server_is_met_once_for_all_segments():
    connections, met, late = Connections(), list[Late](), Late()

    def open_one() -> Late:
        met.append(late)
        return late.open()

    for _ in range(3):
        with pytest.raises(TimeoutError):
            connections.connect(open_one, 0.01)
    late.answers.set()

    assert len(met) == 1


@pytest.mark.parametrize(
    ("dialect", "given", "seconds"),
    [
        ("mysql", {}, 30),
        ("mysql", {"connect_timeout": 5}, 5),
        ("oracle", {"connect_timeout": "1.5"}, 1.5),
        ("databricks", {}, 900),
        ("hive", {}, 300),
        ("databricks", {"connect_timeout": 20}, 20),
        ("snowflake", {"login_timeout": 120}, 120),
        ("snowflake", {"login_timeout": 5}, 30),
        ("snowflake", {"login_timeout": 120, "connect_timeout": 60}, 60),
        ("postgresql", {"timeout": "no number"}, 30),
    ],
)
def test_the_seconds_of_a_login_are_bounded_and_can_be_set(dialect, given, seconds):
    assert read_login_seconds(dialect, given) == seconds


@pytest.mark.parametrize("url", ["mysql://u@h/d", "snowflake://u@h/d"])
@pytest.mark.parametrize("seconds", [0, -1, "soon", [30], "inf", "nan"])
def test_what_is_no_time_for_a_login_is_refused(url, seconds):
    with pytest.raises(SourceError, match="`connect_timeout` must be a number of seconds above 0") as caught:
        open_source("warehouse", Secret(url), read_options({"connect_timeout": seconds})).check(segment("SELECT 1"))

    assert caught.value.hint == Kind.OPTIONS.value


@pytest.mark.slow
def test_a_silent_postgresql_is_given_up_and_its_place_is_told():
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"postgresql://etl:s3cret@127.0.0.1:{listener.getsockname()[1]}/db"
        source = open_source("warehouse", Secret(url), read_options({"connect_timeout": 1}))

        with pytest.raises(SourceError) as caught:
            source.check(segment("SELECT 1"))

    assert caught.value.message == "source warehouse: 127.0.0.1: connection timeout expired"
    assert caught.value.hint == Kind.SILENT.value
