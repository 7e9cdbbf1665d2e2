"""A read that is incomplete is an error: if one ended quietly, who belongs in the segment would be removed."""

import gc
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pyarrow as pa
import pytest
from sqlalchemy.engine import make_url

from reconciler.errors import SourceError
from reconciler.models.spec import FreshnessSettings, GuardSettings
from tests.unit.sources.conftest import read, segment
from tests.warehouses.engine import Warehouse

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

TABLES = ", ".join(f"digits {name}" for name in "abcde")
NUMBER = "(" + " + ".join(f"{10**place} * {name}.number" for place, name in enumerate("abcde")) + ")"
ROWS = 100_000
READ_AT_ONCE = ("redshift+redshift_connector", "snowflake")
"""Redshift's driver reads every row before it gives one; Snowflake's emulator answers with all of them at once."""
CUT = 300_000
"""Bytes after which the connection breaks; the rows are more."""


@pytest.fixture(autouse=True)
def _digits(warehouse: Warehouse) -> Iterator[None]:
    warehouse.fill("digits", [str(digit) for digit in range(10)])
    yield
    gc.collect()  # PyMySQL fails once more when what it lost goes: not in another test, which would fail by that


@pytest.mark.parametrize("at", [ROWS - 1, ROWS // 2, 10])
def test_an_error_in_the_middle_of_the_rows_fails_the_read(warehouse, at):
    if "an error of a row" in warehouse.engine.lacks:
        return
    query = f"SELECT CASE WHEN {NUMBER} <> {at} THEN {NUMBER} ELSE {warehouse.engine.fails} END AS id FROM {TABLES}"

    with pytest.raises(SourceError) as caught:
        read(warehouse.open(), query)

    assert caught.value.hint


def test_a_connection_that_breaks_in_the_middle_of_the_rows_fails_the_read(warehouse):
    url = make_url(warehouse.url)
    if "an unreachable server" in warehouse.engine.lacks or not url.port:
        return
    with cutting(url.port) as port:
        query = f"SELECT {NUMBER} AS id, 'as long a text as can be' AS more FROM {TABLES}"
        if warehouse.url.startswith("sc:"):  # its client connects again, and goes on where it was
            source = warehouse.open(warehouse.url.replace(f":{url.port}/", f":{port}/"))
            with suppress(SourceError):
                assert len({value for value, _ in read(source, query, "id")}) == ROWS
            return
        source = warehouse.open(url.set(port=port).render_as_string(hide_password=False))

        with pytest.raises(SourceError) as caught:
            read(source, query, "id")

    assert caught.value.hint


@contextmanager
def cutting(target: int) -> Iterator[int]:
    """A port that forwards to another, and breaks the connection once `CUT` bytes have come back."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=_accept, args=(listener, target, CUT, []), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, target: int, most: int | None, passed: list[int]) -> None:
    with suppress(OSError):
        while True:
            front, _ = listener.accept()
            back = socket.create_connection(("127.0.0.1", target))
            threading.Thread(target=_forward, args=(front, back, None, []), daemon=True).start()
            threading.Thread(target=_forward, args=(back, front, most, passed), daemon=True).start()


def _forward(one: socket.socket, other: socket.socket, most: int | None, passed: list[int]) -> None:
    with suppress(OSError):
        while (data := one.recv(65536)) and (most is None or sum(passed) < most):
            other.sendall(data)
            passed.append(len(data))
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def test_a_read_that_is_left_early_is_not_read_to_its_end(warehouse):
    url = make_url(warehouse.url)
    if "an unreachable server" in warehouse.engine.lacks or not url.port or url.drivername in READ_AT_ONCE:
        return
    query = f"SELECT {NUMBER} AS id, '{'a long text' * 10}' AS more FROM {TABLES}, digits f"
    with passing(url.port) as (port, passed):
        source = warehouse.open(warehouse.url.replace(f":{url.port}/", f":{port}/"))

        with source.stream_values(segment(query, "id")) as values:
            if isinstance(values.rows, Iterator):
                next(values.rows)
            else:
                pa.RecordBatchReader.from_stream(values.rows).read_next_batch()

    assert 0 < sum(passed) < 10 * ROWS * len("a long text") * 10 // 2


def test_the_time_of_the_data_is_no_reason_to_read_many_rows(warehouse):
    url = make_url(warehouse.url)
    if "an unreachable server" in warehouse.engine.lacks or not url.port or url.drivername in READ_AT_ONCE:
        return
    query = f"SELECT CURRENT_TIMESTAMP FROM {TABLES}"
    settings = FreshnessSettings.model_validate({"query": query, "max_age": "26h"})
    asking = segment("SELECT 1 AS id").model_copy(update={"guards": GuardSettings(freshness=settings)})
    with passing(url.port) as (port, passed):
        source = warehouse.open(warehouse.url.replace(f":{url.port}/", f":{port}/"))

        with pytest.raises(SourceError, match="more than one row"), source.stream_values(asking):
            pass

    assert 0 < sum(passed) < 5 * ROWS


def test_a_read_to_its_end_ends_no_query_of_mysql(warehouse):
    if not warehouse.url.startswith("mysql"):
        return
    kills = "SELECT variable_value AS id FROM information_schema.global_status WHERE variable_name = 'COM_KILL'"
    before = read(warehouse.open(), kills)

    assert len(read(warehouse.open(), f"SELECT {NUMBER} AS id FROM {TABLES}")) == ROWS

    assert read(warehouse.open(), kills) == before


@contextmanager
def passing(target: int) -> Iterator[tuple[int, list[int]]]:
    """A port that forwards to another, and the numbers of bytes that have come back."""
    passed: list[int] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=_accept, args=(listener, target, None, passed), daemon=True).start()
        yield listener.getsockname()[1], passed
        listener.shutdown(socket.SHUT_RDWR)
