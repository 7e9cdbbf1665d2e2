"""A sandbox workspace: people, segments, who is in which, and the writes that were accepted but not yet applied.

In memory and thread-safe: every public method takes the one lock and first applies what has come due. The clock is an
argument, so a test can let time pass.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from threading import RLock
from typing import Any

from reconciler.sandbox.people import IdType, People, Person
from reconciler.sandbox.settings import NEVER, SandboxError, Settings, UnknownIds


class SegmentType(StrEnum):
    """`manual` segments take members over the API; `dynamic` (data-driven) ones do not."""

    MANUAL = "manual"
    DYNAMIC = "dynamic"


class Direction(StrEnum):
    """Into a segment or out of it."""

    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class UsedBy:
    """Campaigns and newsletters that refer to a segment, by number."""

    campaigns: tuple[int, ...] = ()
    sent_newsletters: tuple[int, ...] = ()
    draft_newsletters: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.campaigns or self.sent_newsletters or self.draft_newsletters)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment, without its members. Times are Unix seconds."""

    id: int
    name: str
    description: str = ""
    type: SegmentType = SegmentType.MANUAL
    state: str = "finished"
    progress: int | None = None
    tags: tuple[str, ...] | None = None
    created_at: int = 0
    updated_at: int = 0
    used_by: UsedBy = field(default_factory=UsedBy)


@dataclass(frozen=True, slots=True, order=True)
class Pending:
    """An accepted write that will be applied at `due` on the workspace's clock."""

    due: float
    turn: int
    segment_id: int = field(compare=False)
    direction: Direction = field(compare=False)
    id_type: IdType = field(compare=False)
    ids: tuple[str, ...] = field(compare=False, repr=False)


class Workspace:
    """The whole memory of the sandbox. Ids given to its methods must be strings."""

    def __init__(self, settings: Settings, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = RLock()
        self._people = People()
        self._segments: dict[int, Segment] = {}
        # A dict and not a set: members keep their order, so that pages by offset are stable while nothing changes.
        self._members: dict[int, dict[int, None]] = {}
        self._sizes: dict[int, deque[tuple[float, int]]] = {}
        self._pending: list[Pending] = []
        self._turns = itertools.count()

    # -- knobs

    @property
    def settings(self) -> Settings:
        """The knobs as they are now."""
        return self._settings

    def change_settings(self, **changes: Any) -> Settings:
        """Turn some knobs, by their names in `Settings`; values as in JSON. Raises `SandboxError`."""
        with self._current():
            self._settings = self._settings.changed(changes)
            return self._settings

    # -- people

    def add_people(self, rows: Iterable[tuple[str | None, str | None]]) -> int:
        """Create or update people from (id, email) pairs; returns how many people there are now."""
        with self._current():
            for id, email in rows:
                if id is None and email is None:
                    raise SandboxError("a person needs an id or an email")
                self._people.identify(id, email)
            return len(self._people)

    def identify(self, id: str | None, email: str | None, cio_id: str | None = None) -> Person | None:
        """Create or update one person; None when a suppressed identifier makes the call void."""
        with self._current():
            number = self._people.identify(id, email, cio_id)
            return None if number is None else self._people.person(number)

    def find(self, id_type: str, value: str) -> Person | None:
        """The person whom an identifier names (a cio_id bare or prefixed)."""
        with self._current():
            number = self._people.find(IdType(id_type), value)
            return None if number is None else self._people.person(number)

    def find_many(self, id_type: str, values: Iterable[str]) -> list[Person]:
        """The people who exist among those named; unknown ones are left out."""
        with self._current():
            return [self._people.person(number) for number in self._people.find_many(IdType(id_type), values)]

    def people(self) -> list[Person]:
        """Everybody, in order of arrival."""
        with self._current():
            return list(self._people)

    def people_count(self) -> int:
        """How many people there are."""
        with self._current():
            return len(self._people)

    def delete_person(self, id_type: str, value: str) -> bool:
        """Delete a person with all memberships; False when nobody is named so."""
        with self._current():
            number = self._people.find(IdType(id_type), value)
            if number is None:
                return False
            self._people.delete(number)
            self._leave_all(number)
            return True

    def suppress(self, id_type: str, value: str) -> None:
        """Delete the profile for good and block its identifiers; later calls that name them are ignored."""
        with self._current():
            number = self._people.block(IdType(id_type), value)
            if number is not None:
                self._leave_all(number)

    def unsuppress(self, id_type: str, value: str) -> None:
        """Free an identifier. Who is identified by it again is a new person in no segment."""
        with self._current():
            self._people.unblock(IdType(id_type), value)

    def suppressed(self) -> list[tuple[IdType, str]]:
        """The blocked identifiers."""
        with self._current():
            return self._people.blocked()

    def merge(self, primary: tuple[str, str], secondary: tuple[str, str]) -> bool:
        """Delete the secondary person and give the primary its manual segments. Both are (id_type, value)."""
        with self._current():
            keep = self._people.find(IdType(primary[0]), primary[1])
            gone = self._people.find(IdType(secondary[0]), secondary[1])
            if keep is None or gone is None or keep == gone:
                return False
            for segment in self._segments.values():
                if segment.type is SegmentType.MANUAL and gone in self._members[segment.id]:
                    self._put(segment.id, [keep], Direction.ADD)
            self._people.delete(gone)
            self._leave_all(gone)
            return True

    # -- segments

    def create_segment(self, name: str, *, id: int | None = None, type: str = "manual", **more: Any) -> Segment:
        """Create an empty segment; `more` are further fields of `Segment`. Raises `SandboxError` for a taken id."""
        with self._current():
            number = max(self._segments, default=0) + 1 if id is None else id
            if number in self._segments:
                raise SandboxError(f"segment {number} exists already")
            now = int(self._wall_clock())
            fields = {"created_at": now, "updated_at": now, **more}
            segment = Segment(number, name, type=SegmentType(type), **fields)
            self._segments[number] = segment
            self._members[number] = {}
            self._sizes[number] = deque([(self._clock(), 0)])
            return segment

    def segments(self) -> list[Segment]:
        """All segments by id."""
        with self._current():
            return [self._segments[id] for id in sorted(self._segments)]

    def segment(self, segment_id: int) -> Segment | None:
        """One segment, or None."""
        with self._current():
            return self._segments.get(segment_id)

    def change_segment(self, segment_id: int, **changes: Any) -> Segment:
        """Change fields of a segment, as someone in the UI might: `name`, `type`, `used_by`… Raises `SandboxError`."""
        with self._current():
            if "type" in changes:
                changes["type"] = SegmentType(changes["type"])
            changed = replace(self._known(segment_id), updated_at=int(self._wall_clock()), **changes)
            self._segments[segment_id] = changed
            return changed

    def delete_segment(self, segment_id: int) -> bool:
        """Delete a segment of any type; False when there is none."""
        with self._current():
            self._members.pop(segment_id, None)
            self._sizes.pop(segment_id, None)
            return self._segments.pop(segment_id, None) is not None

    def segments_of(self, id_type: str, value: str) -> list[Segment] | None:
        """The segments that a person is in; None when nobody is named so."""
        with self._current():
            number = self._people.find(IdType(id_type), value)
            if number is None:
                return None
            return [segment for id, segment in sorted(self._segments.items()) if number in self._members[id]]

    # -- membership over the API

    def submit(
        self, segment_id: int, direction: Direction, id_type: IdType, ids: Sequence[str], delay: float | None = None
    ) -> None:
        """Accept a write; it is applied now, or `delay` seconds later (default: the `apply_delay` knob)."""
        with self._current():
            wait = self._settings.apply_delay if delay is None else delay
            write = Pending(self._clock() + wait, next(self._turns), segment_id, direction, id_type, tuple(ids))
            if wait > 0:
                heapq.heappush(self._pending, write)
            else:
                self._apply(write)

    def page(self, segment_id: int, offset: int, limit: int) -> tuple[list[Person], bool]:
        """Up to `limit` members from `offset` on, and whether there are more. Raises `SandboxError`."""
        with self._current():
            members = self._known_members(segment_id)
            numbers = itertools.islice(members, offset, offset + limit)
            return [self._people.person(number) for number in numbers], offset + limit < len(members)

    def reported_count(self, segment_id: int) -> int:
        """The count that the API tells: late by `count_lag` seconds and off by `count_offset`."""
        with self._current():
            size = len(self._known_members(segment_id))
            if self._settings.count_lag:
                size = self._size_at(segment_id, self._clock() - self._settings.count_lag)
            return max(0, size + self._settings.count_offset)

    # -- membership by hand: at once, past every knob

    def members(self, segment_id: int) -> list[Person]:
        """Everybody who is in the segment now. Raises `SandboxError` when there is no such segment."""
        with self._current():
            return [self._people.person(number) for number in self._known_members(segment_id)]

    def size(self, segment_id: int) -> int:
        """How many are in the segment now."""
        with self._current():
            return len(self._known_members(segment_id))

    def add_members(self, segment_id: int, values: Iterable[str], id_type: str = "id") -> None:
        """Put people in, as a marketer would. Raises `SandboxError` if any is unknown."""
        with self._current():
            self._known(segment_id)
            self._put(segment_id, self._known_people(values, id_type), Direction.ADD)

    def remove_members(self, segment_id: int, values: Iterable[str], id_type: str = "id") -> None:
        """Take people out. Raises `SandboxError` if any is unknown to the workspace."""
        with self._current():
            self._known(segment_id)
            self._put(segment_id, self._known_people(values, id_type), Direction.REMOVE)

    def set_members(self, segment_id: int, values: Iterable[str], id_type: str = "id") -> None:
        """Make these, and nobody else, the members. Raises `SandboxError` if any is unknown."""
        with self._current():
            numbers = self._known_people(values, id_type)
            self._put(segment_id, list(self._known_members(segment_id)), Direction.REMOVE)
            self._put(segment_id, numbers, Direction.ADD)

    # -- time

    def adopt(self, other: "Workspace") -> None:
        """Take over everything that another workspace with the same clock holds, except for its knobs."""
        with self._current(), other._current():
            self._people, self._segments, self._members = other._people, other._segments, other._members
            self._sizes, self._pending, self._turns = other._sizes, other._pending, other._turns

    def pending(self) -> list[Pending]:
        """Writes that were accepted and are not applied yet, in the order they will be."""
        with self._current():
            return sorted(self._pending)

    def settle(self) -> int:
        """Apply every pending write now, even those due never; returns how many there were."""
        with self._current():
            count = len(self._pending)
            self._apply_until(NEVER)
            return count

    # -- below the lock

    @contextmanager
    def _current(self) -> Iterator[None]:
        with self._lock:
            if self._pending:
                self._apply_until(self._clock())
            yield

    def _apply_until(self, moment: float) -> None:
        while self._pending and self._pending[0].due <= moment:
            self._apply(heapq.heappop(self._pending))

    def _apply(self, write: Pending) -> None:
        segment = self._segments.get(write.segment_id)
        if segment is None or segment.type is not SegmentType.MANUAL:
            return
        if write.direction is Direction.ADD and self._settings.unknown_ids is UnknownIds.CREATE:
            self._create_unknown(write)
        numbers = self._people.find_many(write.id_type, write.ids, self._settings.cio_form)
        self._put(write.segment_id, numbers, write.direction)

    def _create_unknown(self, write: Pending) -> None:
        for value in write.ids:
            if write.id_type is IdType.ID:
                self._people.identify(value, None)
            elif write.id_type is IdType.EMAIL and "@" in value:
                self._people.identify(None, value)

    def _put(self, segment_id: int, numbers: Iterable[int], direction: Direction) -> None:
        members = self._members[segment_id]
        before = len(members)
        if direction is Direction.ADD:
            members.update(dict.fromkeys(numbers))
        else:
            for number in numbers:
                members.pop(number, None)
        if len(members) != before:
            self._remember_size(segment_id)

    def _leave_all(self, number: int) -> None:
        for segment_id in self._segments:
            self._put(segment_id, [number], Direction.REMOVE)

    def _remember_size(self, segment_id: int) -> None:
        sizes, now = self._sizes[segment_id], self._clock()
        sizes.append((now, len(self._members[segment_id])))
        while len(sizes) > 1 and sizes[1][0] <= now - self._settings.count_lag:
            sizes.popleft()

    def _size_at(self, segment_id: int, moment: float) -> int:
        sizes = self._sizes[segment_id]
        return next((size for time, size in reversed(sizes) if time <= moment), sizes[0][1])

    def _known(self, segment_id: int) -> Segment:
        segment = self._segments.get(segment_id)
        if segment is None:
            raise SandboxError(f"there is no segment {segment_id}")
        return segment

    def _known_members(self, segment_id: int) -> dict[int, None]:
        return self._members[self._known(segment_id).id]

    def _known_people(self, values: Iterable[str], id_type: str) -> list[int]:
        wanted = list(values)
        numbers = self._people.find_many(IdType(id_type), wanted)
        if len(numbers) != len(wanted):
            raise SandboxError(f"{len(wanted) - len(numbers)} of {len(wanted)} people are unknown; add them first")
        return numbers
