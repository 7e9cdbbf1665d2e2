"""Members that stand at the source, in tables next to the query: what the state and the comparison ask of it.

The members of a segment are there as of a head: a base, which a generation numbers, and changes in it, which serials
number. Rows beyond the head that the state has recorded do not count, so the state's own commit is what makes them
visible. A database that can do this gives a `MembersAtSource`.

    reconcile_base     segment_key, generation, id
    reconcile_changes  segment_key, generation, serial, op (1: added, 0: dropped), id
    reconcile_heads    segment_key, lineage, generation, serial, members, total, written_at: written last
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from reconciler.errors import StateError
from reconciler.models.batches import Direction
from reconciler.models.comparison import ArrowStream, NotPossible, Rows
from reconciler.models.freshness import DataTime
from reconciler.models.spec import Segment


@dataclass(frozen=True, order=True)
class MembersHead:
    """Which members a segment has at the source, and what they come to."""

    generation: int
    serial: int
    """0: the base alone."""
    rows: int
    sum: int
    """Of a number of each member, which the source can tell from it, too (see `sources.members_sql`)."""
    lineage: str


def check_members(source: str, head: MembersHead, rows: int, total: int) -> None:
    """Refuse members that are not those of the head. Raises StateError."""
    if rows != head.rows:
        raise disagree(source, f"there are {rows:,}, and not {head.rows:,}")
    if total != head.sum:
        raise disagree(source, "there are as many, but not the same")


def disagree(source: str, what: str) -> StateError:
    return StateError(
        f"the members at the source {source} are not as the state left them: {what}",
        "run `reconcile refresh SPEC`: it reads the real members and writes them anew",
    )


OF_ANOTHER = (
    "the source has members of this segment that another state wrote, and this state knows nothing of them",
    "if that state is lost, run `reconcile refresh SPEC`: it reads the real members and writes them anew; if another "
    "spec has the segment, use another `workspace`, or another schema (`options.schema`)",
)
"""Message and hint of the error for members that this state did not write."""


def other_place(*, is_at_source: bool) -> StateError:
    """Give the error where the spec says another place of the members than the state has them in."""
    there, said = ("at the source", "local") if is_at_source else ("in the state", "source")
    return StateError(
        f"the members of this segment are kept {there}, and the spec says `members: {said}`",
        f"run `reconcile state copy SPEC --members {said}`, which moves them and sends nothing; or set the key back",
        shared=f"their members are kept {there}, and the spec says `members: {said}`",
    )


@dataclass(frozen=True)
class Answer:
    """What the source found for a segment's query; the numbers of members are in it, for the caller to check."""

    rows: ArrowStream
    """`stays` (boolean): the ids of this row need no change; else it is one id, which may change, or one invalid value.
    `id` (utf8 or binary: bytes that need be no UTF-8; null where it stays, and for a NULL), `typed` (boolean as in
    ValueStream), `flags` (null: the state does not hold it), `number` (of rows of the query that have it), `held`
    (number of ids with these flags), `members` (of these, ids of M, the members at the source), and `total` (text: the
    sum of their numbers, as in `MembersHead.sum`)."""
    data_time: DataTime | None = None


class MembersAtSource(Protocol):
    """The members of segments in one source's database. A `key` is `workspace/segment_id`.

    Every method raises SourceError (unreachable, no right to write) or StateError (what is there disagrees).
    """

    def check_schema(self) -> None:
        """Check that the schema for the tables is there; nothing is made."""
        ...

    def last(self, key: str, /) -> MembersHead | None:
        """Give the greatest head that is there. A schema that is not there is an error."""
        ...

    def check(self, key: str, head: MembersHead, attempted: tuple[int, int], /) -> None:
        """Check that this head is there, and none that another state wrote: cheap, as it reads heads alone.

        `attempted` is the greatest (generation, serial) that this state may have written.
        """
        ...

    def write_generation(self, key: str, lineage: str, generation: int, ids: Iterator[list[str]], /) -> MembersHead:
        """Write distinct ids as a new base, then its head with serial 0."""
        ...

    def append(
        self, key: str, head: MembersHead, serial: int, changes: Iterator[tuple[Direction, list[str]]], /
    ) -> MembersHead:
        """Append changes, each id in one direction, then their head.

        It is checked that the members are as in `head`, and that all arrived.
        """
        ...

    def rewrite(self, key: str, head: MembersHead, generation: int, /) -> MembersHead:
        """Write the members, checked, as a new base, without their leaving the source."""
        ...

    def drop(self, key: str, keep: Collection[int], /) -> bool:
        """Drop the generations before the last that is kept, but for those kept; with none kept, everything.

        False: nothing was dropped, as these tables take no DELETE.
        """
        ...

    def read(self, key: str, head: MembersHead, /) -> AbstractContextManager[Iterator[str]]:
        """Stream all members in blocks of lines. That they are all is checked at the end: no row counts before that."""
        ...

    def holds(self, key: str, head: MembersHead, ids: Sequence[str], /) -> set[str]:
        """Give those of a few ids that are members."""
        ...

    def generations_of(self, key: str, ids: Sequence[str], /) -> set[int]:
        """Give the generations in which a row, of whatever serial, has one of these ids."""
        ...

    def compare(
        self,
        segment: Segment,
        key: str,
        head: MembersHead,
        overlay: ArrowStream,
        left: Collection[int],
        kept: Collection[int],
        /,
    ) -> AbstractContextManager[Answer | NotPossible]:
        """Run the segment's query and compare it there with the members, or say why not.

        `overlay` is what the state knows besides: `id`, `flags` (smallint; null: as the members say), and `travels`
        (boolean): it does not stay if the query has it. Distinct ids. What is not desired stays with the flags `left`,
        what is desired with those of `kept`.
        """
        ...


@dataclass(frozen=True)
class StoredAtSource:
    """Where the members of a segment stand, and what has changed in them since; the streams as those of `Stored`."""

    source: MembersAtSource = field(repr=False)
    key: str
    head: MembersHead
    attempted: tuple[int, int]
    added: Callable[[], Rows]
    """`id`: members that the source does not have yet."""
    dropped: Callable[[], Rows]
    """`id`: no members any more, and the source has them still."""
