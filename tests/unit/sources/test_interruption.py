"""A query that would take hours ends once the operation is to stop, where the driver has a way to end it."""

import threading
from pathlib import Path

import psycopg
import pytest

from reconciler.errors import SegmentError
from reconciler.sources.base import Source
from tests.unit.sources.conftest import open_url, read

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i > 0) SELECT count(*) AS id FROM n"
HOURS = "SELECT count(*) AS id FROM range(1000000000) a, range(1000000) b WHERE a.range % 7 <> b.range % 5"


def end_at_an_interruption(source: Source, query: str) -> SegmentError:
    """Read in a thread, and interrupt again and again, as an operation does: one call may come before the query."""
    caught: list[SegmentError] = []

    def work() -> None:
        with pytest.raises(SegmentError) as error:
            read(source, query)
        caught.append(error.value)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.05)
        source.interrupt()
    return caught[0]


def test_a_query_of_sqlite_ends(tmp_path: Path) -> None:
    (tmp_path / "warehouse.db").touch()
    error = end_at_an_interruption(open_url(f"sqlite:///{tmp_path}/warehouse.db"), ENDLESS)
    assert (error.code, error.message) == ("stopped", "stopped while the ids were read or compared")


def test_a_query_of_duckdb_ends() -> None:
    assert end_at_an_interruption(open_url("duckdb:///:memory:"), HOURS).code == "stopped"


@pytest.mark.parametrize("query", ["SELECT 1 AS id FROM pg_sleep(3600)", f"SELECT * FROM ({ENDLESS}) q"])
def test_a_query_of_postgresql_ends_at_the_server(postgres_url: str, query: str) -> None:
    assert end_at_an_interruption(open_url(postgres_url), query).code == "stopped"

    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as connection:
        others = (
            "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'"
        )
        assert connection.execute(f"SELECT count(*) {others}".encode()).fetchone() == (0,)


def test_no_query_begins_any_more(tmp_path: Path) -> None:
    source = open_url("duckdb:///:memory:")
    source.interrupt()

    with pytest.raises(SegmentError) as caught:
        read(source, "SELECT 1 AS id")

    assert caught.value.code == "stopped"
