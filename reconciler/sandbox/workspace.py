"""A sandbox workspace: people, segments, their members, and the writes that were accepted but not yet applied.

In memory and thread-safe: every public method takes the one lock and first applies what has come due. The clock is an
argument, so a test can let time pass.
"""

import heapq
import itertools
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
class PendingWrite:
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
        self.settings = settings
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = RLock()
        self._people = People()
        self._segments: dict[int, Segment] = {}
        # A dict and not a set: members keep their order, so that pages by offset are stable while nothing changes.
        self._members: dict[int, dict[int, None]] = {}
        self._pending: list[PendingWrite] = []
        self._turns = itertools.count()

    def change_settings(self, **changes: Any) -> Settings:
        """Change settings by their names in `Settings`; values as in JSON. Raises `SandboxError`."""
        with self._up_to_date():
            self.settings = self.settings.changed(changes)
            return self.settings

    # -- people

    def add_people(self, rows: Iterable[tuple[str | None, ...]]) -> int:
        """Create or update people from (id, email) or (id, email, cio_id); return how many there are now."""
        with self._up_to_date():
            for id, email, *cio_id in rows:
                if id is None and email is None:
                    raise SandboxError("a person needs an id or an email")
                self._people.identify(id, email, *cio_id)
            return len(self._people)

    def people(self) -> list[Person]:
        """Return all people, in order of arrival."""
        with self._up_to_date():
            return list(self._people)

    # -- segments

    def create_segment(self, name: str, *, id: int | None = None, type: str = "manual", **more: Any) -> Segment:
        """Create an empty segment; `more` are further fields of `Segment`. Raises `SandboxError` for a taken id."""
        with self._up_to_date():
            number = max(self._segments, default=0) + 1 if id is None else id
            if number in self._segments:
                raise SandboxError(f"segment {number} exists already")
            now = int(self._wall_clock())
            fields = {"created_at": now, "updated_at": now, **more}
            self._segments[number] = Segment(number, name, type=SegmentType(type), **fields)
            self._members[number] = {}
            return self._segments[number]

    def segments(self) -> list[Segment]:
        """Return all segments by id."""
        with self._up_to_date():
            return [self._segments[id] for id in sorted(self._segments)]

    def segment(self, segment_id: int) -> Segment | None:
        """Return one segment, or None."""
        with self._up_to_date():
            return self._segments.get(segment_id)

    def change_segment(self, segment_id: int, **changes: Any) -> Segment:
        """Change fields of a segment, as someone in the UI might: `name`, `type`, `used_by`… Raises `SandboxError`."""
        with self._up_to_date():
            self._members_of(segment_id)
            if "type" in changes:
                changes["type"] = SegmentType(changes["type"])
            changed = replace(self._segments[segment_id], updated_at=int(self._wall_clock()), **changes)
            self._segments[segment_id] = changed
            return changed

    def delete_segment(self, segment_id: int) -> None:
        """Delete a segment of any type. Raises `SandboxError` when there is none."""
        with self._up_to_date():
            self._members_of(segment_id)
            del self._members[segment_id], self._segments[segment_id]

    # -- membership over the API

    def submit(
        self, segment_id: int, direction: Direction, id_type: IdType, ids: Sequence[str], delay: float | None = None
    ) -> None:
        """Accept a write; it is applied now, or `delay` seconds later (default: the setting `apply_delay`)."""
        with self._up_to_date():
            wait = self.settings.apply_delay if delay is None else delay
            write = PendingWrite(self._clock() + wait, next(self._turns), segment_id, direction, id_type, tuple(ids))
            if wait > 0:
                heapq.heappush(self._pending, write)
            else:
                self._apply(write)

    def page(self, segment_id: int, offset: int, limit: int) -> tuple[list[Person], bool]:
        """Return up to `limit` members from `offset` on, and whether there are more. Raises `SandboxError`."""
        with self._up_to_date():
            members = self._members_of(segment_id)
            numbers = itertools.islice(members, offset, offset + limit)
            return [self._people.person(number) for number in numbers], offset + limit < len(members)

    # -- membership by hand: at once, whatever the settings and faults

    def members(self, segment_id: int) -> list[Person]:
        """Return the members of the segment now. Raises `SandboxError` when there is no such segment."""
        with self._up_to_date():
            return [self._people.person(number) for number in self._members_of(segment_id)]

    def size(self, segment_id: int) -> int:
        """Return the number of members of the segment now."""
        with self._up_to_date():
            return len(self._members_of(segment_id))

    def edit_members(
        self, segment_id: int, *, add: Iterable[str] = (), remove: Iterable[str] = (), id_type: str = "id"
    ) -> None:
        """Add and remove members, as a marketer would. Raises `SandboxError` if any person is unknown."""
        with self._up_to_date():
            members = self._members_of(segment_id)
            added, removed = self._find_all(add, id_type), self._find_all(remove, id_type)
            members.update(dict.fromkeys(added))
            for number in removed:
                members.pop(number, None)

    def set_members(self, segment_id: int, values: Iterable[str], id_type: str = "id") -> None:
        """Make these, and no others, the members. Raises `SandboxError` if any is unknown."""
        with self._up_to_date():
            self._members_of(segment_id)
            self._members[segment_id] = dict.fromkeys(self._find_all(values, id_type))

    # -- time

    def pending(self) -> list[PendingWrite]:
        """Return the writes that were accepted and are not applied yet, in the order they will be."""
        with self._up_to_date():
            return sorted(self._pending)

    def settle(self) -> int:
        """Apply every pending write now, even those due never; return how many there were."""
        with self._up_to_date():
            count = len(self._pending)
            self._apply_until(NEVER)
            return count

    # -- below the lock

    @contextmanager
    def _up_to_date(self) -> Iterator[None]:
        with self._lock:
            if self._pending:
                self._apply_until(self._clock())
            yield

    def _apply_until(self, moment: float) -> None:
        while self._pending and self._pending[0].due <= moment:
            self._apply(heapq.heappop(self._pending))

    def _apply(self, write: PendingWrite) -> None:
        segment = self._segments.get(write.segment_id)
        if segment is None or segment.type is not SegmentType.MANUAL:
            return
        if write.direction is Direction.ADD and self.settings.unknown_ids is UnknownIds.CREATE:
            for value in write.ids:
                if write.id_type is IdType.ID:
                    self._people.identify(value, None)
                elif write.id_type is IdType.EMAIL and "@" in value:
                    self._people.identify(None, value)
        members, numbers = self._members[write.segment_id], self._people.find(write.id_type, write.ids)
        if write.direction is Direction.ADD:
            members.update(dict.fromkeys(numbers))
        else:
            for number in numbers:
                members.pop(number, None)

    def _members_of(self, segment_id: int) -> dict[int, None]:
        if segment_id not in self._segments:
            raise SandboxError(f"there is no segment {segment_id}")
        return self._members[segment_id]

    def _find_all(self, values: Iterable[str], id_type: str) -> list[int]:
        wanted = list(values)
        numbers = self._people.find(IdType(id_type), wanted)
        if len(numbers) != len(wanted):
            raise SandboxError(f"{len(wanted) - len(numbers)} of {len(wanted)} people are unknown; add them first")
        return numbers
