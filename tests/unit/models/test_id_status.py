"""The status of an id is what the rule says, and SQLite and DuckDB read it alike (PostgreSQL: test_compaction)."""

import sqlite3
from collections.abc import Sequence

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.models.id_status import IdStatus, write_id_status

SINCE = 5.0

times = st.integers(1, 9).map(float)
journal_rows = st.tuples(
    st.sampled_from("ab"),
    st.sampled_from(["add", "remove"]),
    st.sampled_from([None, "unknown", "acknowledged"]),
    times,
    st.none() | times,
)
marks = st.one_of(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["unsettled", "echo"]), st.sampled_from(["add", "remove"]), times),
    st.tuples(st.sampled_from("ab"), st.sampled_from(["unmatched", "removed", "rejected"]), st.none(), times),
)

Rows = Sequence[tuple]


def read_statuses(connection: sqlite3.Connection | duckdb.DuckDBPyConnection, journal: Rows, marks: Rows) -> dict:
    connection.execute(
        'CREATE TABLE journal (seq BIGINT, id TEXT, direction TEXT, outcome TEXT, "at" DOUBLE, unknown_at DOUBLE)'
    )
    connection.execute('CREATE TABLE marks (id TEXT, mark TEXT, direction TEXT, "at" DOUBLE)')
    for seq, row in enumerate(journal, 1):
        connection.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)", (seq, *row))
    for row in marks:
        connection.execute("INSERT INTO marks VALUES (?, ?, ?, ?)", row)
    statement = write_id_status("SELECT * FROM journal", "SELECT * FROM marks", SINCE)
    rows = connection.execute(f"WITH {statement} SELECT * FROM id_status").fetchall()
    return {id: (status, bool(decided), add_at, remove_at) for id, add_at, remove_at, decided, status in rows}


def expect(id: str, journal: Rows, marks: Rows) -> tuple:
    """The rule once more, in Python."""
    entries = [row[1:] for row in journal if row[0] == id]
    own = [row[1:] for row in marks if row[0] == id]
    removals = [at for direction, outcome, at, _ in entries if (direction, outcome) == ("remove", "acknowledged")]
    unmatched = any(mark == "unmatched" for mark, *_ in own) and not removals
    removed = any(at >= SINCE for at in [*removals, *(at for mark, _, at in own if mark == "removed")])
    doubts = [
        (direction, unknown_at if outcome == "acknowledged" else at) for direction, outcome, at, unknown_at in entries
    ]
    doubts += [(direction, at) for mark, direction, at in own if mark in ("unsettled", "echo")]
    latest = {
        wanted: max((at for direction, at in doubts if direction == wanted and at is not None), default=None)
        for wanted in ("add", "remove")
    }
    unsettled = [direction for mark, direction, _ in own if mark == "unsettled"]
    last = entries[-1][:2] if entries else (max(unsettled), None) if unsettled else None
    if last is None:
        status = IdStatus.UNMATCHED if unmatched else IdStatus.REMOVED if removed else 0
    elif last[1] != "acknowledged":
        status = IdStatus.UNSETTLED_ADD if last[0] == "add" else IdStatus.UNSETTLED_REMOVE
        status |= IdStatus.UNMATCHED if unmatched else 0
    elif last[0] == "remove":
        status = IdStatus.REMOVED if removed else 0
    else:
        status = IdStatus.UNMATCHED if unmatched else IdStatus.STORED
    return int(status), last is not None or unmatched, latest["add"], latest["remove"]


@given(journal=st.lists(journal_rows, max_size=5), marks=st.lists(marks, max_size=5, unique_by=lambda row: row[:2]))
@settings(max_examples=100, deadline=None)
def test_the_last_journal_row_decides_else_the_marks_in_every_engine(journal, marks):
    expected = {id: expect(id, journal, marks) for id in {row[0] for row in [*journal, *marks]}}
    with sqlite3.connect(":memory:") as connection:
        assert read_statuses(connection, journal, marks) == expected
    connection.close()
    with duckdb.connect() as connection:
        assert read_statuses(connection, journal, marks) == expected
