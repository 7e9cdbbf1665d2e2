"""Members of segments in Delta tables of Databricks, through its own driver.

Ids travel to the server as params of statements, each a text with an id in each line; what may change comes back as
Arrow. Nothing but the three tables is ever made there.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow
from sqlalchemy.engine import URL, Connection, CursorResult

from reconciler.errors import SourceError
from reconciler.models.comparison import ArrowStream, NotPossible
from reconciler.models.options import OF_MEMBERS_IN_DATABRICKS, Options
from reconciler.models.spec import Segment
from reconciler.models.sql import lexicon_of, parse
from reconciler.sources.base import Query, choose
from reconciler.sources.columns import ANSWER, read_answer, stream_batches
from reconciler.sources.failures import Kind, Scrubber
from reconciler.sources.members import Asked, MembersInTables, explain_ours, list_spark_tables, quote_schema
from reconciler.sources.members_sql import SPARK, TABLES, Statements
from reconciler.sources.rows import RowSource, Values, find_rewritten, write_query

BYTES_AT_ONCE = 900_000
"""Of the ids of one statement. All its params may have 1 MB. Source: parameters.md of databricks-sql-connector."""

ROWS_AT_ONCE = 50_000

_LIST = "SELECT explode(split(:{}, '\\n')) AS id"
"""The ids of a param. No id of a state has a line break (`models.ids.can_be_stored`)."""
_NOTHING = "SELECT id, CAST(0 AS SMALLINT) AS flags, false AS travels FROM (SELECT '' AS id) nothing WHERE false"
_INTEGERS = frozenset({"tinyint", "smallint", "int", "bigint"})

_OURS = Query(parse(f"SELECT {', '.join(TABLES)}", (), lexicon_of("databricks")), {}, None)
"""Has the names that a message about a statement with ids may show."""


@dataclass(frozen=True)
class DatabricksWithMembers(RowSource):
    """Databricks, which may hold members, too: the `TablesAtSource` of its schema."""

    schema: str = ""
    """Where the tables are; empty: in the current schema."""

    takes_delete = True

    @classmethod
    def of(cls, url: URL, scrubber: Scrubber, options: Options) -> "DatabricksWithMembers":
        """`options`: arguments of the driver, and ours."""
        schema = str(options.reveal().get("members_schema", ""))
        return cls(url, scrubber, options.without(OF_MEMBERS_IN_DATABRICKS), schema=schema)

    @property
    def statements(self) -> Statements:
        return Statements(replace(SPARK, ending=" USING DELTA"), f"{quote_schema(self.schema)}." if self.schema else "")

    def open_members(self) -> MembersInTables:
        return MembersInTables(self.scrubber.source, self, BYTES_AT_ONCE)

    @contextmanager
    def begin(self) -> Iterator["DatabricksSession"]:
        with self.connections.slots, ExitStack() as stack:
            yield DatabricksSession(self, self._connect(stack))

    @contextmanager
    def ask(self, segment: Segment, overlay: ArrowStream) -> Iterator[Asked | NotPossible]:
        query, freshness = self._read_queries(segment)
        laid = Laid.of(overlay)
        if laid is None:
            yield NotPossible("what the state knows besides the members is more than a statement of Databricks takes")
            return
        if laid.params and not query.params and find_rewritten(query, "databricks"):
            yield NotPossible("Databricks' driver would change a string of the query")
            return
        with self.connections.slots, ExitStack() as stack:
            connection = self._connect(stack)
            at, width, kind = self._describe(connection, query)
            if kind is not None:
                yield NotPossible(f"ids of type {kind} can't be compared exactly in SQL")
                return
            data_time = self._ask_freshness(connection, freshness)
            text, params = write_query(query, connection.dialect)
            given = dict(params) if isinstance(params, dict) else {}  # its params have names
            by_position = f"({', '.join(f'c{number}' for number in range(width))})"
            # By way of bytes a text loses a collation that its column may have.
            value = f"CAST(CAST(CAST(c{at} AS STRING) AS BINARY) AS STRING) AS value"
            values = query.derived(f"{value}, true AS typed", text, by_position)

            def stream(statement: str) -> AbstractContextManager[ArrowStream]:
                return self._stream(connection, statement, {**given, **laid.params}, query)

            yield Asked(values, laid.table, stream, data_time, all_typed=True)

    def _describe(self, connection: Connection, query: Query) -> tuple[int, int, str | None]:
        """Give the position of the ids, the number of columns, and the type of ids that can't be compared there."""
        with closing(self._run(connection, query, " WHERE 1 = 0")) as result:
            names = list(result.keys())
            at = choose(names, query.id_column)
            described = result.cursor.description[at] if result.cursor is not None else ("", "")
        kind = described[1]
        is_exact = kind == "string" or kind in _INTEGERS or (kind == "decimal" and described[5] == 0)
        return at, len(names), None if is_exact else str(kind)

    @contextmanager
    def _stream(self, connection: Connection, statement: str, values: Values, query: Query) -> Iterator[ArrowStream]:
        with self.open(connection, statement, values, query) as result:
            answers = map(read_answer, self.read(result))
            with stream_batches(answers, ANSWER, self.scrubber, query) as rows:
                yield rows

    @contextmanager
    def open(
        self, connection: Connection, statement: str, values: Values, query: Query | None = None
    ) -> Iterator[CursorResult[Any]]:
        """Run a statement, and close its result when the block ends."""
        result = self._execute(connection, statement, values, query)
        with closing(result):
            yield result

    def read(self, result: CursorResult[Any]) -> Iterator[pyarrow.RecordBatch]:
        """Read a result by column, with whatever its driver raises."""
        cursor: Any = result.cursor
        if type(cursor.active_result_set.results).__name__ == "ColumnQueue":
            raise SourceError(
                f"source {self.scrubber.source}: the server answers without Arrow",
                "Use a SQL warehouse, or a cluster with Databricks Runtime 14.2 or later; or set `members: local`.",
            )
        while (table := cursor.fetchmany_arrow(ROWS_AT_ONCE)).num_rows:  # the empty one at the end may lack its columns
            yield from table.to_batches()


@dataclass(frozen=True)
class DatabricksSession:
    """A connection; each statement commits by itself."""

    source: DatabricksWithMembers
    connection: Connection = field(repr=False)
    lent: dict[str, str] = field(default_factory=dict, repr=False)
    """The params with the ids that are lent now."""

    def check_schema(self) -> None:
        self.names()

    def names(self) -> Collection[str]:
        if self.source.schema:
            name = self.source.scrubber.source
            return list_spark_tables(name, self.fetch, self.source.schema, "members_schema")
        return {str(row[1]) for row in self.fetch("SHOW TABLES LIKE 'reconcile_*'")} & TABLES.keys()

    def create(self) -> None:
        missing = TABLES.keys() - set(self.names())
        for table, statement in zip(TABLES, self.source.statements.create(), strict=True):
            if table in missing:  # else no right to make any is needed
                self.run(statement)

    def run(self, statement: str) -> None:
        with self._open(statement):
            pass

    def fetch(self, statement: str) -> Sequence[Sequence[Any]]:
        with self._open(statement) as result, self.source.scrubber.explaining(Exception, self._query):
            return [tuple(row) for row in result.fetchall()]

    @contextmanager
    def stream_ids(self, statement: str) -> Iterator[Iterator[list[str]]]:
        with self._open(statement) as result:
            yield self._read_ids(result)

    def _read_ids(self, result: CursorResult[Any]) -> Iterator[list[str]]:
        with self.source.scrubber.explaining(Exception, self._query):
            for batch in self.source.read(result):
                yield batch.column(0).to_pylist()

    @contextmanager
    def lend(self, ids: Sequence[str]) -> Iterator[str]:
        name = f"reconcile_ids_{len(self.lent)}"
        self.lent[name] = "\n".join(ids)
        try:
            yield f"({_LIST.format(name)})"
        finally:
            del self.lent[name]

    @property
    def _query(self) -> Query | None:
        """Without one a message is shown as it is."""
        return _OURS if self.lent else None

    @contextmanager
    def _open(self, statement: str) -> Iterator[CursorResult[Any]]:
        with ExitStack() as stack:
            try:
                opened = self.source.open(self.connection, statement, dict(self.lent), self._query)
                result = stack.enter_context(opened)
            except SourceError as error:
                raise self._explain(error) from None
            yield result

    def _explain(self, error: SourceError) -> SourceError:
        """Give the next step for a statement of ours: what is found is for a query of the spec, or for a login."""
        if error.hint not in (Kind.DENIED, Kind.OPTIONS, Kind.MISSING):
            return explain_ours(error, "Databricks")
        place = f"the schema {self.source.schema}" if self.source.schema else "the current schema"
        hint = (
            f"`members: source` writes to {place} (`options.members_schema`), which has to be there; the "
            "source's user needs USE CATALOG, USE SCHEMA and CREATE TABLE, or SELECT and MODIFY on "
            f"{', '.join(TABLES)}. See docs/members-at-the-source.md."
        )
        return SourceError(error.message, hint, code=error.code)


@dataclass(frozen=True)
class Laid:
    """The rows of an overlay as a table in the text of a statement, with the params that it needs."""

    table: str
    params: dict[str, str] = field(repr=False)

    @classmethod
    def of(cls, overlay: ArrowStream) -> "Laid | None":
        """Read an overlay; None: its ids are more than a statement takes."""
        lists: defaultdict[tuple[int | None, bool], list[str]] = defaultdict(list)
        size = 0
        for batch in pyarrow.RecordBatchReader.from_stream(overlay):
            ids, flags, travels = (batch.column(name).to_pylist() for name in ("id", "flags", "travels"))
            size += len("".join(ids).encode()) + len(ids)
            if size > BYTES_AT_ONCE:
                return None
            for member, *kind in zip(ids, flags, travels, strict=True):
                lists[kind[0], kind[1]].append(member)
        selects, params = [_NOTHING], {}
        for number, ((flags, travels), ids) in enumerate(lists.items()):
            name = f"reconcile_laid_{number}"
            params[name] = "\n".join(ids)
            known = "NULL" if flags is None else flags
            written = f"CAST({known} AS SMALLINT) AS flags, {str(bool(travels)).lower()} AS travels"
            selects.append(f"SELECT id, {written} FROM ({_LIST.format(name)}) l{number}")
        return cls(f"({' UNION ALL '.join(selects)})", params)
