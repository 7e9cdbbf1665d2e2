"""The set engine once more, slowly: one id at a time, with Python sets and the words of the contract."""

from dataclasses import dataclass, field

from reconciler.core.counts import Counts
from reconciler.core.ids import IdType, Invalid, check_text


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
    id_type: IdType = IdType.ID
    sentinels: tuple[str, ...] = ()


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
        if row.mark == "removed" and row.id not in world.members:
            state.tombstones.add(row.id)
    for row in world.marks:
        if row.mark == "unmatched":
            state.marked_unmatched.add(row.id)
        if row.mark == "unsettled":
            state.unsettled[row.id] = row.direction or "add"
    for row in sorted(world.journal, key=lambda row: row.seq):
        for member in row.ids:
            _replay(state, row, member, member in {mark.id for mark in world.marks if mark.mark == "unmatched"})
    state.stored -= set(state.unsettled) | state.marked_unmatched
    state.tombstones -= state.held
    return state


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


def compare(world: World) -> Outcome:
    exclusive = world.people is not None
    state, remote = read_state(world), remote_keys(world)
    ids = [check_text(value.text, world.id_type) for value in world.values if value.text is not None and value.typed]
    valid = [found for found in ids if not isinstance(found, Invalid)]
    desired, nulls = set(valid), sum(value.text is None for value in world.values)
    there = remote if exclusive else state.stored
    unsettled = set(state.unsettled)
    unchanged = desired & there - unsettled
    resend = (desired & state.marked_unmatched) - unsettled - unchanged
    add = desired - unchanged - resend
    remove = (state.held | remote if exclusive else state.held) - desired
    exempt = {m for m in remove if m in state.marked_unmatched or state.unsettled.get(m) == "remove"} - (
        remote if exclusive else set()
    )
    counts = Counts(
        desired=len(desired),
        stored=len(state.stored),
        add=len(add),
        remove=len(remove),
        resend=len(resend),
        unchanged=len(unchanged),
        unsettled=len(unsettled),
        unmatched=len(state.unmatched),
        nulls=nulls,
        invalid=len(world.values) - nulls - len(valid),
        duplicates=len(valid) - len(desired),
        held=len(state.held | remote if exclusive else state.held),
        repeated_adds=sum(state.unsettled.get(m) == "add" for m in add),
        exempt_removes=len(exempt),
        missing_sentinels=sum(check_text(m, world.id_type) not in desired for m in world.sentinels),
        strays=len(remove - state.held),
        unkeyed=count_unkeyed(world) if exclusive else None,
        reversed_at=latest_reversed(world, add | resend, remove),
    )
    return Outcome(counts, sort(add | resend), sort(remove))


def remote_keys(world: World) -> set[str]:
    return {p.key for p in world.people or () if p.key}


def count_unkeyed(world: World) -> int:
    return len({p.cio_id for p in world.people or ()} - {p.cio_id for p in world.people or () if p.key})


def latest_reversed(world: World, adds: set[str], removes: set[str]) -> float | None:
    against = {**dict.fromkeys(adds, "remove"), **dict.fromkeys(removes, "add")}
    times = [at for member, direction, at in doubtful_attempts(world) if against.get(member) == direction]
    return max(times, default=None)


def sort(ids: set[str]) -> list[str]:
    return sorted(ids, key=str.encode)
