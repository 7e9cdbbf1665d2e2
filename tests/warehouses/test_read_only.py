"""Nothing that is given as a query changes the warehouse."""

from collections import Counter
from contextlib import suppress

import pytest

from reconciler.errors import SourceError
from tests.unit.sources.conftest import read, segment

WRITES = {
    "an insert": "INSERT INTO kept (id) VALUES ('z')",
    "an update": "UPDATE kept SET id = 'z' WHERE 1 = 1",
    "a delete": "DELETE FROM kept WHERE 1 = 1",
    "a drop": "DROP TABLE kept",
    "a truncation": "TRUNCATE TABLE kept",
    "a new table": "CREATE TABLE made AS SELECT id FROM kept",
    "a statement behind the query": "SELECT id FROM kept; DROP TABLE kept",
    "a statement behind a closed parenthesis": "SELECT id FROM kept) q; DROP TABLE kept; --",
    "a table made by a query": "SELECT id INTO made FROM kept",
    "a write in a WITH": "WITH gone AS (DELETE FROM kept WHERE 1 = 1 RETURNING id) SELECT id FROM gone",
    "an insert behind a WITH": "WITH more AS (SELECT 'z' AS id) INSERT INTO kept (id) SELECT id FROM more",
    "an insert behind a comment": "/* SELECT */ INSERT INTO kept (id) VALUES ('z')",
    "a setting": "SET TRANSACTION READ WRITE",
    "the end of the transaction": "COMMIT",
}


@pytest.fixture
def kept(warehouse):
    """The table `kept` with the id `a`; no table `made`."""
    warehouse.fill("kept", ["a"])
    warehouse.execute("DROP TABLE IF EXISTS made")
    return warehouse


def is_untouched(warehouse) -> bool:
    source = warehouse.open()
    with pytest.raises(SourceError, match=r"(?i)made"):
        read(source, "SELECT id FROM made")
    return Counter(read(source, "SELECT id FROM kept")) == Counter([("a", True)])


@pytest.mark.parametrize("write", WRITES)
def test_what_is_no_query_is_refused_and_changes_nothing(kept, warehouse, write):
    with pytest.raises(SourceError) as caught:
        read(warehouse.open(), WRITES[write])
    with pytest.raises(SourceError):
        warehouse.open().check(segment(WRITES[write]))

    assert caught.value.hint
    assert is_untouched(warehouse)


def test_what_only_this_database_can_write_changes_nothing(kept, warehouse):
    for write in warehouse.engine.writes:
        with suppress(SourceError):  # where nothing is read-only, it runs, and is never committed
            read(warehouse.open(), write)

        assert is_untouched(warehouse), write


def test_a_query_of_clickhouse_runs_in_its_mode_for_reading(kept, warehouse):
    if not warehouse.url.startswith("clickhousedb:"):
        return  # a transaction, a session, or nothing at all
    assert read(warehouse.open(), "SELECT toString(getSetting('readonly')) AS id") == [("2", True)]
    warehouse.execute("INSERT INTO kept (id, number) VALUES ('b', 1)")  # others are not bound by it
