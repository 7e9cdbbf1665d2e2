"""Columns out of the state: which there are, and where their rows stand."""

from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.models.plan import Head

MEMBERS = "SELECT id FROM {schema}reconcile_members WHERE segment_key = {key}"
MARKS = "SELECT id, mark, direction, at FROM {schema}reconcile_marks WHERE segment_key = {key}"
JOURNAL = (
    "SELECT seq, direction, outcome, at, CASE WHEN outcome = 'acknowledged' THEN unknown_at END AS unknown_at, ids\n"
    "FROM {schema}reconcile_batches WHERE segment_key = {key}"
)
"""`schema` is empty, or ends in a dot."""


@dataclass
class NothingStored:
    """A segment that the state has never met; it is an `state.base.Stored`."""

    head: Head
    now: float = 0.0

    def members(self) -> Iterator[str]:
        return iter(())

    def marks(self) -> Iterator[str]:
        return iter(())

    def journal(self) -> Iterator[str]:
        return iter(())
