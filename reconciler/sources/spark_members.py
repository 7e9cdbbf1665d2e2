"""Members of segments in tables that Spark Connect reaches: Delta or Parquet, in a schema of their own.

Ids travel to the server as Arrow, in views that belong to the session and are dropped again.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pyarrow
from pyspark.sql.connect.client import SparkConnectClient
from pyspark.sql.connect.functions import lit
from pyspark.sql.connect.plan import SQL, CreateView, LocalRelation

from reconciler.errors import SourceError
from reconciler.models.comparison import ArrowStream, NotPossible
from reconciler.models.fields import Secret
from reconciler.models.options import OF_MEMBERS, Options
from reconciler.models.spec import Segment
from reconciler.sources.base import Query, choose
from reconciler.sources.columns import ANSWER, read_answer, stream_batches
from reconciler.sources.members import (
    IDS_AT_ONCE,
    Asked,
    MembersInTables,
    explain_ours,
    list_spark_tables,
    quote_schema,
)
from reconciler.sources.members_sql import SPARK, Statements
from reconciler.sources.spark import SparkSource, read_batches

_OVERLAY = pyarrow.schema({"id": pyarrow.string(), "flags": pyarrow.int16(), "travels": pyarrow.bool_()})
_KINDS = {pyarrow.string(): "STRING", pyarrow.int16(): "SMALLINT", pyarrow.bool_(): "BOOLEAN"}


class SparkWithMembers(SparkSource):
    """A server of Spark Connect that may hold members, too: the `TablesAtSource` of its schema."""

    def __init__(self, name: str, url: Secret, options: Options) -> None:
        super().__init__(name, url, options, OF_MEMBERS)
        self._name = name
        given = {key: value for key, value in options.reveal().items() if key in OF_MEMBERS}
        self._schema, self._location = str(given.get("schema", "")), str(given.get("location", "")).rstrip("/")
        self._format = str(given.get("table_format", "delta")).lower()
        ending = f" USING {self._format}"
        if self._location:
            ending += f" LOCATION '{self._location}/{{table}}'"
        self.statements = Statements(replace(SPARK, ending=ending), f"{quote_schema(self._schema)}.")
        self._created: SparkConnectClient | None = None
        """By which the tables were made that a catalog may have forgotten."""

    @property
    def takes_delete(self) -> bool:
        return self._format != "parquet"

    def open_members(self) -> MembersInTables:
        if not self._schema:
            problem = "`options.schema` must name the schema for the tables of members"
            raise SourceError(f"source {self._name}: {problem}", "See docs/members-at-the-source.md.")
        return MembersInTables(self._name, self)

    @contextmanager
    def begin(self) -> Iterator["SparkWithMembers"]:
        with self.keep():
            yield self

    def check_schema(self) -> None:
        if not self._location:
            self.names()

    def names(self) -> Collection[str]:
        with self._share() as client:
            if self._location and client is not self._created:  # a catalog in memory has forgotten them; they are there
                self.create()
                self._created = client
        return list_spark_tables(self._name, self.fetch, self._schema, "schema")

    def create(self) -> None:
        if self._location:
            self.run(f"CREATE DATABASE IF NOT EXISTS {quote_schema(self._schema)}")
        for statement in self.statements.create():
            self.run(statement)

    @contextmanager
    def _share(self) -> Iterator[SparkConnectClient]:
        """Give the client without a slot: a comparison holds one, and runs statements meanwhile."""
        with self.keep():
            with self._lock, self._scrubber.explaining(Exception):
                if self._client is None or self._client.is_closed:
                    self._client = self._connections.connect(self._open)
                client = self._client
            yield client

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """As `Scrubber.explaining`, for statements of ours."""
        try:
            yield
        except Exception as error:
            raise explain_ours(self._scrubber.explain(error), "Spark") from None

    def run(self, statement: str) -> None:
        with self._share() as client, self._explaining():
            client.execute_command(SQL(statement).command(client))

    def fetch(self, statement: str) -> Sequence[Sequence[Any]]:
        with self._share() as client, self._explaining():
            table, _, _ = client.to_table(SQL(statement).to_proto(client), {})
            return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    @contextmanager
    def stream_ids(self, statement: str) -> Iterator[Iterator[list[str]]]:
        with self._share() as client:
            yield self._read_ids(client, SQL(statement).to_proto(client))

    def _read_ids(self, client: Any, plan: Any) -> Iterator[list[str]]:
        with self._explaining():
            for batch in read_batches(client, plan):
                yield batch.column(0).to_pylist()

    @contextmanager
    def lend(self, ids: Sequence[str]) -> Iterator[str]:
        with self._lend(pyarrow.table({"id": pyarrow.array(ids, pyarrow.string())})) as name:
            yield name

    @contextmanager
    def _lend_overlay(self, rows: ArrowStream) -> Iterator[str]:
        gathered: list[pyarrow.RecordBatch] = []
        with ExitStack() as stack:
            views = []
            for batch in pyarrow.RecordBatchReader.from_stream(rows):
                gathered.append(batch.cast(_OVERLAY))
                if sum(map(len, gathered)) >= IDS_AT_ONCE:
                    views.append(stack.enter_context(self._lend(pyarrow.Table.from_batches(gathered, _OVERLAY))))
                    gathered = []
            views.append(stack.enter_context(self._lend(pyarrow.Table.from_batches(gathered, _OVERLAY))))
            yield f"({' UNION ALL '.join(f'SELECT id, flags, travels FROM {view}' for view in views)})"

    @contextmanager
    def _lend(self, table: pyarrow.Table) -> Iterator[str]:
        name = f"reconcile_{uuid4().hex}"
        kinds = None  # of a table without rows Sail reads no schema
        if not table.num_rows:
            kinds = ", ".join(f"{each.name} {_KINDS[each.type]}" for each in table.schema)
        with self._share() as client:
            with self._explaining():
                rows = LocalRelation(table if kinds is None else None, kinds)
                view = CreateView(child=rows, name=name, is_global=False, replace=True)
                client.execute_command(view.command(client))
            try:
                yield name
            finally:
                with suppress(SourceError):  # it ends with the session
                    self.run(f"DROP VIEW {name}")

    @contextmanager
    def ask(self, segment: Segment, overlay: ArrowStream) -> Iterator[Asked | NotPossible]:
        query, freshness = Query.of(segment, "sc"), Query.of_freshness(segment, "sc")
        with self._connect() as client:
            fields = self._describe(client, query)
            at = choose([name for name, _ in fields], query.id_column)
            kind = fields[at][1]
            if not re.fullmatch(r"string|tinyint|smallint|int|bigint|decimal\(\d+,0\)", kind):
                yield NotPossible(f"ids of type {kind} can't be compared exactly in SQL")
                return
            data_time = self._ask_freshness(client, freshness)
            keys = {name: f"{query.name}_{number}" for number, name in enumerate(query.params)}
            text = query.statement.write(lambda name: f":{keys[name]}")
            by_position = f"({', '.join(f'c{number}' for number in range(len(fields)))})"
            values = query.derived(f"CAST(c{at} AS STRING) AS value, true AS typed", text, by_position)
            args = {keys[name]: lit(value) for name, value in query.params.items()}

            def stream(statement: str) -> AbstractContextManager[ArrowStream]:
                plan = SQL(statement, named_args=args).to_proto(client)
                return stream_batches(map(read_answer, read_batches(client, plan)), ANSWER, self._scrubber, query)

            with self._lend_overlay(overlay) as laid:
                yield Asked(values, laid, stream, data_time, all_typed=True)
