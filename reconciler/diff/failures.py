"""What DuckDB complains of, sorted into our errors.

Its messages may quote values, so none is repeated: the whole text is in `__cause__` only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from reconciler.errors import ReconcileError, SegmentError, SourceError, StateError


@dataclass(frozen=True)
class Limits:
    """What the sets may take: memory, as the user wrote it, and the folder that the rest is written to."""

    memory: str
    folder: Path


@contextmanager
def translating(otherwise: ReconcileError, limits: Limits) -> Iterator[None]:
    """Turn DuckDB's errors into ours: short of memory, short of disk, or `otherwise`."""
    try:
        yield
    except duckdb.Error as error:
        raise _sort(error, otherwise, limits) from error


def _sort(error: duckdb.Error, otherwise: ReconcileError, limits: Limits) -> ReconcileError:
    if isinstance(error, duckdb.InterruptException):
        return stopped()
    if isinstance(error, duckdb.OutOfMemoryException):
        return _full_disk(limits) if "max_temp_directory_size" in str(error) else _full_memory(limits)
    return _full_disk(limits) if isinstance(error, duckdb.IOException) else otherwise


def stopped() -> SegmentError:
    """A signal came."""
    return SegmentError("stopped while the ids were compared", "run it again; nothing was sent", code="stopped")


def _full_memory(limits: Limits) -> SegmentError:
    return SegmentError(
        f"comparing the ids takes more memory than the limit of {limits.memory}",
        "give more with --memory-limit, for example 2GB",
        code="memory",
    )


def _full_disk(limits: Limits) -> SegmentError:
    return SegmentError(
        f"the ids that do not fit into memory ({limits.memory}) can't be written to {limits.folder}",
        "free some space there, or name another folder with the variable TMPDIR; "
        "with a higher --memory-limit less is written",
        code="spill",
    )


def broken_query() -> SourceError:
    """The source failed while its rows were read."""
    return SourceError(
        "the source failed while the result of the query was being read",
        "run the query by hand to its last row",
    )


def broken_state() -> StateError:
    """The state failed while its rows were read."""
    return StateError(
        "the state database failed while the snapshot was being read",
        "check that it can be reached, then run again",
    )


def broken_sets() -> SegmentError:
    """Something of ours failed."""
    return SegmentError("comparing the ids failed", "this is a defect of reconcile; please report it", code="internal")
