"""Members that stand at the source: brought there whole, whatever dies in between, and counted without asking."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from unittest import mock

import duckdb
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url

from reconciler.errors import SourceError, StateError
from reconciler.models.batches import Batch, BatchResult
from reconciler.models.comparison import ROW_END
from reconciler.models.fields import Secret
from reconciler.models.options import NO_OPTIONS
from reconciler.models.spec import MembersAt
from reconciler.sources.failures import Scrubber
from reconciler.sources.members import MembersInTables
from reconciler.sources.postgres_members import PostgresSession, PostgresWithMembers
from reconciler.state import at_source, moves, open_database, open_records, open_snapshot, person
from reconciler.state.lock import SegmentRef
from reconciler.state.locked_segment import LockedSegment
from reconciler.state.person import Kept
from reconciler.state.runtime import Runtime
from tests.reliability.worlds import Death, Life, MortalDatabase
from tests.support.members_in_duckdb import TablesInDuckDB
from tests.support.one_duckdb import empty_tables
from tests.support.states import ACKNOWLEDGED, REFUSED, StateFixture, add, adoption, findings, remove, unknown

KEY = "production/56"


class MortalTables(PostgresWithMembers):
    """Tables in a PostgreSQL; the process may die before each statement that writes, and before each commit."""

    def __init__(self, url: URL, scrubber: Scrubber, life: Life) -> None:
        super().__init__(url, scrubber, NO_OPTIONS)
        self.life = life

    @contextmanager
    def begin(self) -> Iterator[PostgresSession]:
        with super().begin() as session:
            yield MortalSession(session.connection, session.statements, session.source, self.life)


@dataclass(frozen=True)
class MortalSession(PostgresSession):
    life: Life

    def create(self) -> None:
        self.life.step("before the tables are made")
        super().create()

    def run(self, statement: str) -> None:
        self.life.step("before a statement of the source")
        super().run(statement)

    @contextmanager
    def lend(self, ids: Sequence[str]) -> Iterator[str]:
        with super().lend(ids) as given:
            yield given
            self.life.step("before what was lent is committed")


@dataclass
class World:
    """A state whose members stand in a warehouse. At step `life.end` the process dies."""

    state: StateFixture
    warehouse: duckdb.DuckDBPyConnection = field(default_factory=empty_tables)
    life: Life = field(default_factory=Life)
    takes_delete: bool = True
    server: str = ""
    """The URL of a PostgreSQL that is the warehouse instead."""

    def members(self) -> MembersInTables:
        if self.server:
            address, scrubber = make_url(self.server), Scrubber.of("warehouse", Secret(self.server))
            return MembersInTables("warehouse", MortalTables(address, scrubber, self.life))
        tables = TablesInDuckDB(self.warehouse, takes_delete=self.takes_delete)
        tables.before = lambda _: self.life.step("before a statement of the source")
        return MembersInTables("warehouse", tables)

    @contextmanager
    def locked(self) -> Iterator[LockedSegment]:
        with self.state.store() as store:
            store.members_of = lambda _: self.members()
            store.database = MortalDatabase(store.database, self.life)  # type: ignore[assignment]
            with store.lock(self.state.target(), "run", "apply", None) as held:
                yield held

    def send(self, *pairs: tuple[Batch, BatchResult]) -> None:
        with self.locked() as held:
            seqs = held.intend([batch for batch, _ in pairs])
            held.settle([(seq, answer) for seq, (_, answer) in zip(seqs, pairs, strict=True)])
            held.flush()

    def there(self) -> set[str]:
        """The members at the source, checked."""
        source = self.members()
        with open_snapshot(self.state.settings).read_segment("production", 56, source) as stored:
            if stored.at_source is None:
                return set()
            source.check(KEY, stored.at_source.head, stored.at_source.attempted)
            with source.read(KEY, stored.at_source.head) as blocks:
                return read(blocks)

    def stored(self) -> set[str]:
        """The members as they are with what has changed since."""
        found = self.there()
        with open_snapshot(self.state.settings).read_segment("production", 56, self.members()) as stored:
            if stored.at_source is not None:
                found -= read(stored.at_source.dropped())
            return found | read(stored.members())

    def count(self) -> int:
        with open_snapshot(self.state.settings).read_segment("production", 56) as stored:
            return stored.count().stored


def read(blocks: object) -> set[str]:
    assert isinstance(blocks, Iterator)
    return {each for block in blocks for each in block.split(chr(ROW_END))}


def end_at(change: int) -> Life:
    """A life that ends with a change that lasts: a commit, or what was written at the source."""
    life, changes = Life(), itertools.count(1)

    def watch(number: int, name: str) -> None:
        if name in ("after a commit", "before a statement of the source") and next(changes) == change:
            life.end = number

    life.watch = watch
    return life


@pytest.fixture
def world(state: StateFixture) -> World:
    return World(state)


def test_what_was_sent_goes_to_the_source_and_is_counted_here(world: World) -> None:
    world.send((add("a", "b", "c"), ACKNOWLEDGED))
    assert (world.there(), world.count()) == (set("abc"), 3)

    world.send((remove("a"), ACKNOWLEDGED), (add("d"), ACKNOWLEDGED))
    assert (world.there(), world.count()) == (set("bcd"), 3)
    with open_snapshot(world.state.settings).read_segment("production", 56) as stored:
        assert read(stored.members()) == set()


def test_a_change_that_is_not_there_yet_counts(world: World) -> None:
    world.send((add("a", "b", "c"), ACKNOWLEDGED))
    with world.locked() as held:
        held.settle([(seq, ACKNOWLEDGED) for seq in held.intend([remove("a"), add("d"), add("e")])])
        assert held.count().stored == 4  # of the journal
    assert (world.there(), world.stored(), world.count()) == (set("abc"), set("bcde"), 4)


@pytest.mark.parametrize(
    ("pairs", "members"),
    [
        ([(remove("a"), unknown(1.0))], "bc"),
        ([(add("d"), unknown(1.0))], "abc"),
        ([(add("d"), unknown(1.0)), (remove("d"), ACKNOWLEDGED)], "abc"),
        ([(remove("a"), unknown(1.0)), (add("a"), ACKNOWLEDGED)], "abc"),
        ([(remove("a"), ACKNOWLEDGED), (add("a"), ACKNOWLEDGED)], "abc"),
        ([(add("d"), ACKNOWLEDGED), (remove("d"), ACKNOWLEDGED)], "abc"),
    ],
)
def test_unknown_outcomes_and_changes_of_mind_are_counted_exactly(world: World, pairs, members: str) -> None:
    world.send((add("a", "b", "c"), ACKNOWLEDGED))
    with world.locked() as held:
        for batch, answer in pairs:
            held.settle([(held.intend([batch])[0], answer)])
            held.compact()
    assert (world.stored(), world.count()) == (set(members), len(members))
    with world.locked() as held:
        held.flush()
    assert (world.there(), world.count()) == (set(members), len(members))


@pytest.mark.parametrize(
    ("steps", "members"),
    [
        ([(add("a"), ACKNOWLEDGED)], "abc"),
        ([(add("a"), unknown(1.0))], "bc"),
        ([(add("a"), REFUSED)], "abc"),
        ([(add("a"), unknown(1.0)), (remove("a"), ACKNOWLEDGED)], "bc"),
        ([(add("a"), unknown(1.0)), (add("a"), ACKNOWLEDGED)], "abc"),
        ([(add("a"), ACKNOWLEDGED), "vanished"], "bc"),
        ([(add("a"), ACKNOWLEDGED), "vanished", (remove("a"), ACKNOWLEDGED)], "bc"),
        ([(add("a"), ACKNOWLEDGED), "vanished", "appeared"], "abc"),
        ([(remove("b"), ACKNOWLEDGED), (add("a"), ACKNOWLEDGED), (remove("a"), unknown(1.0))], "c"),
    ],
)
def test_a_member_that_is_added_again_as_it_was_not_there_is_counted_exactly(world: World, steps, members: str) -> None:
    """As `ownership: exclusive` does: the real membership lacks it."""
    world.send((add("a", "b", "c"), ACKNOWLEDGED))
    with world.locked() as held:
        held.bring_here(lambda: iter([["a"]]))
        assert (world.stored(), world.count()) == (set("abc"), 3)
        for step in steps:
            match step:
                case "vanished":
                    held.record(findings(vanished=["a"]))
                case "appeared":
                    held.record(findings(appeared=["a"]))
                case batch, answer:
                    held.settle([(held.intend([batch])[0], answer)])
                    held.compact()
    assert (world.stored(), world.count()) == (set(members), len(members))
    with world.locked() as held:
        held.flush()
    assert (world.there(), world.count()) == (set(members), len(members))


def test_what_was_brought_here_stays_until_all_that_was_sent_is_settled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_source, "MOST_CHANGED", 0)
    world.send((add("a", "b", "c"), ACKNOWLEDGED))
    with world.locked() as held:
        held.bring_here(lambda: iter([["a", "b"]]))
        first, second = held.intend([add("a"), add("b")])
        held.settle([(first, ACKNOWLEDGED)])
        held.compact()  # the second is under way
        held.settle([(second, unknown(1.0))])
        held.flush()
    assert (world.there(), world.count()) == (set("ac"), 2)


def test_a_death_at_any_step_forgets_nothing(state: StateFixture) -> None:
    """The second run dies; a third one removes what the second had added, and brings all of it there."""
    for end in itertools.count(1):
        is_file = state.url.startswith("sqlite")
        if end > 1 and not is_file:
            return  # one database for all: the first death is enough of it
        world = World(StateFixture(f"{state.url}{end}" if is_file else state.url))
        if not die(world, end):
            assert end > 5
            return


def test_a_death_at_any_step_forgets_nothing_in_postgresql(sqlite_state: StateFixture, postgres_url: str) -> None:
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as warehouse:
        for end in itertools.count(1):
            warehouse.execute("DROP TABLE IF EXISTS reconcile_base, reconcile_changes, reconcile_heads")
            if not die(World(StateFixture(f"{sqlite_state.url}{end}"), server=postgres_url), end):
                assert end > 7
                return


def die(world: World, end: int) -> bool:
    """Fill, then die at a step of the second flush; tell whether it came to that."""
    world.state.machine.running[100] = f"t{end}"
    world.send((add("a", "b", "c"), ACKNOWLEDGED))
    with world.locked() as held:
        held.settle([(seq, ACKNOWLEDGED) for seq in held.intend([remove("a"), add("d", "e")])])
    world.life = end_at(end)
    with suppress(Death), world.locked() as held:
        held.flush()
    died, world.life = world.life.is_over, Life()
    assert world.stored() == set("bcde"), end
    world.state.machine.running = {101: "later"}
    world.state.machine.pid = 101
    world.send((remove("d"), ACKNOWLEDGED))
    assert (world.there(), world.stored(), world.count()) == (set("bce"), set("bce"), 3), end
    return died


def test_a_death_while_it_is_dropped_there_leaves_a_segment_that_can_be_forgotten(state: StateFixture) -> None:
    world = World(state)
    for steps in range(5):  # three statements there, then a commit here
        world.send((add("a", "b"), ACKNOWLEDGED))
        world.send((remove("a", "b"), ACKNOWLEDGED))
        world.life = Life(watch=partial(end_after_source, world, steps))
        with suppress(Death), world.locked() as held:
            held.forget()
        assert world.life.is_over, steps
        world.life = Life()
        world.state.machine.running = {101 + steps: "later"}
        world.state.machine.pid = 101 + steps
        assert world.stored() == set(), steps
        with world.locked() as held:
            held.forget()
        assert open_records(world.state.settings).segment("production", 56) is None, steps
        assert world.warehouse.execute("SELECT segment_key FROM reconcile_heads").fetchall() == [], steps


def end_after_source(world: World, steps: int, number: int, name: str) -> None:
    """Let the process die some steps after the first statement at the source."""
    if world.life.end is None and "source" in name:
        world.life.end = number + steps


def test_a_source_that_fails_leaves_the_changes_here(world: World) -> None:
    world.send((add("a", "b"), ACKNOWLEDGED))

    def fail(_: int, name: str) -> None:
        if "source" in name:
            raise SourceError("it can't be reached")

    world.life = Life(watch=fail)
    with world.locked() as held:
        held.settle([(held.intend([add("c")])[0], ACKNOWLEDGED)])
        with pytest.raises(SourceError):
            held.flush()
    world.life = Life()
    assert (world.there(), world.stored(), world.count()) == (set("ab"), set("abc"), 3)


def test_tables_that_were_changed_by_hand_or_are_of_another_state_are_refused(world: World) -> None:
    world.send((add("a", "b"), ACKNOWLEDGED))
    world.warehouse.execute("DELETE FROM reconcile_base WHERE id = 'a'")
    with pytest.raises(StateError, match="there are 1, and not 2"):
        world.there()
    with world.locked() as held:
        held.settle([(held.intend([add("c")])[0], ACKNOWLEDGED)])
        held.compact()
        with pytest.raises(StateError, match="not as the state left them"):
            held.flush()


def test_a_refresh_writes_a_new_generation_above_all_others(world: World) -> None:
    world.send((add("a", "b"), ACKNOWLEDGED))
    world.warehouse.execute("DELETE FROM reconcile_base")
    world.warehouse.execute("UPDATE reconcile_heads SET lineage = 'other', generation = 7")
    with world.locked() as held:
        held.replace_snapshot(adoption(members=["b", "x"]))
    assert (world.there(), world.count()) == ({"b", "x"}, 2)


def test_a_refresh_forgets_that_an_id_was_rejected_which_is_there_by_now(world: World) -> None:
    with world.locked() as held:
        held.reject(["bad", "good by now"])

        held.replace_snapshot(adoption(members=["good by now"]))

    segment = open_records(world.state.settings).segment("production", 56)
    assert segment is not None
    assert (world.there(), segment.rejected) == ({"good by now"}, 1)


def test_many_changes_make_a_new_base(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_source, "LEAST_CHANGED", 1)
    world.send((add("a", "b", "c"), ACKNOWLEDGED))
    for number in range(6):
        world.send((add(f"x{number}"), ACKNOWLEDGED), (remove("a") if number == 0 else add(f"y{number}"), ACKNOWLEDGED))
    expected = set("bc") | {f"x{n}" for n in range(6)} | {f"y{n}" for n in range(1, 6)}
    assert (world.there(), world.count()) == (expected, len(expected))
    generations = world.warehouse.execute("SELECT DISTINCT generation FROM reconcile_base ORDER BY 1").fetchall()
    assert len(generations) == 2


def test_a_run_brings_there_what_has_changed_once_it_is_much(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_source, "MOST_CHANGED", 0)
    monkeypatch.setattr(at_source, "MOST_OF_BASE", 0.5)
    world.send((add("a", "b", "c", "d"), ACKNOWLEDGED))
    with world.locked() as held:
        for change, members in (("e", "abcd"), ("f", "abcd"), ("g", "abcdefg")):
            held.settle([(seq, ACKNOWLEDGED) for seq in held.intend([add(change)])])
            held.compact()
            assert world.there() == set(members)


def test_the_place_of_the_members_is_not_changed_by_the_key_alone(world: World) -> None:
    world.send((add("a"), ACKNOWLEDGED))
    with world.state.store() as store, pytest.raises(StateError, match="at the source") as refusal:
        store.lock(world.state.target(), "run", "apply", None).__enter__()
    assert "state copy SPEC --members local" in refusal.value.hint


def test_numbers_that_were_drawn_are_above_what_was_recorded(world: World) -> None:
    world.send((add("a"), ACKNOWLEDGED))
    with world.state.store() as store, store.database.read() as connection:
        row = connection.execute(text("SELECT attempted_generation, attempted_serial FROM reconcile_segments")).one()
    assert tuple(row) == (1, 0)


# --- erasing one person -------------------------------------------------------------------------------------------


@contextmanager
def mortal_in(world: World, module: ModuleType) -> Iterator[None]:
    """What a module does with the state dies with the life of the world."""

    @contextmanager
    def mortal(*args: object, **kwargs: object) -> Iterator[MortalDatabase]:
        with open_database(world.state.settings, world.state.clock, creates=False) as database:
            yield MortalDatabase(database, world.life)

    with mock.patch.object(module, "open_database", mortal):
        yield


def erase(world: World, id: str) -> Kept:
    state = world.state
    runtime = Runtime(state.clock, state.machine, state.pulse)

    with mortal_in(world, person):
        return person.erase(state.settings, id, find_source=lambda _: world.members(), runtime=runtime)


def count_rows(world: World, id: str) -> int:
    found = 0
    for table in ("reconcile_base", "reconcile_changes"):
        (number,) = world.warehouse.execute(f"SELECT count(*) FROM {table} WHERE id = ?", [id]).fetchone() or (0,)
        found += number
    return found


def fill_and_leave(world: World) -> None:
    """`a` entered with the base, `d` later; both left more than an hour ago, and that of `d` is not there yet."""
    world.send((add("a", "b", "c"), ACKNOWLEDGED))
    world.send((add("d"), ACKNOWLEDGED), (remove("a"), ACKNOWLEDGED))
    with world.locked() as held:
        held.settle([(held.intend([remove("d")])[0], ACKNOWLEDGED)])
        held.compact()
    let_an_hour_pass(world)


def let_an_hour_pass(world: World) -> None:
    with world.state.store() as store, store.database.write() as connection:
        connection.execute(text('UPDATE reconcile_marks SET "at" = "at" - 3601'))


def test_a_person_who_left_is_erased_in_every_table_and_the_members_fit_their_head(world: World) -> None:
    fill_and_leave(world)
    assert (count_rows(world, "a"), count_rows(world, "d")) == (2, 1)

    assert erase(world, "a") == Kept(changes=2, marks=1, segments=1, at_source=1)
    assert (count_rows(world, "a"), count_rows(world, "d")) == (0, 0)
    assert erase(world, "d") == Kept(changes=2, marks=1, segments=1), "the new generation had no row of it"

    assert world.warehouse.execute("SELECT DISTINCT generation FROM reconcile_heads").fetchall() == [(2,)]
    assert (world.there(), world.count()) == (set("bc"), 2)
    assert erase(world, "a") == Kept(0, 0, 0)
    world.send((add("a"), ACKNOWLEDGED))
    assert world.there() == set("abc")


def test_a_member_is_not_erased_and_nothing_of_the_person_is_lost(world: World) -> None:
    fill_and_leave(world)
    with pytest.raises(StateError, match="still holds this id, in production") as refusal:
        erase(world, "b")
    assert refusal.value.code == "held"
    assert (count_rows(world, "b"), world.there(), world.state.trace("b")) == (1, set("bc"), [("run", "add", "query")])


def test_tables_of_another_source_are_told_and_nothing_is_erased(world: World) -> None:
    fill_and_leave(world)
    other = World(world.state, warehouse=duckdb.connect())
    with pytest.raises(StateError, match="segment 56 of workspace production: the members at the source") as refusal:
        erase(other, "a")
    assert "a source of another spec" in refusal.value.hint
    assert other.warehouse.execute("SELECT count(*) FROM duckdb_tables()").fetchone() == (0,)
    assert (count_rows(world, "a"), len(world.state.trace("a"))) == (2, 2)


def test_where_tables_take_no_delete_a_new_generation_lacks_the_person_and_the_rest_is_told(world: World) -> None:
    world.takes_delete = False
    fill_and_leave(world)
    for _ in range(2):
        with pytest.raises(StateError, match="old rows there still have it, of production/"):
            erase(world, "a")
    generations = world.warehouse.execute("SELECT DISTINCT generation FROM reconcile_base ORDER BY 1").fetchall()
    assert generations == [(1,), (2,)]
    assert world.warehouse.execute("SELECT id FROM reconcile_base WHERE generation = 2 ORDER BY 1").fetchall() == [
        ("b",),
        ("c",),
    ]
    assert (world.there(), world.count(), world.state.trace("a")) == (set("bc"), 2, [])


@pytest.mark.parametrize("takes_delete", [True, False])
def test_an_erasure_that_dies_at_any_step_leaves_the_members_as_they_were(world: World, *, takes_delete: bool) -> None:
    """At each step another person of the base; each left, and that of half of them is not there yet."""
    people = [f"a{number}" for number in range(1, 60)]
    world.takes_delete = takes_delete
    world.send((add("b", *people), ACKNOWLEDGED))
    world.send((remove(*people[::2]), ACKNOWLEDGED))
    with world.locked() as held:
        held.settle([(held.intend([remove(*people[1::2])])[0], ACKNOWLEDGED)])
        held.compact()
    let_an_hour_pass(world)
    for end, one in enumerate(people, 1):
        world.life = end_at(end)
        with suppress(Death, StateError):
            erase(world, one)
        died, world.life = world.life.is_over, Life()
        assert (world.there() >= {"b"}, world.stored(), world.count()) == (True, set("b"), 1), end
        world.state.machine.running, world.state.machine.pid = {100 + end: "later"}, 100 + end
        with suppress(StateError):
            erase(world, one)
        assert (world.there(), world.count(), world.state.trace(one)) == (set("b"), 1, []), end
        assert (count_rows(world, one) == 0) == takes_delete, end
        if not died or not world.state.url.startswith("sqlite"):
            break
    assert not died or end == 1


def test_a_run_between_the_two_halves_of_an_erasure_stops_the_second(world: World) -> None:
    fill_and_leave(world)
    interfered = []

    def interfere(_: int, name: str) -> None:
        if name != "before a write" or interfered or count_rows(world, "a"):
            return
        with world.state.store() as store, store.database.read() as connection:
            holders = connection.execute(text("SELECT pid FROM reconcile_locks WHERE pid IS NOT NULL")).all()
        if not holders:
            interfered.append(name)
            world.send((add("a"), ACKNOWLEDGED))

    world.life = Life(watch=interfere)
    with pytest.raises(StateError, match="a run worked with"):
        erase(world, "a")
    world.life = Life()
    assert interfered
    assert (world.there(), len(world.state.trace("a"))) == (set("abc"), 3)
    with pytest.raises(StateError, match="still holds this id"):
        erase(world, "a")


# --- moving there and back ----------------------------------------------------------------------------------------


def move(world: World, to: MembersAt) -> int | None:
    state, segment = world.state, SegmentRef("production", 56, "vip")
    runtime = Runtime(state.clock, state.machine, state.pulse)
    with mortal_in(world, moves):
        return moves.move_members(state.settings, segment, world.members(), to, warn=print, runtime=runtime)


def die_and_move(world: World, to: MembersAt, end: int, members: set[str]) -> bool:
    """Die at a step of a move, look at what is left, move, and tell whether it died."""
    doubtful = ("u", "unsettled")
    world.life = end_at(end)
    with suppress(Death):
        move(world, to)
    died, world.life = world.life.is_over, Life()
    assert (world.stored(), world.count(), doubtful in world.state.marks()) == (members, len(members), True), (to, end)
    world.state.machine.pid += 1
    world.state.machine.running = {world.state.machine.pid: "later"}
    assert move(world, to) in (len(members), None)
    assert move(world, to) is None
    assert (world.stored(), world.count(), doubtful in world.state.marks()) == (members, len(members), True), (to, end)
    return died


@pytest.mark.slow
def test_a_move_that_dies_at_any_step_leaves_the_members_whole_on_either_side(world: World) -> None:
    world.state.send((add("a", "b", "c"), ACKNOWLEDGED), (add("u"), unknown(world.state.clock.time)))
    end, died = 0, True
    while died:
        end += 1
        died = die_and_move(world, MembersAt.SOURCE, end, set("abc"))
        assert world.there() == set("abc")
        with world.locked() as held:  # what is not there yet moves back with the rest
            held.settle([(held.intend([add("d")])[0], ACKNOWLEDGED)])
            held.compact()
        died |= die_and_move(world, MembersAt.LOCAL, end, set("abcd"))
        assert world.there() == set()
        world.state.send((remove("d"), ACKNOWLEDGED))
        died &= world.state.url.startswith("sqlite")
    assert end > 5 or not world.state.url.startswith("sqlite")
