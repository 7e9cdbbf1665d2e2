"""Members of segments in tables of a PostgreSQL database, in the schema of `options.schema` or else the current one.

What writes has a connection of its own, through psycopg. The comparison runs in one transaction, which takes the rows
of the overlay into a temporary table and is read-only from then on.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import adbc_driver_manager
import psycopg
from adbc_driver_manager.dbapi import Connection
from psycopg.sql import Identifier
from sqlalchemy.engine import URL

from reconciler.errors import SourceError
from reconciler.models.comparison import ArrowStream, NotPossible
from reconciler.models.options import Options
from reconciler.models.spec import Segment
from reconciler.sources.base import PushdownSession
from reconciler.sources.failures import Scrubber
from reconciler.sources.members import Asked, MembersInTables, explain_ours, refuse_schema
from reconciler.sources.members_sql import BASE, CHANGES, POSTGRES, TABLES, Statements
from reconciler.sources.postgres import PostgresSource

OWN_OPTIONS = ("schema",)
"""Options that are ours, and no parameters of libpq."""

IDS_PER_LIST = 50_000

_ERRORS = (psycopg.Error, adbc_driver_manager.Error)

_NAMES = "SELECT name FROM unnest(%s::text[]) AS names (name) WHERE to_regclass(%s || name) IS NOT NULL"
_SCHEMA = "SELECT CASE WHEN %s = '' THEN current_schema() ELSE to_regnamespace(%s)::text END"
_ALONE = "SELECT pg_advisory_xact_lock(7236285017246081)"
"""One process makes the tables at a time: `IF NOT EXISTS` does not wait for another one that makes them, too."""
_DURABLE = """SELECT set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)"""
"""What was appended must be on the disk before the state records it."""

_TEMPORARY = "CREATE TEMPORARY TABLE {name} ({columns}) ON COMMIT DROP"
_ID = 'id TEXT COLLATE "C"'


class PostgresWithMembers(PostgresSource):
    """A PostgreSQL database that may hold members, too: the `TablesAtSource` of its schema."""

    takes_delete = True

    def __init__(self, url: URL, scrubber: Scrubber, options: Options) -> None:
        super().__init__(url, scrubber, options, OWN_OPTIONS)
        self._schema = str(options.reveal().get("schema", ""))
        self.statements = Statements(POSTGRES, f"{Identifier(self._schema).as_string()}." if self._schema else "")

    def open_members(self) -> MembersInTables:
        return MembersInTables(self._scrubber.source, self)

    @contextmanager
    def begin(self) -> Iterator["PostgresSession"]:
        with self._connections.slots:
            with self._scrubber.explaining(psycopg.Error):
                connection = self._connections.connect(
                    lambda: psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)
                )
            with self._explaining(), connection:
                encoding = connection.info.parameter_status("server_encoding")
                if encoding != "UTF8":
                    problem = f"the database's encoding is {encoding}, and members need UTF8"
                    raise SourceError(f"source {self._scrubber.source}: {problem}", "Set `members: local`.")
                connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
                yield PostgresSession(connection, self.statements, self._scrubber.source)

    @contextmanager
    def ask(self, segment: Segment, overlay: ArrowStream) -> Iterator[Asked | NotPossible]:
        name = _make_name()

        def lay(connection: Connection) -> str:
            columns = f"{_ID}, flags SMALLINT, travels BOOLEAN"
            with self._explaining(), connection.cursor() as cursor:
                # The role's own default may be read-only: nothing but the temporary table is written.
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ WRITE")
                cursor.execute(_TEMPORARY.format(name=name, columns=columns))
                cursor.adbc_ingest(name, overlay, mode="append", temporary=True)
                cursor.execute("SET TRANSACTION READ ONLY")
            return ""

        with self._begin_query(segment, lambda _: "", lay) as session:
            if isinstance(session, PushdownSession):
                yield Asked(session.values, name, session.stream, session.data_time)
            else:
                yield session

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """As `Scrubber.explaining`, for statements of ours; where a right is missing it says which are needed."""
        try:
            yield
        except _ERRORS as error:
            found = self._scrubber.explain(error)
            if error.sqlstate not in ("42501", "3F000", "25006"):
                raise explain_ours(found, "PostgreSQL") from None
            schema = f"the schema {self._schema}" if self._schema else "the current schema (or set `options.schema`)"
            raise SourceError(
                found.message,
                f"`members: source` writes to {schema}: the source's user needs CREATE and USAGE there, or SELECT, "
                f"INSERT and DELETE in {', '.join(TABLES)}, and TEMPORARY in the database; not a replica, and no "
                "default_transaction_read_only. See docs/databases.md.",
                code=found.code,
            ) from None


@dataclass(frozen=True)
class PostgresSession:
    """A connection that commits each statement; what is lent to statements, together with them."""

    connection: psycopg.Connection[Any] = field(repr=False)
    statements: Statements
    source: str

    def check_schema(self) -> None:
        schema = self.statements.prefix.removesuffix(".")
        found = self.connection.execute(_SCHEMA, (schema, schema)).fetchone()
        if not found or found[0] is None:
            named = f"the schema {schema}, which is to hold members," if schema else "a current schema to hold members"
            raise refuse_schema(self.source, named)

    def names(self) -> Collection[str]:
        rows = self.connection.execute(_NAMES, (list(TABLES), self.statements.prefix)).fetchall()
        return {str(name) for (name,) in rows}

    def create(self) -> None:
        if TABLES.keys() <= set(self.names()):  # then no right to make any is needed
            return
        with self.connection.transaction():
            self.connection.execute(_ALONE)
            missing = TABLES.keys() - set(self.names())
            for table, statement in zip(TABLES, self.statements.create(), strict=True):
                if table in missing:
                    self.connection.execute(statement.encode())
            for table in missing & {BASE, CHANGES}:
                statement = f"CREATE INDEX ON {self.statements.prefix}{table} (segment_key, generation)"
                self.connection.execute(statement.encode())

    def run(self, statement: str) -> None:
        with self.connection.transaction():
            self.connection.execute(_DURABLE)
            self.connection.execute(statement.encode())

    def fetch(self, statement: str) -> Sequence[Sequence[Any]]:
        return self.connection.execute(statement.encode()).fetchall()

    @contextmanager
    def stream_ids(self, statement: str) -> Iterator[Iterator[list[str]]]:
        with self.connection.transaction(), self.connection.cursor("members") as cursor:
            cursor.execute(statement.encode())
            yield iter(lambda: [str(member) for (member,) in cursor.fetchmany(IDS_PER_LIST)], [])

    @contextmanager
    def lend(self, ids: Sequence[str]) -> Iterator[str]:
        name = _make_name()
        with self.connection.transaction():
            self.connection.execute(_TEMPORARY.format(name=name, columns=_ID).encode())
            with self.connection.cursor() as cursor, cursor.copy(f"COPY {name} FROM STDIN".encode()) as copy:
                lines = "".join(f"{each}\n" for each in ids)  # no id has a line break; the rest is escaped for COPY
                copy.write(lines.replace("\\", "\\\\").replace("\t", "\\t").replace("\r", "\\r"))
            yield name


def _make_name() -> str:
    """Name a temporary table; no query knows it."""
    return f"reconcile_{uuid4().hex}"
