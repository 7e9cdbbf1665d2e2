"""Few ids compared in Python's sets, where tables would take a hundred times as long to make as to match.

What is decided of an id, and what is counted, is as in `comparison`: by `decide`, from its flags.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from reconciler.diff.changes import Changes, make_batches
from reconciler.diff.decide import SENT, Change, Flag, Returned, count_changes, decide, refuse_bad, select
from reconciler.models.batches import Batch, Direction
from reconciler.models.comparison import FIELD_END, ROW_END, Rows
from reconciler.models.freshness import DataTime
from reconciler.models.ids import NULL, IdType, Invalid, are_ids, check_text, fold
from reconciler.models.spec import Segment
from reconciler.state.base import FewStored

_ROW, _NULL = chr(ROW_END), chr(FIELD_END)
_UNFIT = _NULL * 2


@dataclass(frozen=True)
class FewChanges(Changes):
    """As `Changes`, in sets."""

    _ids: Mapping[Flag, Collection[str]] = field(repr=False)
    """The ids to send, by their flags."""

    def batches(self, direction: Direction) -> Iterator[Batch]:
        return make_batches(direction, self._sort(*SENT[direction]), frozenset(self._sort(Change.RESEND)))

    def already_there(self) -> Iterator[list[str]]:
        return iter(())

    def stored_additions(self) -> Iterator[list[str]]:
        return iter(())

    def examples(self, direction: Direction, number: int) -> tuple[str, ...]:
        return tuple(self._sort(*SENT[direction])[:number])

    def _sort(self, *changes: Change) -> list[str]:
        """The ids with these changes, in the order of their bytes, which is that of their characters."""
        return sorted(chain.from_iterable(self._ids.get(flags, ()) for flags in select(changes, exclusive=False)))


def take_few(rows: Rows, most: int) -> tuple[list[str], Rows | None]:
    """Take the lines of blocks up to their end; or, if there are more than `most`, give all rows as they were."""
    lines: list[str] = []
    taken: list[str] = []
    if not isinstance(rows, Iterator):
        return lines, rows
    for block in rows:
        taken.append(block)
        lines += block.split(_ROW)
        if len(lines) > most:
            return [], chain(taken, rows)
    return lines, None


def compare_few(segment: Segment, stored: FewStored, lines: list[str], data_time: DataTime | None) -> FewChanges:
    """Compare what a query returned, as lines of blocks, with what the state holds. Raises SourceError."""
    ids, returned = judge(lines, segment.id_type)
    refuse_bad(returned, segment)
    decided = [each for each in stored.overlay if each.decided]  # by marks and journal, which outweigh the members
    known = {Flag.STORED: set(stored.members).difference(each.id for each in decided)}
    for each in decided:
        known.setdefault(Flag(each.status), set()).add(each.id)
    found = {Flag.DESIRED: ids.difference(*known.values())}
    for flags, some in known.items():
        found[flags] = some - ids
        found[flags | Flag.DESIRED] = some & ids
    changed = {flags: some for flags, some in found.items() if some and decide(flags, False) is not Change.NONE}
    counts = count_changes(False, _count(known), _count(changed), returned)
    missing = sum(fold(each, segment.id_type) not in ids for each in segment.guards.must_include)
    counts = replace(counts, missing_sentinels=missing, reversed_at=_find_reversed(stored, changed))
    return FewChanges("local", stored.head, counts, data_time, changed)


def judge(lines: list[str], id_type: IdType) -> tuple[set[str], Returned]:
    """Give the ids of lines by the rules of ids, and the numbers of rows by why they are none."""
    folded = [fold(line, id_type) for line in lines]
    if are_ids(folded, id_type):
        return set(folded), Returned({None: len(folded)})
    ids: set[str] = set()
    numbers: Counter[str | None] = Counter()
    for line in lines:
        if line == _NULL:
            numbers[NULL] += 1
            continue
        found = Invalid.TYPE if line == _UNFIT else check_text(line, id_type)
        if isinstance(found, Invalid):
            numbers[found.name] += 1
        else:
            numbers[None] += 1
            ids.add(found)
    return ids, Returned(numbers)


def _count(ids: Mapping[Flag, Collection[str]]) -> dict[Flag, int]:
    return {flags: len(some) for flags, some in ids.items()}


def _find_reversed(stored: FewStored, changed: Mapping[Flag, Collection[str]]) -> float | None:
    """Find the time of the latest attempt of unknown outcome that one of the changes reverses."""
    flags_of = {id_: flags for flags, ids in changed.items() for id_ in ids} if stored.overlay else {}
    attempts = (
        each.remove_at if Flag.DESIRED in flags_of[each.id] else each.add_at
        for each in stored.overlay
        if each.id in flags_of
    )
    return max((at for at in attempts if at is not None), default=None)
