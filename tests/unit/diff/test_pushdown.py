"""Comparing in the database of the query: the same plan as here, and only changes travel."""

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.diff.comparison import SetEngine
from reconciler.errors import SourceError
from reconciler.models.batches import Direction
from reconciler.models.comparison import Counts, NotPossible, StateTables
from reconciler.models.fields import Scalar, Secret
from reconciler.models.ids import WHITE_SPACE, IdType, check_text, sure_in_postgres
from reconciler.models.spec import GuardSettings, OnBad, Ownership, StateSettings, Target
from reconciler.sources import open_source
from reconciler.sources.base import PushdownSession, PushdownSource
from reconciler.state import open_snapshot, open_store
from reconciler.state.base import PushdownSnapshot, Snapshot
from tests.fakes.arrow_streams import LocalComparer, make_target
from tests.fakes.postgres_worlds import ServerComparer
from tests.fakes.random_worlds import worlds
from tests.fakes.set_model import MarkRow, Value, World
from tests.support.postgres import Postgres

NAMES = ("desired", "journal", "entries", "fated", "overlay", "held", "matched", "found", "members", "v", "q", "p")
"""What the statement calls its parts."""


@dataclass
class Findings:
    """What a comparison came to, all of it."""

    engine: str
    counts: Counts
    batches: list[tuple[str, ...]]
    resends: list[frozenset[str]]
    examples: tuple[tuple[str, ...], ...]


class Place:
    """A database with a state and a table, looked at in both ways."""

    def __init__(self, url: str, spill: Path) -> None:
        self.url = url
        self._spill = spill
        self._numbers = itertools.count(1)
        with open_store(StateSettings(url=Secret(url))):
            pass

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True)

    def execute(self, *statements: str) -> None:
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def source(self, url: str = "") -> PushdownSource:
        source = open_source("warehouse", Secret(url or self.url))
        assert isinstance(source, PushdownSource)
        return source

    def snapshot(self) -> Snapshot:
        return open_snapshot(StateSettings(url=Secret(self.url)))

    def make_target(
        self,
        query: str,
        *stored: str,
        id_type: IdType = IdType.ID,
        on_bad: OnBad = OnBad.SKIP,
        params: dict[str, Scalar] | None = None,
        sentinels: tuple[str, ...] = (),
        ownership: Ownership = Ownership.TRACKED,
    ) -> Target:
        """A segment of its own, with these ids stored."""
        number = next(self._numbers)
        found = make_target(World(id_type=id_type), on_bad, on_bad)
        segment = found.segment.model_copy(
            update={"segment_id": number, "query": query, "params": params or {}, "ownership": ownership}
        )
        with self.connect() as connection:
            connection.execute(
                "INSERT INTO reconcile_segments (workspace, segment_id, segment_key, name, id_type, lineage, serial) "
                "VALUES ('production', %(n)s, %(n)s, 'vip', %(t)s, 'a lineage', 7)",
                {"n": number, "t": str(id_type)},
            )
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO reconcile_members VALUES (%s, %s)", [(number, each) for each in stored])
        return Target(found.spec, segment.model_copy(update={"guards": GuardSettings(must_include=sentinels)}))

    def look(self, target: Target, database: PushdownSource | None) -> Findings:
        """Compare: in `database`; None: here."""
        snapshot = self.snapshot()
        source = database or self.source()
        with (
            SetEngine("64MB", self._spill, lambda _: source, lambda _: snapshot, lambda _: database).keep() as engine,  # type: ignore[arg-type, return-value]
            engine.begin(target) as comparison,
        ):
            changes = comparison.compare()
            batches = [batch for direction in Direction for batch in changes.batches(direction)]
            examples = tuple(changes.examples(direction, 2) for direction in Direction)
            again = [batch.resends for batch in batches]
            return Findings(changes.engine, changes.counts, [batch.ids for batch in batches], again, examples)

    def look_both_ways(self, target: Target) -> Findings:
        """What both ways find; the first is in the database."""
        there, here = self.look(target, self.source()), self.look(target, None)
        assert (there.engine, here.engine) == ("in_database", "local")
        assert replace(there, engine="local") == here
        return there


@pytest.fixture(scope="module")
def place(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    name = postgres_server.make_database()
    yield Place(postgres_server.url(name), tmp_path_factory.mktemp("spill"))
    postgres_server.drop_database(name)


# --- the same plan ------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(world=worlds(with_people=False))
def test_any_world_gives_the_same_plan_both_ways(
    local_comparer: LocalComparer, server_comparer: ServerComparer, world: World
) -> None:
    world = replace(world, exclusive=False)
    with local_comparer.compare(world) as locally, server_comparer.compare(world) as in_database:
        here, there = locally.compare(), in_database.compare()

        assert there.counts == here.counts
        assert (here.engine, there.engine) == ("local", "in_database")
        for direction in Direction:
            assert list(there.batches(direction)) == list(here.batches(direction))
            assert there.examples(direction, 3) == here.examples(direction, 3)


TYPES = {
    "text": ["a", "b ", "é", "", "7"],
    "varchar(9)": ["a", " a", "7"],
    'varchar COLLATE "POSIX"': ["a", "A", "é", "e\u0301"],
    "name": ["a", "b"],
    '"char"': ["a", "7"],
    "integer": [7, 8, -1],
    "bigint": [7, 9007199254740993],
    "numeric": ["7", "7.00", "7.50", "9007199254740993", "NaN"],
    "numeric(9, 2)": ["7", "8.5"],
    "uuid": ["4b0bd3a2-7c1b-4f5c-9b6f-0a1b2c3d4e5f", "4B0BD3A2-7C1B-4F5C-9B6F-0A1B2C3D4E60"],
}
STORED = ("a", "A", "b", "7", "8", "é", "e\u0301", "9007199254740993", "4b0bd3a2-7c1b-4f5c-9b6f-0a1b2c3d4e5f")


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_that_compares_exactly_gives_the_same_plan_both_ways(place: Place, kind: str) -> None:
    values = ", ".join(
        f"(CAST('{value}' AS {kind.partition(' COLLATE')[0]}))" for value in [*TYPES[kind], TYPES[kind][0]]
    )
    place.execute("DROP TABLE IF EXISTS typed", f"CREATE TABLE typed (id {kind})")
    place.execute(f"INSERT INTO typed VALUES {values}, (NULL)")

    found = place.look_both_ways(place.make_target("SELECT id FROM typed", *STORED))

    assert found.counts.nulls == 1
    assert found.counts.duplicates >= 1


def test_an_email_is_one_whatever_the_case_of_its_latin_letters_and_of_no_others(place: Place) -> None:
    stored = ("ann@x.org", "é@x.org", "k@x.org", "ß@x", "i@x.org", "ǆ@x")
    values = ("Ann@X.org", "ANN@X.ORG", "É@x.org", "\u212a@x.org", "ẞ@X", "İ@x.org", "I@x.org", "Ǆ@x", "a@@b")
    listed = ", ".join(f"('{value}')" for value in values)

    target = place.make_target(f"VALUES {listed}", *stored, id_type=IdType.EMAIL, sentinels=("ann@x.org", "i@x.org"))
    found = place.look_both_ways(target)

    assert (found.counts.unchanged, found.counts.duplicates, found.counts.invalid) == (2, 1, 1)
    assert found.counts.missing_sentinels == 0


def test_what_a_refresh_took_over_and_is_no_id_is_judged_by_the_same_rules(place: Place) -> None:
    odd = [" a", "a ", "\u00a0a", "a\u2003", "\u3000", "x" * 151, "é" * 76, "a@b@c", "@b", "b@", "ok@x"]
    listed = ", ".join(f"('{value}')" for value in odd)
    for id_type in (IdType.ID, IdType.EMAIL):
        found = place.look_both_ways(place.make_target(f"VALUES {listed}", *odd, id_type=id_type))

        assert found.counts.invalid == found.counts.remove == (7 if id_type is IdType.ID else 10)


texts = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs", "Cc"]), st.sampled_from([*WHITE_SPACE[5:6], *WHITE_SPACE[7:], "@"])
    ),
    max_size=8,
)


@settings(max_examples=20, deadline=None)
@given(values=st.lists(st.one_of(texts, texts.map(lambda text: text * 30)), min_size=1, max_size=50))
def test_a_text_is_surely_an_id_exactly_where_the_oracle_says_so(place: Place, values: list[str]) -> None:
    with place.connect() as connection:
        for id_type in (IdType.ID, IdType.EMAIL):
            sure = " AND ".join(sure_in_postgres("t", id_type))
            rows = 'unnest(%s::text[]) WITH ORDINALITY AS u (c, n), LATERAL (SELECT c COLLATE "C") l (t)'
            sql = f"SELECT {sure.replace('%', '%%')} FROM {rows} ORDER BY n"
            found = connection.execute(sql.encode(), [values])
            normalized = [text.lower() if text.isascii() else text for text in values]
            assert [row[0] for row in found] == [type(check_text(text, id_type)) is str for text in normalized]


def test_a_value_that_is_no_id_by_its_type_is_never_taken_for_a_stored_id_of_the_same_text(
    local_comparer: LocalComparer, server_comparer: ServerComparer
) -> None:
    for values, unchanged in ((("a", True), ("a", False)), 1), ((("a", False),), 0):
        world = World(tuple(Value(*each) for each in values), members=frozenset("a"))
        with local_comparer.compare(world) as here, server_comparer.compare(world) as there:
            counts = there.compare().counts

            assert counts == here.compare().counts
            assert (counts.unchanged, counts.remove, counts.invalid) == (unchanged, 1 - unchanged, 1)


def test_params_quotes_comments_and_names_of_ours_in_a_query_change_nothing(place: Place) -> None:
    for name in NAMES:
        place.execute(f"DROP TABLE IF EXISTS {name}", f"CREATE TABLE {name} AS SELECT 'from {name}' AS id")
    every = " UNION ALL ".join(f"SELECT id FROM {name}" for name in NAMES)
    query = (
        f"WITH held AS (SELECT id FROM held) {every} UNION ALL SELECT id FROM held WHERE id <> :other -- it's {{all}} %"
    )

    target = place.make_target(query, "from held", "from q", "gone", params={"other": "it's"})
    found = place.look_both_ways(target)

    counts = found.counts
    assert (counts.unchanged, counts.add, counts.remove, counts.duplicates) == (2, len(NAMES) - 2, 1, 1)


def test_a_bad_value_stops_the_segment_with_the_same_words_both_ways(place: Place) -> None:
    for query, code in (("VALUES ('a'), (NULL), (NULL)", "nulls"), ("VALUES ('a'), (' b'), ('')", "invalid")):
        target = place.make_target(query, "a", on_bad=OnBad.ERROR)
        caught = []
        for source in (place.source(), None):
            with pytest.raises(SourceError) as error:
                place.look(target, source)
            caught.append(error.value)

        assert caught[0].code == caught[1].code == code
        assert caught[0].message == caught[1].message


def test_a_query_that_fails_midway_says_so_without_its_values(place: Place) -> None:
    target = place.make_target("SELECT 1 / (n - 5000) || 'secret' FROM generate_series(1, 9000) s (n)", "a")

    with pytest.raises(SourceError, match="source warehouse") as caught:
        place.look(target, place.source())

    assert "secret" not in caught.value.message


# --- what travels -------------------------------------------------------------------------------------------------


def count_travelled(place: Place, target: Target, caplog: pytest.LogCaptureFixture) -> tuple[int, Findings]:
    with caplog.at_level(logging.DEBUG, "reconciler.diff.pushdown"):
        found = place.look(target, place.source())
    (record,) = (record for record in caplog.records if record.name == "reconciler.diff.pushdown")
    assert isinstance(record.args, tuple)
    return int(str(record.args[-1])), found


def test_only_what_changes_travels(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    stored = [f"p{number}" for number in range(3_000)]
    # 2,990 stay, 20 of them twice; 10 leave, 5 come, of which one three times; one sentinel travels, too
    query = """SELECT 'p' || n FROM generate_series(10, 3004) s (n)
        UNION ALL SELECT 'p' || n FROM generate_series(100, 119) s (n) UNION ALL VALUES ('p3001'), ('p3001')"""

    rows, found = count_travelled(place, place.make_target(query, *stored, sentinels=("p500",)), caplog)

    counts = found.counts
    assert (counts.unchanged, counts.add, counts.remove, counts.duplicates) == (2_990, 5, 10, 22)
    assert (counts.stored, counts.held, counts.missing_sentinels) == (3_000, 3_000, 0)
    numbers_of_what_stayed = 2
    assert rows == 5 + 10 + 1 + numbers_of_what_stayed


def test_nothing_but_numbers_travels_where_nothing_changes(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    stored = [f"p{number}" for number in range(100)]

    rows, found = count_travelled(
        place, place.make_target("SELECT 'p' || n FROM generate_series(0, 99) s (n)", *stored), caplog
    )

    assert found.counts == Counts(desired=100, stored=100, unchanged=100, held=100)
    assert rows == 2


def test_a_first_fill_of_a_segment_that_is_known_travels_whole(place: Place) -> None:
    found = place.look_both_ways(place.make_target("SELECT n FROM generate_series(1, 5000) s (n)"))

    assert (found.counts.add, len(found.batches)) == (5_000, 5)


# --- the moment ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Between:
    """A source at which something happens between reading the state's head and beginning to look."""

    real: PushdownSource
    happen: Callable[[], None]

    def is_database(self, identity: object) -> bool:
        raise NotImplementedError

    @contextmanager
    def open_session(self, segment: object, state: StateTables) -> Iterator[PushdownSession | NotPossible]:
        self.happen()
        with self.real.open_session(segment, state) as session:  # type: ignore[arg-type]
            yield session


def test_the_state_is_seen_as_it_was_when_its_head_was_read(place: Place) -> None:
    target = place.make_target("VALUES ('a'), ('b')", "a")
    key = target.segment.segment_id
    source = Between(place.source(), lambda: place.execute(f"INSERT INTO reconcile_members VALUES ({key}, 'b')"))

    assert place.look(target, source).counts.add == 1
    assert place.look(target, place.source()).counts.add == 0


def test_unsettled_and_unmatched_ids_are_sent_again_and_the_times_come_with_them(
    server_comparer: ServerComparer,
) -> None:
    marks = (
        MarkRow("back", "unsettled", "remove", 5.0),
        MarkRow("gone", "unsettled", "add", 7.0),
        MarkRow("lost", "unmatched", None, 1.0),
        MarkRow("old", "removed", None, 1.0),
        MarkRow("echo", "echo", "remove", 9.0),
    )
    with server_comparer.compare(World(tuple(map(Value, ["back", "lost", "echo"])), marks=marks)) as comparison:
        changes = comparison.compare()
        counts = changes.counts

        assert (counts.add, counts.resend, counts.remove, counts.reversed_at) == (2, 1, 1, 9.0)
        assert [batch.resends for batch in changes.batches(Direction.ADD)] == [frozenset({"lost"})]


# --- when it is compared here -------------------------------------------------------------------------------------


def why_here(place: Place, target: Target, source: PushdownSource, caplog: pytest.LogCaptureFixture) -> str:
    """Compare, and give the reason that the log has for doing it here."""
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "reconciler.diff"):
        assert place.look(target, source).engine == "local"
    (record,) = (record for record in caplog.records if "compared here" in record.message)
    return record.message


@pytest.mark.parametrize("value", ["'a '::char(3)", "7.0::float8", "true", "now()", "'\\x61'::bytea", "'{}'::jsonb"])
def test_a_type_that_does_not_compare_exactly_is_compared_here(
    place: Place, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    said = why_here(place, place.make_target(f"SELECT {value}", "a"), place.source(), caplog)

    assert "type" in said


def test_a_segment_that_the_state_has_never_met_is_compared_here(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    target = place.make_target("VALUES ('a')")
    place.execute(f"DELETE FROM reconcile_segments WHERE segment_id = {target.segment.segment_id}")

    assert "nothing of this segment" in why_here(place, target, place.source(), caplog)


def test_another_database_of_the_same_server_is_not_the_same(
    place: Place, postgres_server: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    name = postgres_server.make_database()
    other = place.source(postgres_server.url(name))
    snapshot = place.snapshot()
    assert isinstance(snapshot, PushdownSnapshot)

    assert place.source().is_database(snapshot.identify_database())
    assert not other.is_database(snapshot.identify_database())
    assert "another database" in why_here(place, place.make_target("VALUES ('a')", "a"), other, caplog)
    postgres_server.drop_database(name)


@dataclass(frozen=True)
class Misled:
    """A source that is led to tables that are not quite the state's."""

    real: PushdownSource
    mislead: Callable[[StateTables], StateTables]

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    @contextmanager
    def open_session(self, segment: object, state: StateTables) -> Iterator[PushdownSession | NotPossible]:
        with self.real.open_session(segment, self.mislead(state)) as session:  # type: ignore[arg-type]
            yield session


def test_a_moment_that_the_server_does_not_know_is_not_made_up(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    source = Misled(place.source(), lambda state: replace(state, snapshot="00000003-0000001B-9"))

    said = why_here(place, place.make_target("VALUES ('a')", "a"), source, caplog)  # type: ignore[arg-type]

    assert "does not know the moment" in said


def test_a_server_that_is_all_of_a_sudden_another_one_is_not_believed(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.sources.postgres.find_obstacle", lambda *_: "")  # it was the right one then
    source = Misled(place.source(), lambda state: replace(state, identity=replace(state.identity, value="another")))

    said = why_here(place, place.make_target("VALUES ('a')", "a"), source, caplog)  # type: ignore[arg-type]

    assert "does not know the moment" in said


@pytest.fixture
def stranger(place: Place) -> Iterator[str]:
    """A role that may read the warehouse, and nothing of the state; gives its URL."""
    place.execute("CREATE TABLE IF NOT EXISTS shared AS SELECT 'a' AS id", "CREATE ROLE stranger LOGIN")
    place.execute("GRANT SELECT ON shared TO stranger")
    yield place.url.replace("//postgres@", "//stranger@")
    place.execute("DROP OWNED BY stranger", "DROP ROLE stranger")


def test_a_user_who_may_not_read_the_state_has_it_compared_here_until_he_may(
    place: Place, stranger: str, caplog: pytest.LogCaptureFixture
) -> None:
    target = place.make_target("SELECT id FROM shared", "a")
    tables = "reconcile_members, reconcile_marks, reconcile_batches"

    assert "may not read" in why_here(place, target, place.source(stranger), caplog)

    place.execute(f"GRANT SELECT ON {tables} TO stranger")
    assert place.look(target, place.source(stranger)).engine == "in_database"

    place.execute("ALTER TABLE reconcile_members ENABLE ROW LEVEL SECURITY")
    assert "row security" in why_here(place, target, place.source(stranger), caplog)
    place.execute("ALTER TABLE reconcile_members DISABLE ROW LEVEL SECURITY")


def test_the_state_is_found_in_a_schema_that_the_source_s_user_does_not_search(
    place: Place, postgres_server: Postgres, tmp_path: Path
) -> None:
    name = postgres_server.make_database()
    url = postgres_server.url(name)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "My-state"')
        connection.execute("CREATE TABLE customers AS SELECT unnest(ARRAY[1, 2]) AS id")
    apart = Place(f"{url}&options=-csearch_path%3D%22My-state%22", tmp_path)

    found = apart.look(apart.make_target("SELECT id FROM customers", "1"), apart.source(url))

    assert (found.engine, found.counts.add, found.counts.unchanged) == ("in_database", 1, 1)
    postgres_server.drop_database(name)


def test_a_database_that_is_not_in_utf8_is_compared_here(
    postgres_server: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    postgres_server.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    latin = Place(postgres_server.url("latin"), tmp_path)

    said = why_here(latin, latin.make_target("VALUES ('é')", "é"), latin.source(), caplog)

    assert "LATIN1" in said
    postgres_server.drop_database("latin")
