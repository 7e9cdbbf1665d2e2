"""What DuckDB complains of, sorted into our errors.

Its messages may quote values, so none is repeated: the whole text is in `__cause__` only.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from reconciler.errors import ReconcileError, SegmentError, SourceError, StateError

_MORE_MEMORY = "give more with --memory-limit, for example 2GB"
_MORE_DISK = (
    "free some space in the folder for temporary files, or name another one with the variable TMPDIR; "
    "with a higher --memory-limit less is written there"
)


@contextmanager
def translating(otherwise: ReconcileError) -> Iterator[None]:
    """Turn DuckDB's errors into ours: short of memory, short of disk, or `otherwise`."""
    try:
        yield
    except duckdb.Error as error:
        raise _sort(error, otherwise) from error


def _sort(error: duckdb.Error, otherwise: ReconcileError) -> ReconcileError:
    if isinstance(error, duckdb.InterruptException):
        return SegmentError("stopped while the ids were compared", "run it again; nothing was sent", code="stopped")
    if "max_temp_directory_size" in str(error):
        return SegmentError("comparing the ids filled the folder for temporary files", _MORE_DISK, code="spill")
    if isinstance(error, duckdb.OutOfMemoryException):
        return SegmentError("comparing the ids takes more memory than the limit allows", _MORE_MEMORY, code="memory")
    if isinstance(error, duckdb.IOException):
        return SegmentError("the folder for temporary files can't be used", _MORE_DISK, code="spill")
    return otherwise


def broken_query() -> SourceError:
    """The source failed while its rows were read."""
    return SourceError(
        "the source failed while the result of the query was being read",
        "run the query by hand to its last row; --verbose shows what the database said",
    )


def broken_state() -> StateError:
    """The state failed while its rows were read."""
    return StateError(
        "the state database failed while the snapshot was being read",
        "check that it can be reached, then run again; --verbose shows what it said",
    )


def broken_sets() -> SegmentError:
    """Something of ours failed."""
    return SegmentError("comparing the ids failed", "--verbose shows why; please report it", code="internal")
