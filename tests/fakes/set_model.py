"""The set engine once more, slowly: one id at a time, with Python sets and the words of the contract."""

import re
import unicodedata
from dataclasses import dataclass, field, replace

from reconciler.models.comparison import Counts, DriftCounts
from reconciler.models.ids import IdType, Invalid, check_text


@dataclass(frozen=True)
class MarkRow:
    id: str
    mark: str
    direction: str | None
    at: float


@dataclass(frozen=True)
class JournalRow:
    seq: int
    direction: str
    outcome: str | None
    at: float
    unknown_at: float | None
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Value:
    text: str | None
    typed: bool = True


@dataclass(frozen=True)
class Person:
    cio_id: str
    key: str | None


@dataclass(frozen=True)
class World:
    """All that a comparison looks at."""

    values: tuple[Value, ...] = ()
    members: frozenset[str] = frozenset()
    marks: tuple[MarkRow, ...] = ()
    journal: tuple[JournalRow, ...] = ()
    people: tuple[Person, ...] | None = None
    exclusive: bool = False
    id_type: IdType = IdType.ID
    sentinels: tuple[str, ...] = ()
    now: float = 0.0
    settle: float = 10.0
    as_blocks: bool = False
    """The state gives blocks of text, not Arrow streams."""


@dataclass
class StateModel:
    """What the state says of each id."""

    stored: set[str] = field(default_factory=set)
    unsettled: dict[str, str] = field(default_factory=dict)
    marked_unmatched: set[str] = field(default_factory=set)
    tombstones: set[str] = field(default_factory=set)

    @property
    def unmatched(self) -> set[str]:
        return self.marked_unmatched - set(self.unsettled)

    @property
    def held(self) -> set[str]:
        return self.stored | set(self.unsettled) | self.marked_unmatched


def read_state(world: World) -> StateModel:
    state = StateModel(stored=set(world.members))
    for row in world.marks:
        if row.mark == "removed" and row.id not in world.members and _is_recent(world, row.at):
            state.tombstones.add(row.id)
    for row in world.marks:
        if row.mark == "unmatched":
            state.marked_unmatched.add(row.id)
        if row.mark == "unsettled":
            state.unsettled[row.id] = row.direction or "add"
    unmatched = {mark.id for mark in world.marks if mark.mark == "unmatched"}
    removed: set[str] = set()
    for entry in sorted(world.journal, key=lambda entry: entry.seq):
        for member in entry.ids:
            if entry.outcome == "acknowledged" and entry.direction == "remove":
                removed.add(member)
            _replay(state, entry, member, member in unmatched - removed)
    state.stored -= set(state.unsettled) | state.marked_unmatched
    state.tombstones -= state.held
    state.tombstones &= {member for member, at in removals(world) if _is_recent(world, at)}
    return state


def _is_recent(world: World, at: float) -> bool:
    """The removal may not have arrived yet: within settle and an hour."""
    return world.now - at <= world.settle + 3600


def removals(world: World) -> list[tuple[str, float]]:
    marked = [(row.id, row.at) for row in world.marks if row.mark == "removed"]
    rows = [row for row in world.journal if row.direction == "remove" and row.outcome == "acknowledged"]
    return marked + [(member, row.at) for row in rows for member in row.ids]


def _replay(state: StateModel, row: JournalRow, member: str, is_unmatched: bool) -> None:
    state.stored.discard(member)
    state.unsettled.pop(member, None)
    state.marked_unmatched.discard(member)
    state.tombstones.discard(member)
    if row.outcome == "acknowledged" and row.direction == "remove":
        state.tombstones.add(member)
        return
    if is_unmatched:
        state.marked_unmatched.add(member)
    if row.outcome == "acknowledged":
        state.stored.add(member)
    else:
        state.unsettled[member] = row.direction


def doubtful_attempts(world: World) -> list[tuple[str, str, float]]:
    """Attempts that may still arrive: id, direction, time."""
    found = [
        (row.id, row.direction, row.at)
        for row in world.marks
        if row.mark in ("unsettled", "echo") and row.direction is not None
    ]
    for row in world.journal:
        at = row.unknown_at if row.outcome == "acknowledged" else row.at
        if at is not None:
            found += [(member, row.direction, at) for member in row.ids]
    return found


@dataclass(frozen=True)
class Outcome:
    counts: Counts
    add: list[str]
    remove: list[str]
    adopt: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Query:
    """What the values of a query come to."""

    valid: list[str]
    nulls: int
    invalid: int


def read_query(world: World) -> Query:
    present = [value for value in world.values if value.text is not None]
    checked = [check_text(value.text or "", world.id_type) for value in present if value.typed]
    valid = [found for found in checked if not isinstance(found, Invalid)]
    return Query(valid, len(world.values) - len(present), len(present) - len(valid))


def compare(world: World) -> Outcome:
    state, query = read_state(world), read_query(world)
    remote = remote_keys(world) if world.exclusive else set()
    desired = set(query.valid)
    unchanged = desired & (sure(state, remote) if world.exclusive else state.stored)
    remove = (state.held | remote) - desired
    counts = Counts(
        desired=len(desired),
        unchanged=len(unchanged),
        adopt=len(unchanged - state.stored),
        nulls=query.nulls,
        invalid=query.invalid,
        duplicates=len(query.valid) - len(desired),
        missing_sentinels=sum(check_text(member, world.id_type) not in desired for member in world.sentinels),
    )
    found = _describe(world, counts, desired - unchanged, remove, remote)
    return replace(found, adopt=sort(unchanged - state.stored))


def sure(state: StateModel, remote: set[str]) -> set[str]:
    """The members, whatever still arrives."""
    return remote - set(state.unsettled) - state.tombstones


def resume(world: World, adds: set[str], removes: set[str]) -> Outcome:
    """What is left of a plan file."""
    state = read_state(world)
    remote = remote_keys(world) if world.exclusive else set()
    adopt: set[str] = set()
    if not world.exclusive:
        adds, removes = adds - state.stored, removes & state.held
    else:
        there = sure(state, remote)
        adopt = adds & there - state.stored
        adds, removes = adds - there, removes & (state.held | remote)
    return replace(_describe(world, Counts(adopt=len(adopt)), adds, removes, remote), adopt=sort(adopt))


def _describe(world: World, counts: Counts, sent: set[str], remove: set[str], remote: set[str]) -> Outcome:
    state = read_state(world)
    resend = (sent & state.marked_unmatched) - set(state.unsettled)
    add = sent - resend
    exempt = {m for m in remove if m in state.marked_unmatched or state.unsettled.get(m) == "remove"} - remote
    counts = replace(
        counts,
        stored=len(state.stored),
        add=len(add),
        remove=len(remove),
        resend=len(resend),
        unsettled=len(state.unsettled),
        unmatched=len(state.unmatched),
        held=len(state.held | remote),
        repeated_adds=sum(state.unsettled.get(member) == "add" for member in add),
        exempt_removes=len(exempt),
        strays=len(remove - state.held),
        unkeyed=count_unkeyed(world) if world.exclusive and world.people is not None else None,
        reversed_at=latest_reversed(world, sent, remove),
    )
    return Outcome(counts, sort(sent), sort(remove))


@dataclass(frozen=True)
class Reading:
    """What a read-back shows."""

    drift: DriftCounts
    appeared: list[str]
    vanished: list[str]
    lingering: list[str]
    gone: list[str]


def read_back(world: World) -> Reading:
    state, remote = read_state(world), remote_keys(world)
    lingering = state.tombstones & remote
    removing = {member for member, direction in state.unsettled.items() if direction == "remove"} & remote
    drift = DriftCounts(
        stored=len(state.stored),
        remote=len({person.cio_id for person in world.people or ()}),
        missing=len(state.stored - remote),
        foreign=len(remote - state.stored - state.unmatched),
        lingering=len(lingering | removing),
        unkeyed=count_unkeyed(world),
        strangers=len(remote - state.held - state.tombstones),
        unmatched=len(state.unmatched),
        appeared=len(state.unmatched & remote),
        held=len(state.held | lingering),
    )
    return Reading(
        drift,
        appeared=sort(state.unmatched & remote),
        vanished=sort(state.stored - remote),
        lingering=sort(lingering),
        gone=sort(state.tombstones - remote),
    )


@dataclass(frozen=True)
class Takeover:
    members: list[str]
    unmatched: list[str]
    lingering: list[str]


def adopt(world: World, known_only: bool) -> Takeover:
    state, remote = read_state(world), remote_keys(world)
    members = remote & state.held if known_only else remote - state.tombstones
    return Takeover(sort(members), sort(state.held - remote), sort(state.tombstones & remote))


def remote_keys(world: World) -> set[str]:
    return {key for person in world.people or () if (key := key_of(person, world))}


def key_of(person: Person, world: World) -> str | None:
    """The key as it is compared; what holds a control character is none."""
    if person.key is None or any(unicodedata.category(character) == "Cc" for character in person.key):
        return None
    return re.sub("[A-Z]", lambda found: found[0].lower(), person.key) if world.id_type is IdType.EMAIL else person.key


def count_unkeyed(world: World) -> int:
    people = world.people or ()
    return len({p.cio_id for p in people} - {p.cio_id for p in people if key_of(p, world)})


def latest_reversed(world: World, adds: set[str], removes: set[str]) -> float | None:
    against = {**dict.fromkeys(adds, "remove"), **dict.fromkeys(removes, "add")}
    times = [at for member, direction, at in doubtful_attempts(world) if against.get(member) == direction]
    return max(times, default=None)


def sort(ids: set[str]) -> list[str]:
    return sorted(ids, key=str.encode)
