"""Spark Connect (`sc://host:port`): Spark's own client, with Arrow columns as its results.

It is no SQLAlchemy dialect and has no transactions. Nothing can be written: a query is sent as a relation, a derived
table in it, and a server runs no command there.
"""

import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from reconciler.models.fields import Secret
from reconciler.models.freshness import DataTime, check_columns, read_answer, refuse_kind
from reconciler.models.options import Options
from reconciler.models.spec import Segment
from reconciler.models.urls import DatabaseUrl
from reconciler.sources.base import Query, ValueStream, choose, naming_freshness, refuse_type
from reconciler.sources.columns import stream_batches
from reconciler.sources.drivers import LOGIN, log_in, read_login_seconds
from reconciler.sources.duckdb import INTEGRAL
from reconciler.sources.failures import Scrubber
from reconciler.sources.rows import Connections

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC would write to stderr what it tells in an error, too

import pyarrow
from pyspark.logger import PySparkLogger
from pyspark.sql.connect.client import DefaultChannelBuilder, SparkConnectClient
from pyspark.sql.connect.functions import lit
from pyspark.sql.connect.plan import SQL

_PUBLIC = frozenset({"use_ssl", "user_id", "user_agent", "session_id"})
"""The parameters of a URL that are no secrets; every other one is sent as a header."""

_RETRIES = {"max_retries": 4, "initial_backoff": 50, "max_backoff": 4000}
"""Milliseconds. What is unavailable is tried again for four seconds; the client would for ten minutes."""

_LOUD = ("SQLQueryContextLogger", "DataFrameQueryContextLogger", "pyspark.sql.connect.logging")
"""Loggers of the client that write to stderr what a server says, values of rows and traces included."""

_TIMES = frozenset({"date", "timestamp", "timestamp_ntz", "string", "void"})


@dataclass(frozen=True)
class Column:
    """How the values of a type are asked for, and how they become `value` and `typed`."""

    ask: str
    """SQL of Spark; `{}` is the column."""
    kind: pyarrow.DataType
    """What the column is cast to: the batches of one engine may differ in their types."""
    select: str
    unfit: str = ""
    """The type, if no value of it can be an id."""


_TEXT = Column(
    "{}",
    pyarrow.large_binary(),  # a string of Spark may hold bytes that are no UTF-8
    "SELECT CASE WHEN value IS NOT NULL THEN coalesce(try(decode(value)), '') END AS value, "
    "value IS NULL OR try(decode(value)) IS NOT NULL AS typed FROM incoming",
)
_INTEGER = Column("{}", pyarrow.int64(), "SELECT CAST(value AS VARCHAR) AS value, true AS typed FROM incoming")
_NULL = Column("{} IS NULL", pyarrow.bool_(), "SELECT if(value, NULL, '') AS value, value AS typed FROM incoming")


class SparkSource:
    """A server of Spark Connect: Spark itself, Databricks, Sail and others."""

    def __init__(self, name: str, url: Secret, options: Options, own: Collection[str] = ()) -> None:
        """`options`: parameters that are not in the URL; those of `own` are not for the client."""
        parsed = DatabaseUrl.parse(url.reveal())
        given = {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in options.reveal().items()
            if key not in (*own, LOGIN)
        }
        parameters = parsed.connect_parameters | given
        secrets = [value for key, value in parameters.items() if key not in _PUBLIC]
        spellings = [each for value in (*secrets, *options.secrets) for each in (value, quote(value, safe=""))]
        self._scrubber = Scrubber.of(name, url, spellings, [parsed.host, parameters.get("user_id", "")])
        self._url = url
        self._options = given
        with self._scrubber.explaining(ValueError):
            self._seconds = read_login_seconds("sc", options.reveal())
        self._is_own_session = "session_id" not in parameters
        self._connections = Connections()
        self._lock = threading.Lock()
        self._users = 0
        self._client: SparkConnectClient | None = None
        for logger in _LOUD:
            PySparkLogger.getLogger(logger).disabled = True

    @contextmanager
    def keep(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0 and self._client is not None:
                    self._close(self._client)
                    self._client = None

    @contextmanager
    def stream_values(self, segment: Segment, _few: int = 0, /) -> Iterator[ValueStream]:
        query, freshness = Query.of(segment, "sc"), Query.of_freshness(segment, "sc")
        with self._connect() as client:
            data_time = self._ask_freshness(client, freshness)
            plan, column = self._prepare(client, query)
            schema = pyarrow.schema({"value": column.kind})
            batches = (
                pyarrow.record_batch([batch.column(0).cast(column.kind)], schema=schema)
                for batch in read_batches(client, plan)
            )
            with stream_batches(batches, schema, self._scrubber, query) as rows:
                yield ValueStream(rows, column.select, data_time)

    def interrupt(self) -> None:
        """Nothing ends: a query is awaited."""

    def check(self, segment: Segment) -> None:
        query, freshness = Query.of(segment, "sc"), Query.of_freshness(segment, "sc")
        with self._connect() as client:
            _, column = self._prepare(client, query)
            if freshness is not None:
                with naming_freshness():
                    self._prepare_freshness(client, freshness)
        if column.unfit:
            raise refuse_type(column.unfit)

    def _prepare(self, client: SparkConnectClient, query: Query) -> tuple[Any, Column]:
        """Have the server analyse the query; give the plan that reads its ids, and their column."""
        fields = self._describe(client, query)
        at = choose([name for name, _ in fields], query.id_column)
        column = _choose_column(fields[at][1])
        by_position = f"({', '.join(f'c{number}' for number in range(len(fields)))})"  # so no name needs quoting
        with self._scrubber.explaining(Exception, query):
            return _write(client, query, f"{column.ask.format(f'c{at}')} AS value", by_position), column

    def _describe(self, client: SparkConnectClient, query: Query) -> list[tuple[str, str]]:
        """Give the names and types of a query's columns; nothing runs."""
        with self._scrubber.explaining(Exception, query):
            fields = client.schema(_write(client, query, "*")).fields
            return [(field.name, field.dataType.simpleString()) for field in fields]

    def _prepare_freshness(self, client: SparkConnectClient, query: Query) -> Any:
        """Give the plan for up to two answers."""
        fields = self._describe(client, query)
        check_columns(len(fields))
        if fields[0][1] not in _TIMES:
            raise refuse_kind(f"a value of type {fields[0][1]}")
        return _write(client, query, "*", end=" LIMIT 2")

    def _ask_freshness(self, client: SparkConnectClient, query: Query | None) -> DataTime | None:
        if query is None:
            return None
        with naming_freshness():
            plan = self._prepare_freshness(client, query)
            with self._scrubber.explaining(Exception, query):
                table, _, _ = client.to_table(plan, {})
                rows = [(value,) for value in table.column(0).to_pylist()]
            return read_answer(rows)

    @contextmanager
    def _connect(self) -> Iterator[SparkConnectClient]:
        """Give the client that all queries share: its session is costly to make at the server."""
        with self._connections.slots, self.keep():
            with self._lock, self._scrubber.explaining(Exception):
                if self._client is None or self._client.is_closed:
                    self._client = self._connections.connect(self._open)
                client = self._client
            yield client

    def _open(self) -> SparkConnectClient:
        builder = DefaultChannelBuilder(self._url.reveal())
        for name, value in self._options.items():
            builder.set(name, value)
        client = SparkConnectClient(builder, user_id="reconcile", retry_policy=_RETRIES)
        try:
            log_in(lambda: client.schema(SQL("SELECT 1").to_proto(client)), self._seconds)  # its first use connects
        except BaseException:
            client.close()
            raise
        return client

    def _close(self, client: SparkConnectClient) -> None:
        with suppress(Exception):  # all that was asked for has been read
            if self._is_own_session:
                client.release_session()
            client.close()


def _choose_column(name: str) -> Column:
    """Choose by the name that Spark gives a type."""
    if name.startswith("string"):  # it may name a collation
        return _TEXT
    if name in ("tinyint", "smallint", "int", "bigint"):
        return _INTEGER
    if name.startswith("decimal("):
        scale = int(name.rstrip(")").partition(",")[2])
        return Column("{}", pyarrow.decimal128(38, scale), f"SELECT {INTEGRAL.format('value')} FROM incoming")
    return replace(_NULL, unfit="" if name == "void" else name)


def _write(client: SparkConnectClient, query: Query, what: str, columns: str = "", end: str = "") -> Any:
    """Write the plan of a statement around a query; its params are literals of the plan."""
    keys = {name: f"{query.name}_{at}" for at, name in enumerate(query.params)}
    sql = query.derived(what, query.statement.write(lambda name: f":{keys[name]}"), columns) + end
    args = {keys[name]: lit(value) for name, value in query.params.items()}
    return SQL(sql, named_args=args).to_proto(client)


def read_batches(client: SparkConnectClient, plan: Any) -> Iterator[pyarrow.RecordBatch]:
    """Run a plan and give its result batch by batch."""
    for part in client.to_table_as_iterator(plan, {}):
        if isinstance(part, pyarrow.Table):
            yield from part.to_batches()
