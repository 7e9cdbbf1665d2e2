"""The comparer in a PostgreSQL: each world's state and rows stand in real tables, side by side in one database."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from sqlalchemy.engine import make_url

from reconciler.diff.comparison import Comparison, SetEngine
from reconciler.models.comparison import ArrowStream, DatabaseIdentity, NotPossible, StateTables
from reconciler.models.fields import Secret
from reconciler.models.options import NO_OPTIONS
from reconciler.models.plan import Head
from reconciler.models.spec import OnBad, Segment, StateSettings, Target
from reconciler.sources import open_source
from reconciler.sources.base import PushdownSession, PushdownSource, ValueStream
from reconciler.sources.failures import Scrubber
from reconciler.sources.members import Asked
from reconciler.sources.postgres_members import PostgresWithMembers
from reconciler.state import open_snapshot, open_store
from reconciler.state.base import Snapshot, Stored
from tests.fakes.arrow_streams import Warehouse, make_target, pages_of, values_of
from tests.fakes.members_worlds import MembersComparer, select_rows
from tests.fakes.set_model import World

ROWS = """
CREATE TABLE world_rows (world int NOT NULL, value text, typed boolean NOT NULL);
CREATE TABLE people (id text)"""


@dataclass(frozen=True)
class WorldHost:
    """The real source, but that the rows of a world say themselves whether they are typed. It keeps what it hosts."""

    real: PushdownSource
    rows: Warehouse
    world: World

    @contextmanager
    def stream_values(self, segment: Segment, _few: int = 0, /) -> Iterator[ValueStream]:
        yield values_of(self.rows, self.world)

    def check(self, segment: Segment) -> None:
        raise NotImplementedError

    def is_database(self, identity: Any) -> bool:
        return self.real.is_database(identity)

    @contextmanager
    def open_session(self, segment: Segment, state: StateTables) -> Iterator[PushdownSession | NotPossible]:
        with self.real.open_session(segment, state) as session:
            assert not isinstance(session, NotPossible), session
            yield replace(session, values=f"SELECT value, typed FROM world_rows WHERE world = {segment.segment_id}")


@dataclass
class Dated:
    """A snapshot with a clock that does not advance."""

    real: Any
    now: float

    def identify_database(self) -> DatabaseIdentity:
        identity: DatabaseIdentity = self.real.identify_database()
        return identity

    @contextmanager
    def read_segment(self, workspace: str, segment_id: int, source: Any = None) -> Iterator[Stored]:
        with self.real.read_segment(workspace, segment_id, source) as stored:
            stored.now = self.now
            yield stored

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class ServerComparer:
    """As `LocalComparer`: a set engine with a world of its own for each comparison, here in the database."""

    head = Head("a lineage", 7, "id", confirmed=True, name="vip")
    expected = "in_database"

    def __init__(self, url: str, spill_parent: Path, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        self._numbers = itertools.count(1)
        self._hosts: dict[int, WorldHost] = {}
        with open_store(StateSettings(url=Secret(url))):
            pass
        self._url = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._run(ROWS)
        source = open_source("warehouse", Secret(url))
        assert isinstance(source, PushdownSource)
        self._source: PushdownSource = source
        self._snapshot: Snapshot = open_snapshot(StateSettings(url=Secret(url)))
        self.engine = SetEngine("64MB", spill_parent, self._host, self._dated, self._host, few=0)

    def _host(self, target: Target) -> WorldHost:
        return self._hosts[target.segment.segment_id]

    @contextmanager
    def compare(self, world: World, on_bad: OnBad = OnBad.SKIP) -> Iterator[Comparison]:
        number, rows = next(self._numbers), Warehouse(self._database)
        found = make_target(world, on_bad, on_bad)
        target = replace(found, segment=found.segment.model_copy(update={"segment_id": number}))
        self._hosts[number] = WorldHost(self._source, rows, world)
        self._write(number, world)
        try:
            with self.engine.begin(target) as comparison:
                if world.people is not None:
                    comparison.load_remote(pages_of(world))
                yield comparison
        finally:
            rows.close()
            del self._hosts[number]

    def _dated(self, target: Target) -> Snapshot:
        """The state, seen at its world's moment, not at today's."""
        return Dated(self._snapshot, self._hosts[target.segment.segment_id].world.now)

    def _write(self, number: int, world: World) -> None:
        with psycopg.connect(self._url) as connection:
            connection.execute(
                "INSERT INTO reconcile_segments (workspace, segment_id, segment_key, name, id_type, lineage, serial) "
                "VALUES ('production', %(n)s, %(n)s, 'vip', %(t)s, 'a lineage', 7)",
                {"n": number, "t": world.id_type},
            )
            tables: dict[str, Iterable[tuple[object, ...]]] = {
                "reconcile_members (segment_key, id)": [(number, each) for each in world.members],
                "reconcile_marks (segment_key, id, mark, direction, at)": [
                    (number, mark.id, mark.mark, mark.direction, mark.at) for mark in world.marks
                ],
                "reconcile_batches (segment_key, run_id, direction, outcome, attempts, created_at, at, unknown_at, "
                "number, ids)": [
                    (number, "r", r.direction, r.outcome, 1, r.at, r.at, r.unknown_at, len(r.ids), "\n".join(r.ids))
                    for r in sorted(world.journal, key=lambda r: r.seq)
                ],
                # A PostgreSQL has no NUL in its texts; any other control character is as invalid.
                "world_rows (world, value, typed)": [
                    (number, each.text and each.text.replace("\0", "\x01"), each.typed) for each in world.values
                ],
            }
            for table, rows in tables.items():
                with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)

    def _run(self, statement: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def open_server_comparer(url: str, spill_parent: Path) -> Iterator[ServerComparer]:
    with duckdb.connect(":memory:") as database:
        comparer = ServerComparer(url, spill_parent, database)
        with comparer.engine.keep():
            yield comparer


class WorldTables(PostgresWithMembers):
    """The real tables, but that the rows of a world say themselves whether they are typed."""

    @contextmanager
    def ask(self, segment: Segment, overlay: ArrowStream) -> Iterator[Asked | NotPossible]:
        with super().ask(segment, overlay) as asked:
            assert not isinstance(asked, NotPossible), asked
            yield replace(asked, values=select_rows(segment))


@contextmanager
def open_members_comparer(url: str, spill_parent: Path) -> Iterator[MembersComparer]:
    """Open one that compares in an empty database, with the members in tables of it."""
    address = make_url(url)
    tables = WorldTables(address, Scrubber.of("warehouse", Secret(url)), NO_OPTIONS)
    with (
        psycopg.connect(host=address.query["host"], user="postgres", dbname=address.database) as connection,
        duckdb.connect(":memory:") as database,
        tables.keep(),
    ):
        connection.autocommit = True
        connection.execute(ROWS)

        def write(number: int, world: World) -> None:
            with connection.cursor().copy("COPY world_rows FROM STDIN") as copy:
                for value in world.values:
                    text = value.text and value.text.replace("\0", "\x01")  # as in `ServerComparer`
                    copy.write_row((number, text, value.typed))

        comparer = MembersComparer(tables.open_members(), write, spill_parent, database)
        with comparer.engine.keep():
            yield comparer
