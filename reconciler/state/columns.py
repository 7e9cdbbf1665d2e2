"""Columns out of the state: which there are, and where their rows stand."""

from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.core.plan import Head
from reconciler.engine.ports import ArrowStream

MEMBERS = "SELECT id FROM {schema}reconcile_members WHERE segment_key = {key}"
MARKS = "SELECT id, mark, direction, at FROM {schema}reconcile_marks WHERE segment_key = {key}"
JOURNAL = (
    "SELECT seq, direction, outcome, at, CASE WHEN outcome = 'acknowledged' THEN unknown_at END AS unknown_at, ids "
    "FROM {schema}reconcile_batches WHERE segment_key = {key}"
)
"""`schema` is empty, or ends in a dot."""


class Once:
    """A stream that gives its one capsule to whoever asks: DuckDB asks twice, for the schema and for the rows."""

    def __init__(self, stream: ArrowStream) -> None:
        self._stream = stream
        self._capsule: object | None = None

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        if self._capsule is None:
            self._capsule = self._stream.__arrow_c_stream__(requested_schema)
        return self._capsule


@dataclass
class NothingStored:
    """A segment that the state has never met; it is an `engine.ports.Stored`."""

    head: Head

    def members(self) -> Iterator[str]:
        return iter(())

    def marks(self) -> Iterator[str]:
        return iter(())

    def journal(self) -> Iterator[str]:
        return iter(())
