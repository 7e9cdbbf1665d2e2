"""What the database says is told with a next step, and without a secret or a value of a row."""

import re
import socket
from contextlib import closing

import pytest

from reconciler.errors import SourceError
from reconciler.models.fields import Secret
from reconciler.models.options import read_options
from reconciler.sources import open_source
from reconciler.sources.failures import Kind
from tests.unit.sources.conftest import read, segment
from tests.warehouses.engine import Warehouse

SECRET = "Zq7-null-table"
"""With words that databases use in messages."""


def refuse(warehouse: Warehouse, query: str, url: str | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(warehouse.open(url), query)
    assert not re.search(r"at [\w.$]+\(|Traceback|\n|Caused by", caught.value.message)
    assert len(caught.value.message) < 400
    return caught.value


def is_hinted(error: SourceError, *kinds: Kind) -> bool:
    return any(kind.value in error.hint for kind in kinds)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("SELECT id FROM no_such_table", "no_such_table"),
        ("SELECT no_such_column FROM people", "no_such_column"),
    ],
)
def test_a_name_that_is_not_there_is_told(warehouse, people, query, shown):
    error = refuse(warehouse, query)

    assert shown in error.message.lower()
    assert is_hinted(error, Kind.MISSING), f"{error.message} {error.hint}"
    with pytest.raises(SourceError, match=f"(?i){shown}"):
        warehouse.open().check(segment(query))


@pytest.mark.parametrize("query", ["SELECT no_such_function(id) FROM people"])
def test_a_function_that_is_not_there_is_told(warehouse, people, query):
    error = refuse(warehouse, query)

    assert "no_such_function" in error.message.lower()
    assert is_hinted(error, Kind.MISSING, Kind.SYNTAX), f"{error.message} {error.hint}"


@pytest.mark.parametrize("query", ["SELECT id id id FROM people", "SELECT id FROM people WHERE id ="])
def test_a_query_that_can_not_be_read_is_told_so(warehouse, people, query):
    error = refuse(warehouse, query)

    assert is_hinted(error, Kind.SYNTAX), f"{error.message} {error.hint}"


def test_a_name_without_a_param_is_told(warehouse, people):
    if "a name without a param" in warehouse.engine.lacks:
        return
    error = refuse(warehouse, "SELECT id FROM people WHERE id = :low")

    assert "`params` has no low" in error.hint, f"{error.message} {error.hint}"


def test_a_value_of_a_row_is_neither_told_nor_logged(warehouse, caplog):
    warehouse.fill("dark", [SECRET])

    for query in warehouse.engine.errors_with_rows:
        error = refuse(warehouse, query.format(name="dark"))

        # What Databricks' driver writes to this logger it gives to nobody: pytest alone takes it from there.
        logged = [each.getMessage() for each in caplog.records if each.name != "databricks.sql.unsafe"]
        assert not re.search("Zq7|null-table", " ".join([error.message, error.hint, *logged])), query
        assert is_hinted(error, Kind.DATA, Kind.RAISED, Kind.OTHER), f"{query}: {error.message} {error.hint}"


def test_a_wrong_password_is_told_without_it(warehouse):
    if not warehouse.started.wrong_password:
        assert warehouse.engine.lacks["a wrong password"]
        return
    error = refuse(warehouse, "SELECT 1 AS id", warehouse.started.wrong_password)

    assert is_hinted(error, Kind.AUTH), f"{error.message} {error.hint}"
    assert "wr0ng" not in error.message


def test_a_server_that_is_not_there_is_told(warehouse):
    if not warehouse.started.unreachable:
        assert warehouse.engine.lacks["an unreachable server"]
        return
    error = refuse(warehouse, "SELECT 1 AS id", warehouse.started.unreachable)

    assert is_hinted(error, Kind.CONNECT), f"{error.message} {error.hint}"


def test_a_server_that_takes_a_connection_and_never_answers_is_given_up(warehouse):
    if not warehouse.started.unreachable:
        return
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = re.sub(r":1(?=/|$)", f":{listener.getsockname()[1]}", warehouse.started.unreachable)
        source = open_source(
            "warehouse", Secret(url), read_options({**warehouse.started.options, "connect_timeout": 1})
        )

        with pytest.raises(SourceError) as caught:
            source.check(segment("SELECT 1 AS id"))

    assert caught.value.message == "source warehouse: 127.0.0.1: no login within 1 second"
    assert "connect_timeout" in caught.value.hint
