"""A sandbox workspace: people, segments, their members, and the writes that were accepted but not yet applied.

In memory and thread-safe: every public method of `Workspace` takes the one lock and first applies what has come due.
The clock is an argument, so a test can let time pass.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from threading import RLock
from typing import Any, NamedTuple

from reconciler.sandbox.settings import NEVER, SandboxError, Settings, UnknownIds


class IdType(StrEnum):
    """The kinds of identifier that the segment endpoints take (there is no `phone`); each names a field of `Person`."""

    ID = "id"
    EMAIL = "email"
    CIO_ID = "cio_id"


class SegmentType(StrEnum):
    """`manual` segments take members over the API; `dynamic` (data-driven) ones do not."""

    MANUAL = "manual"
    DYNAMIC = "dynamic"


class Direction(StrEnum):
    """Into a segment or out of it."""

    ADD = "add"
    REMOVE = "remove"


class Person(NamedTuple):
    """One profile. `id` or `email` may be None, never both; `cio_id` is bare."""

    cio_id: str
    id: str | None
    email: str | None


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


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """An accepted write that will be applied at `due` on the workspace's clock."""

    due: float
    segment_id: int
    direction: Direction
    id_type: IdType
    ids: tuple[str, ...] = field(repr=False)


class People:
    """Every person, in order of arrival.

    An `id` is compared exactly, an `email` without case, a `cio_id` exactly, bare or with its `cio_` prefix.
    """

    def __init__(self) -> None:
        self.known: dict[str, Person] = {}
        """By cio_id."""
        self._by_id: dict[str, str] = {}
        self._by_email: dict[str, str] = {}
        self._last = 0

    def find(self, id_type: IdType, values: Iterable[str]) -> list[str]:
        """Return the cio_ids of those who exist; the rest are left out, as Customer.io ignores them."""
        found: Iterable[str | None]
        if id_type is IdType.ID:
            found = map(self._by_id.get, values)
        elif id_type is IdType.EMAIL:
            found = map(self._by_email.get, map(str.lower, values))
        else:
            bare = (value.removeprefix("cio_") for value in values)
            found = (value if value in self.known else None for value in bare)
        return [cio_id for cio_id in found if cio_id is not None]

    def identify(self, id: str | None, email: str | None, cio_id: str | None = None) -> None:
        """Create or update one person. Raises ValueError for a cio_id that nobody can have.

        An identifier that already belongs to another person is left with it, as Customer.io does.
        """
        owner = cio_id if cio_id in self.known else None
        if cio_id is None:
            owner = None if id is None else self._by_id.get(id)
            if owner is None and email is not None:
                owner = self._by_email.get(email.lower())
                if owner is not None and id is not None and self.known[owner].id is not None:
                    owner = None  # the email is taken by a person with another id: the new one goes without it
        if owner is None:
            number = self._last + 1 if cio_id is None else int(cio_id.removeprefix("a3"), 16)
            owner = f"a3{number:06x}"
            if cio_id not in (None, owner) or number <= self._last:
                raise SandboxError("a person has a cio_id that the sandbox does not give")
            self._last = number

        _, old_id, old_email = self.known.get(owner, Person(owner, None, None))
        if id is not None and old_id is None and self._by_id.setdefault(id, owner) == owner:
            old_id = id
        if email is not None and self._by_email.get(email.lower(), owner) == owner:
            if old_email is not None:
                del self._by_email[old_email.lower()]
            self._by_email[email.lower()] = owner
            old_email = email
        self.known[owner] = Person(owner, old_id, old_email)


class Workspace:
    """The whole memory of the sandbox. Ids given to its methods must be strings.

    What takes the number of a segment raises `SandboxError` when there is none, except `segment` and `submit`.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self.settings = settings
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = RLock()
        self._people = People()
        self._segments: dict[int, Segment] = {}
        # A dict and not a set: members keep their order, so that pages by offset are stable while nothing changes.
        self._members: dict[int, dict[str, None]] = {}
        self._pending: list[PendingWrite] = []

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
            return len(self._people.known)

    def people(self) -> list[Person]:
        """Return all people, in order of arrival."""
        with self._up_to_date():
            return list(self._people.known.values())

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
        """Change fields of a segment, as someone in the UI might: `name`, `type`, `used_by`…"""
        with self._up_to_date():
            self._members_of(segment_id)
            if "type" in changes:
                changes["type"] = SegmentType(changes["type"])
            changed = replace(self._segments[segment_id], updated_at=int(self._wall_clock()), **changes)
            self._segments[segment_id] = changed
            return changed

    def delete_segment(self, segment_id: int) -> None:
        """Delete a segment of any type."""
        with self._up_to_date():
            self._members_of(segment_id)
            del self._members[segment_id], self._segments[segment_id]

    # -- membership

    def submit(
        self, segment_id: int, direction: Direction, id_type: IdType, ids: Sequence[str], delay: float | None = None
    ) -> None:
        """Accept a write; it is applied now, or `delay` seconds later (default: the setting `apply_delay`)."""
        with self._up_to_date():
            wait = self.settings.apply_delay if delay is None else delay
            write = PendingWrite(self._clock() + wait, segment_id, direction, id_type, tuple(ids))
            if wait > 0:
                insort(self._pending, write, key=lambda other: other.due)  # behind those of the same moment
            else:
                self._apply(write)

    def members(self, segment_id: int, start: int = 0, end: int | None = None) -> list[Person]:
        """Return the members of the segment now, or those from position `start` to before `end`."""
        with self._up_to_date():
            return [self._people.known[cio_id] for cio_id in islice(self._members_of(segment_id), start, end)]

    def size(self, segment_id: int) -> int:
        """Return the number of members of the segment now."""
        with self._up_to_date():
            return len(self._members_of(segment_id))

    # -- membership by hand: at once, whatever the settings and faults

    def edit_members(
        self, segment_id: int, *, add: Iterable[str] = (), remove: Iterable[str] = (), id_type: str = "id"
    ) -> None:
        """Add and remove members, as a marketer would. Raises `SandboxError` if any person is unknown."""
        with self._up_to_date():
            members = self._members_of(segment_id)
            added, removed = self._find_all(add, id_type), self._find_all(remove, id_type)
            members.update(dict.fromkeys(added))
            for cio_id in removed:
                members.pop(cio_id, None)

    def set_members(self, segment_id: int, values: Iterable[str], id_type: str = "id") -> None:
        """Make these, and no others, the members. Raises `SandboxError` if any is unknown."""
        with self._up_to_date():
            self._members_of(segment_id)
            self._members[segment_id] = dict.fromkeys(self._find_all(values, id_type))

    # -- time

    def pending(self) -> list[PendingWrite]:
        """Return the writes that were accepted and are not applied yet, in the order they will be."""
        with self._up_to_date():
            return list(self._pending)

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
            self._apply_until(self._clock())
            yield

    def _apply_until(self, moment: float) -> None:
        while self._pending and self._pending[0].due <= moment:
            self._apply(self._pending.pop(0))

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
        members, found = self._members[write.segment_id], self._people.find(write.id_type, write.ids)
        if write.direction is Direction.ADD:
            members.update(dict.fromkeys(found))
        else:
            for cio_id in found:
                members.pop(cio_id, None)

    def _members_of(self, segment_id: int) -> dict[str, None]:
        if segment_id not in self._segments:
            raise SandboxError(f"there is no segment {segment_id}")
        return self._members[segment_id]

    def _find_all(self, values: Iterable[str], id_type: str) -> list[str]:
        wanted = list(values)
        found = self._people.find(IdType(id_type), wanted)
        if len(found) != len(wanted):
            raise SandboxError(f"{len(wanted) - len(found)} of {len(wanted)} people are unknown; add them first")
        return found
