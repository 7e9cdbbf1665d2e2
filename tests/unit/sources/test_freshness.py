"""When data was loaded: asked through every reader, in the transaction of the segment's query, and never shown."""

from datetime import UTC, datetime

import pytest

from reconciler.errors import SourceError
from reconciler.models.fields import Scalar, Secret
from reconciler.models.freshness import DataTime, read_answer
from reconciler.models.spec import FreshnessSettings, GuardSettings, Segment
from reconciler.sources import check_query, postgres, rows, sqlite
from reconciler.sources.base import Source
from tests.support.one_duckdb import open_cursor

from .conftest import open_url, rows_of, segment

AT = datetime(2026, 11, 24, 19, 0, 1, 250_000, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)


def asking(freshness: str, query: str = "SELECT 'a' AS id", **params: Scalar) -> Segment:
    settings = FreshnessSettings.model_validate({"query": freshness, "params": params, "max_age": "26h"})
    return segment(query).model_copy(update={"guards": GuardSettings(freshness=settings)})


def ask(source: Source, freshness: str, **params: Scalar) -> DataTime | None:
    with source.stream_values(asking(freshness, **params)) as values:
        return values.data_time


EVERYWHERE = {
    "a text with a zone": ("SELECT '2026-11-24T20:00:01.25+01:00'", DataTime(AT)),
    "a text in UTC": ("SELECT '2026-11-24 19:00:01.250Z'", DataTime(AT)),
    "a text without a zone": ("SELECT '2026-11-24 19:00:01.25'", DataTime(AT, zoned=False)),
    "a text that is a date": ("SELECT '2026-11-24'", DataTime(MIDNIGHT, zoned=False)),
    "NULL": ("SELECT NULL", DataTime(None)),
    "the maximum of nothing": ("SELECT max(id) FROM nobody", DataTime(None)),
    "no row": ("SELECT id FROM nobody", DataTime(None, has_row=False)),
    "one row of an ordered table": (
        "SELECT x FROM (SELECT '2026-11-23' AS x UNION ALL SELECT '2026-11-24') t ORDER BY x DESC LIMIT 1",
        DataTime(MIDNIGHT, zoned=False),
    ),
}
TYPED = {
    "a timestamp": ("SELECT TIMESTAMP '2026-11-24 19:00:01.25'", DataTime(AT, zoned=False)),
    "a timestamp with a zone": ("SELECT TIMESTAMPTZ '2026-11-24 21:00:01.25+02'", DataTime(AT)),
    "a date": ("SELECT DATE '2026-11-24'", DataTime(MIDNIGHT, zoned=False)),
    "a timestamp that is NULL": (
        "SELECT max(x) FROM (SELECT TIMESTAMP '2026-11-24 19:00:01' AS x) t WHERE 1 = 0",
        DataTime(None),
    ),
}
REFUSED = {
    "an integer": "SELECT 1764010801",
    "a number": "SELECT 1764010801.25",
    "a Unix time as a text": "SELECT '1764010801'",
    "milliseconds as a text": "SELECT '1764010801250'",
    "a text that is no time": "SELECT 'jane@example.com'",
    "an empty text": "SELECT ''",
    "a day that there is not": "SELECT '2026-02-30'",
    "two rows": "SELECT '2026-11-24' UNION ALL SELECT '2026-11-25'",
    "two rows, the first NULL": "SELECT NULL AS x UNION ALL SELECT '2026-11-25' ORDER BY x NULLS FIRST",
    "two columns": "SELECT '2026-11-24', '2026-11-25'",
}


@pytest.mark.parametrize("case", EVERYWHERE)
def test_every_database_tells_when_the_data_was_loaded(warehouse, case):
    query, expected = EVERYWHERE[case]

    assert ask(warehouse.source, query) == expected


@pytest.mark.parametrize("case", TYPED)
@pytest.mark.parametrize("reader", ["duckdb", "postgres", "postgres_rows"])
def test_types_of_times_count(request, reader, case):
    warehouse = request.getfixturevalue(f"{reader}_warehouse")
    query, expected = TYPED[case]

    assert ask(warehouse.source, query) == expected


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_single_time_is_an_error_that_does_not_repeat_it(warehouse, case):
    with pytest.raises(SourceError, match=r"^the query of `freshness`: it returns") as caught:
        ask(warehouse.source, REFUSED[case])

    assert caught.value.code == "freshness"
    assert caught.value.hint
    shown = caught.value.message + caught.value.hint
    assert not any(value in shown for value in ("1764010801", "jane", "2026-02-30", "2026-11-2"))


@pytest.mark.parametrize("value", ["true", "TIME '19:00:00'", "INTERVAL '1' DAY", "7.5", "TIMESTAMP 'infinity'"])
@pytest.mark.parametrize("reader", ["duckdb", "postgres", "postgres_rows"])
def test_other_types_are_refused(request, reader, value):
    with pytest.raises(SourceError, match="the query of `freshness`"):
        ask(request.getfixturevalue(f"{reader}_warehouse").source, f"SELECT {value}")


@pytest.mark.parametrize("value", ["x'3230'", "CAST(x'FF' AS TEXT)"])
@pytest.mark.parametrize("reader", ["sqlite", "sqlite_rows"])
def test_bytes_are_no_time(request, reader, value):
    with pytest.raises(SourceError, match="the query of `freshness`"):
        ask(request.getfixturevalue(f"{reader}_warehouse").source, f"SELECT {value}")


def test_the_settings_of_a_session_change_no_time(postgres_warehouse):
    """Neither its zone nor the way in which it writes dates."""
    source = open_url(postgres_warehouse.url + "&options=-c%20TimeZone%3DAsia/Kolkata%20-c%20DateStyle%3DSQL,DMY")

    assert ask(source, "SELECT TIMESTAMPTZ '2026-11-24 19:00:01.25Z'") == DataTime(AT)
    assert ask(source, "SELECT TIMESTAMP '2026-11-24 19:00:01.25'") == DataTime(AT, zoned=False)


def test_params_are_bound_and_those_of_the_segment_are_others(warehouse):
    asked = asking("SELECT :day || 'T00:00:00Z'", "SELECT :day AS id", day="2026-11-24")
    asked = asked.model_copy(update={"params": {"day": "tuesday"}})

    with warehouse.source.stream_values(asked) as values:
        assert values.data_time == DataTime(MIDNIGHT)


def test_a_text_that_both_queries_share_has_the_params_of_each(warehouse):
    asked = asking("SELECT CAST(:day AS VARCHAR(10)) AS id", "SELECT CAST(:day AS VARCHAR(10)) AS id", day="2026-11-24")
    asked = asked.model_copy(update={"params": {"day": "2026-01-01"}})

    with warehouse.source.stream_values(asked) as values:
        assert values.data_time == DataTime(MIDNIGHT, zoned=False)


def test_without_freshness_nothing_is_asked(warehouse):
    with warehouse.source.stream_values(segment("SELECT 'a' AS id")) as values:
        assert values.data_time is None


# --- one transaction ---------------------------------------------------------------------------------------------


MODULES = {"sqlite": sqlite, "postgres": postgres, "postgres_rows": rows}


@pytest.mark.parametrize("reader", MODULES)
def test_what_was_asked_about_is_what_is_read(request, monkeypatch, reader):
    """The table is emptied as soon as it was said to be fresh: the query still sees it full."""
    warehouse = request.getfixturevalue(f"{reader}_warehouse")
    if reader == "sqlite":
        warehouse.raw("PRAGMA journal_mode = WAL")
    warehouse.execute("DROP TABLE IF EXISTS loads; CREATE TABLE loads (id TEXT, loaded_at TEXT)")
    warehouse.execute("INSERT INTO loads VALUES ('a', '2026-11-24T00:00:00Z')")

    def empty_it(answer: list[list[object]]) -> DataTime:
        warehouse.execute("DELETE FROM loads")
        return read_answer(answer)

    monkeypatch.setattr(MODULES[reader], "read_answer", empty_it)
    asked = asking("SELECT max(loaded_at) FROM loads", "SELECT id FROM loads")
    with warehouse.source.stream_values(asked) as values, open_cursor() as reading:
        found = list(rows_of(values, reading))

    assert values.data_time == DataTime(MIDNIGHT)
    assert found == [("a", True)]
    assert warehouse.raw("SELECT id FROM loads") == []


# --- what is wrong with the query itself -------------------------------------------------------------------------


@pytest.mark.parametrize("checked", [True, False])
def test_a_query_that_fails_is_named(warehouse, checked):
    asked = asking("SELECT max(loaded_at) FROM no_such_table")

    with pytest.raises(SourceError, match=r"^the query of `freshness`: source warehouse: .*no_such_table") as caught:
        warehouse.source.check(asked) if checked else warehouse.source.stream_values(asked).__enter__()

    assert caught.value.code == "source"
    assert "names in the query" in caught.value.hint


def test_a_check_prepares_it_and_asks_nothing(warehouse):
    warehouse.source.check(asking("SELECT id FROM nobody"))
    with pytest.raises(SourceError, match="it returns 2 columns"):
        warehouse.source.check(asking("SELECT 1, 2"))


@pytest.mark.parametrize("reader", ["duckdb", "postgres"])
def test_a_check_sees_a_type_that_is_no_time(request, reader):
    with pytest.raises(SourceError, match=r"it returns a value of type (INTEGER|int4)"):
        request.getfixturevalue(f"{reader}_warehouse").source.check(asking("SELECT 7"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("DELETE FROM nobody", "begins with DELETE"),
        ("SELECT 1; SELECT 2", "2 statements|one query|statement"),
        ("-- nothing", "no query|empty|nothing"),
    ],
)
def test_what_is_no_query_is_refused_without_a_connection(text, problem):
    with pytest.raises(SourceError, match=rf"^the query of `freshness`: .*({problem})"):
        check_query("warehouse", Secret("sqlite:///none.db"), asking(text))


def test_it_can_write_nothing(warehouse):
    with pytest.raises(SourceError, match="the query of `freshness`"):
        ask(warehouse.source, "DELETE FROM nobody RETURNING id")
