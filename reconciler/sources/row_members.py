"""Members of segments in tables that a driver of SQLAlchemy reaches, by the statements of `members_sql`.

Ids travel to the server as params of statements, each a text with an id in each line. Nothing but the three tables is
ever made there. `warehouse_members` has the databases.
"""

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import pyarrow
from sqlalchemy.engine import URL, Connection, CursorResult, Dialect

from reconciler.errors import SourceError
from reconciler.models.comparison import ArrowStream, NotPossible
from reconciler.models.options import MEMBERS_SCHEMA, Options
from reconciler.models.spec import Segment
from reconciler.models.sql import lexicon_of, parse
from reconciler.sources.base import BLOCK_ROWS, Query, choose
from reconciler.sources.columns import ANSWER, Batches, open_batches, read_answer, stream_batches
from reconciler.sources.failures import Kind, Scrubber
from reconciler.sources.members import Asked, MembersInTables, explain_ours, refuse_schema
from reconciler.sources.members_sql import TABLES, Statements
from reconciler.sources.rows import MARKS, RowSource, Values, find_rewritten, reads_percent, write_query

_OURS = Query(parse(f"SELECT {', '.join(TABLES)}", (), lexicon_of("databricks")), {}, None)
"""Has the names that a message about a statement with ids may show."""

_NO_SCHEMA = re.compile(r"\bschema\b.* does not exist|object does not exist|not found: dataset", re.IGNORECASE)
"""How Snowflake and BigQuery say that a schema is not there."""

Fetch: TypeAlias = Callable[[str], Sequence[Sequence[Any]]]
"""Runs a statement of ours, and gives its rows. Raises SourceError."""


@dataclass(frozen=True)
class RowSourceWithMembers(RowSource, ABC):
    """A database that may hold members, too: the `TablesAtSource` of its schema."""

    schema: str = ""
    """Where the tables are; empty: in the current schema."""

    database: ClassVar[str]
    """Its name."""
    rights: ClassVar[str]
    """What the source's user needs there."""
    most_bytes: ClassVar[int]
    """Of the ids of one statement."""
    lines: ClassVar[str]
    """A query of the lines of a param `{}`, as `id`. No id of a state has a line break (`models.ids.can_be_stored`)."""
    value: ClassVar[str]
    """The value of a column `{}` as a text that is compared by its bytes, whatever its collation."""
    quote: ClassVar[str] = ""
    """What stands around a quoted name; empty: a column is named by its position."""
    unnamed: ClassVar[str] = "(?!)"
    """A pattern of what the server calls a column that has no name, by which no statement can name it."""

    takes_delete = True

    @classmethod
    def of(cls, url: URL, scrubber: Scrubber, options: Options) -> "RowSourceWithMembers":
        """`options`: arguments of the driver, and ours."""
        schema = str(options.reveal().get("members_schema", ""))
        return cls(url, scrubber, options.without((MEMBERS_SCHEMA,)), schema=schema)

    @property
    @abstractmethod
    def statements(self) -> Statements: ...

    @abstractmethod
    def list_tables(self, fetch: Fetch) -> Collection[str]:
        """List those of our tables that are there. Raises SourceError, also where the schema is not there."""

    @abstractmethod
    def is_exact(self, column: Sequence[Any]) -> bool:
        """Tell by its description whether the ids of a column are compared there as they are here."""

    def ask_schema(self, fetch: Fetch, statement: str, schema: str) -> Sequence[Sequence[Any]]:
        """Ask for the tables of a schema. Raises SourceError; one that is not there is told as such."""
        try:
            return fetch(statement)
        except SourceError as error:
            if not schema or not _NO_SCHEMA.search(error.message):
                raise
            refusal = refuse_schema(
                self.scrubber.source, f"the schema {schema}, which is to hold members,", "members_schema"
            )
            raise SourceError(f"{refusal.message}, or not shown to the source's user", refusal.hint) from None

    def read(self, result: CursorResult[Any], at: int) -> Batches | None:
        """Have the driver give a result by column; None where it is to be read by rows. Raises what the driver does."""
        return open_batches(result, at)

    def open_members(self) -> MembersInTables:
        return MembersInTables(self.scrubber.source, self, self.most_bytes)

    @contextmanager
    def begin(self) -> Iterator["RowSession"]:
        with self.connections.slots, ExitStack() as stack:
            yield RowSession(self, self._connect(stack, for_members=True))

    @contextmanager
    def ask(self, segment: Segment, overlay: ArrowStream) -> Iterator[Asked | NotPossible]:
        query, freshness = self._read_queries(segment)
        laid = self._lay(overlay, query.name)
        if laid is None:
            reason = f"what the state knows besides the members is more than a statement of {self.database} takes"
            yield NotPossible(reason)
            return
        table, given = laid
        if given and not query.params and find_rewritten(query, self.url.get_backend_name()):
            yield NotPossible(f"the driver of {self.database} would change a string of the query")
            return
        with self.connections.slots, ExitStack() as stack:
            connection = self._connect(stack, for_members=True)
            value, columns, reason = self._describe(connection, query)
            if reason:
                yield NotPossible(reason)
                return
            data_time = self._ask_freshness(connection, freshness)
            text, params = write_query(query, connection.dialect, has_others=bool(given))
            place = f"{query.name}_text"
            values = query.derived(f"{value} AS value, true AS typed", place, columns)

            def stream(statement: str) -> AbstractContextManager[ArrowStream]:
                written = _write(statement, given, connection.dialect, has_params=bool(params or given))
                return self._stream(connection, written.replace(place, text), _join(params, given), query)

            yield Asked(values, table, stream, data_time, all_typed=True)

    def _describe(self, connection: Connection, query: Query) -> tuple[str, str, str]:
        """Give the ids of a query as a value, the names of its columns, and why they can't be compared, or nothing."""
        with closing(self._run(connection, query, " WHERE 1 = 0")) as result:
            names = list(result.keys())
            at = choose(names, query.id_column)
            column = result.cursor.description[at] if result.cursor is not None else ("", "")
        reason = "" if self.is_exact(column) else f"ids of type {column[1]} can't be compared exactly in SQL"
        if re.fullmatch(self.unnamed, str(column[0])):
            reason = "the column of the ids has no name (give it one with AS)"
        if self.quote:
            name = str(column[0]).replace(self.quote, self.quote * 2)
            return self.value.format(f"{self.quote}{name}{self.quote}"), "", reason
        by_position = f"({', '.join(f'c{number}' for number in range(len(names)))})"
        return self.value.format(f"c{at}"), by_position, reason

    def _lay(self, overlay: ArrowStream, name: str) -> tuple[str, dict[str, str]] | None:
        """Write the rows of an overlay as a table, with the params that it needs; None: they have too many bytes."""
        lists: defaultdict[tuple[int | None, bool], list[str]] = defaultdict(list)
        size = 0
        for batch in pyarrow.RecordBatchReader.from_stream(overlay):
            ids, flags, travels = (batch.column(name).to_pylist() for name in ("id", "flags", "travels"))
            size += len("".join(ids).encode()) + len(ids)
            if size > self.most_bytes:
                return None
            for member, *kind in zip(ids, flags, travels, strict=True):
                lists[kind[0], kind[1]].append(member)
        none = "SELECT id, CAST(0 AS SMALLINT) AS flags, false AS travels FROM (SELECT '' AS id) nothing WHERE 1 = 0"
        selects, params = [none], {}
        for number, ((flags, travels), ids) in enumerate(lists.items()):
            param = f"{name}_laid_{number}"
            params[param] = "\n".join(ids)
            known = "NULL" if flags is None else flags
            written = f"CAST({known} AS SMALLINT) AS flags, {str(bool(travels)).lower()} AS travels"
            selects.append(f"SELECT id, {written} FROM ({self.lines.format(f':{param}')}) l{number}")
        return f"({' UNION ALL '.join(selects)})", params

    @contextmanager
    def _stream(self, connection: Connection, statement: str, values: Values, query: Query) -> Iterator[ArrowStream]:
        with closing(self.execute(connection, statement, values, query)) as result:
            with self.scrubber.explaining(Exception, query):
                batches = self.read(result, ANSWER.names.index("id"))
            answers = _read_rows(result) if batches is None else map(read_answer, _list_batches(batches))
            with stream_batches(answers, ANSWER, self.scrubber, query) as rows:
                yield rows


def _list_batches(tables: Iterable[Any]) -> Iterator[pyarrow.RecordBatch]:
    for each in tables:
        yield from each.to_batches() if isinstance(each, pyarrow.Table) else [each]


def _read_rows(result: CursorResult[Any]) -> Iterator[pyarrow.RecordBatch]:
    """Read an answer by rows, for a driver that gives no Arrow, or none of a few rows."""
    while rows := result.fetchmany(BLOCK_ROWS):
        arrays = [pyarrow.array(column) for column in zip(*rows, strict=True)]
        yield read_answer(pyarrow.RecordBatch.from_arrays(arrays, ANSWER.names))


def _write(statement: str, params: Mapping[str, str], dialect: Dialect, *, has_params: bool) -> str:
    """Write a statement of ours, in which a param is `:name`, for a driver."""
    if reads_percent(dialect, has_params=has_params):
        statement = statement.replace("%", "%%")
    if not params:
        return statement
    mark = MARKS[dialect.paramstyle]
    return re.sub(rf":({'|'.join(params)})\b", lambda found: mark.format(key=found[1]), statement)


def _join(values: Values, params: Mapping[str, str]) -> Values:
    """Add params of ours, which stand behind those of a query."""
    return {**values, **params} if isinstance(values, dict) else (*values, *params.values())


@dataclass(frozen=True)
class RowSession:
    """A connection; each statement commits by itself."""

    source: RowSourceWithMembers
    connection: Connection = field(repr=False)
    lent: dict[str, str] = field(default_factory=dict, repr=False)
    """The params with the ids that are lent now."""

    def check_schema(self) -> None:
        self.names()

    def names(self) -> Collection[str]:
        with self._explaining():
            return self.source.list_tables(self._ask)

    def create(self) -> None:
        missing = TABLES.keys() - set(self.names())
        for table, statement in zip(TABLES, self.source.statements.create(), strict=True):
            if table in missing:  # else no right to make any is needed
                self.run(statement)

    def run(self, statement: str) -> None:
        with self._explaining(), self._open(statement):
            pass

    def fetch(self, statement: str) -> Sequence[Sequence[Any]]:
        with self._explaining():
            return self._ask(statement)

    def _ask(self, statement: str) -> Sequence[Sequence[Any]]:
        with self._open(statement) as result, self.source.scrubber.explaining(Exception, self._query):
            return [tuple(row) for row in result.fetchall()]

    @contextmanager
    def stream_ids(self, statement: str) -> Iterator[Iterator[list[str]]]:
        with self._explaining(), self._open(statement) as result:
            yield self._read_ids(result)

    def _read_ids(self, result: CursorResult[Any]) -> Iterator[list[str]]:
        with self.source.scrubber.explaining(Exception, self._query):
            batches = self.source.read(result, 0)
            if batches is not None:
                for batch in batches:
                    yield batch.column(0).to_pylist()
                return
            while rows := result.fetchmany(BLOCK_ROWS):
                yield [row[0] for row in rows]

    @contextmanager
    def lend(self, ids: Sequence[str]) -> Iterator[str]:
        name = f"reconcile_ids_{len(self.lent)}"
        self.lent[name] = "\n".join(ids)
        try:
            yield f"({self.source.lines.format(f':{name}')})"
        finally:
            del self.lent[name]

    @property
    def _query(self) -> Query | None:
        """Without one a message is shown as it is."""
        return _OURS if self.lent else None

    @contextmanager
    def _open(self, statement: str) -> Iterator[CursorResult[Any]]:
        dialect, lent = self.connection.dialect, dict(self.lent)
        written = _write(statement, lent, dialect, has_params=bool(lent))
        values = _join({} if "{key}" in MARKS[dialect.paramstyle] else (), lent)
        with closing(self.source.execute(self.connection, written, values, self._query)) as result:
            yield result

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Give the next step for a statement of ours: what is found is for a query of the spec, or for a login."""
        try:
            yield
        except SourceError as error:
            source = self.source
            if error.hint not in (Kind.DENIED, Kind.OPTIONS, Kind.MISSING):
                raise explain_ours(error, source.database) from None
            place = f"the schema {source.schema}" if source.schema else "the current schema"
            hint = (
                f"`members: source` writes to {place} (`options.members_schema`), which has to be there; the source's "
                f"user needs {source.rights} on {', '.join(TABLES)}. See docs/members-at-the-source.md."
            )
            raise SourceError(error.message, hint, code=error.code) from None
