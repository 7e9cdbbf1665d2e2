"""What the state knows of ids besides their membership: marks and journal, as the table `overlay`."""

from reconciler.diff.tables import Tables, unless_empty
from reconciler.errors import StateError
from reconciler.models.id_status import lingers_since, write_id_status
from reconciler.state.base import Stored


def load_marks(stored: Stored, tables: Tables) -> bool:
    """Load the tables `marks` and `journal`, and tell whether they have a row.

    Most segments have nothing but members, and then neither table is made. Raises StateError.
    """
    numbers = {}
    with tables.translating(broken_state()):
        for table, read in (("marks", stored.marks), ("journal", stored.journal)):
            rows = unless_empty(read())
            if rows is not None:
                tables.begin(table)
                numbers[table] = tables.load(table, rows)
    has_any = sum(numbers.values()) > 0
    if has_any:
        tables.begin(*(table for table in ("marks", "journal") if table not in numbers))
    return has_any


def make_overlay(tables: Tables, now: float, settle: float) -> None:
    """Make `overlay` of the tables `marks` and `journal`: the status of an id, and the times of attempts.

    `now` is Unix seconds by the state's clock.
    """
    id_status = write_id_status(_JOURNAL_IDS, "FROM marks", lingers_since(now, settle))
    columns = "id, add_at, remove_at, decided, status::UTINYINT AS flags"
    tables.create("overlay", f"WITH {id_status} SELECT {columns} FROM id_status")


def broken_state() -> StateError:
    """The error of a state that failed while its rows were read, which DuckDB does not distinguish."""
    return StateError(
        "the state database failed while the snapshot was being read", "check that it can be reached, then run again"
    )


_JOURNAL_IDS = """
SELECT unnest(string_split(ids, chr(10))) AS id, seq, direction, outcome, "at", unknown_at FROM journal"""
