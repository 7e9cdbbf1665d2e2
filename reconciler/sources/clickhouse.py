"""ClickHouse: read by columns through clickhouse-connect, with types asked from the server.

The rows of that driver would not do: they take 700 MB a million, a text that is no UTF-8 is given as the hexadecimal
digits of its bytes, and an interval as an integer.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pyarrow
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from reconciler.errors import SourceError
from reconciler.models.fields import Scalar
from reconciler.models.freshness import DataTime, check_columns, read_answer
from reconciler.models.spec import Segment
from reconciler.sources.base import Query, ValueStream, choose, naming_freshness, refuse_type
from reconciler.sources.columns import stream_batches
from reconciler.sources.rows import RowSource

_WRAPPER = re.compile(r"(?:Nullable|LowCardinality|SimpleAggregateFunction)\((?:\w+(?:\([^)]*\))?, )?(.*)\)", re.DOTALL)
"""What may stand around a type, and changes no value."""

_EXACT = re.compile(r"U?Int\d+|UUID|Enum(?:8|16)\(.*\)", re.DOTALL)

_TYPES = {
    "text": ("if(isNull({0}) OR isValidUTF8({0}), {0}, '')", "isNull({0}) OR isValidUTF8({0})"),
    "exact": ("toString({0})", "true"),
    "decimal": (r"replaceRegexpOne(toString({0}), '\\.0*$', '')", "isNull({0}) OR {0} = truncate({0})"),
    "null": ("NULL", "true"),
    "unfit": ("if(isNull({0}), NULL, '')", "isNull({0})"),
}
"""For each kind of column, how `value` and `typed` are written."""

_IDS = "ids"
"""What the column of the ids is called, alone in its SELECT, before it is written as `value` and `typed`."""

_SCHEMA = pyarrow.schema([("value", pyarrow.string()), ("typed", pyarrow.bool_())])
_INTEGERS = ((63, "Int64"), (127, "Int128"))


_READ_ONLY = "readonly"
"""The setting; with 2 a query may only read, and carry settings of its own, as the driver's do."""

_LIMITED = ("result", "read", "timeout", "group_by", "sort", "distinct", "join", "set", "transfer")
_WHOLE = {
    "skip_unavailable_shards": "0",
    **{f"{what}_overflow_mode": "throw" for what in _LIMITED},
    **{f"{what}_overflow_mode_leaf": "throw" for what in ("read", "timeout")},
    **{f"{store}_ignore_file_doesnt_exist": "0" for store in ("s3", "hdfs", "azure")},
}
"""Settings with which a result may lack a part without an error, and the value with which it never does."""

_ASK_WHOLE = (
    "SELECT groupArray(name), groupArray(value), groupArray(readonly) FROM system.settings "
    f"WHERE name IN {tuple(_WHOLE)}"
)

_ALL_ROWS = " SETTINGS limit = 0, offset = 0"
"""How a statement of ours ends: the server tells nobody of these two settings that it has them."""


@dataclass(frozen=True)
class Column:
    """The column of the ids, as the server describes it."""

    name: str
    type: str

    @property
    def kind(self) -> str:
        bare = self.type
        while match := _WRAPPER.fullmatch(bare):
            bare = match[1]
        if bare == "String":
            return "text"
        if _EXACT.fullmatch(bare):
            return "exact"
        return "decimal" if bare.startswith("Decimal(") else "null" if bare == "Nothing" else "unfit"


@dataclass(frozen=True)
class ClickHouseSource(RowSource):
    """A ClickHouse database."""

    @contextmanager
    def stream_values(self, segment: Segment, _few: int = 0, /) -> Iterator[ValueStream]:
        query, freshness = self._read_queries(segment)
        with self.connections.slots, ExitStack() as stack:
            client = self._open_client(stack)
            data_time = self._ask_freshness(client, freshness)
            column = self._describe(client, query)
            name = "`" + column.name.replace("\\", "\\\\").replace("`", "\\`") + "`"
            value, typed = (each.format(_IDS) for each in _TYPES[column.kind])
            sql, values = _write(query)
            # Apart, since an alias wins over a column of its SELECT: here a column of the query may be called `typed`.
            ids = query.derived(f"{name} AS {_IDS}", sql)
            sql = query.derived(f"CAST({value} AS Nullable(String)) AS value, {typed} AS typed", ids) + _ALL_ROWS
            with self.scrubber.explaining(Exception, query):
                batches = stack.enter_context(client.query_arrow_stream(sql, values))
            rows = stack.enter_context(stream_batches(map(_cast, batches), _SCHEMA, self.scrubber, query))
            yield ValueStream(rows, data_time=data_time)

    def check(self, segment: Segment) -> None:
        query, freshness = self._read_queries(segment)
        with self.connections.slots, ExitStack() as stack:
            client = self._open_client(stack)
            column = self._describe(client, query)
            if freshness is not None:
                with naming_freshness():
                    check_columns(len(self._list_columns(client, freshness)))
        if column.kind == "unfit":
            raise refuse_type(column.type)

    def _open_client(self, stack: ExitStack) -> Client:
        connection = self._connect(stack).connection.driver_connection
        assert connection is not None
        client: Client = connection.client
        self._read_whole(client)
        allowed = client.server_settings.get(_READ_ONLY)  # a user may be read-only already, and may not say so again
        if client.get_client_setting(_READ_ONLY) is None and (allowed is None or allowed[1:] == ("0", 0)):
            client.set_client_setting(_READ_ONLY, "2")
        return client

    def _read_whole(self, client: Client) -> None:
        """Set back each setting that may cut a result. Raises SourceError where the user may not change one."""
        client.query_limit = 0
        with self.scrubber.explaining(Exception):
            try:
                rows = client.query(f"{_ASK_WHOLE}{_ALL_ROWS}").result_rows
            except DatabaseError:
                client.query(_ASK_WHOLE)  # if this may be asked, it is the limit that may not be taken away
                rows = []
        settings = list(zip(*rows[0], strict=True)) if rows else []
        settings = settings or [("limit or offset", "not 0", True)]
        cutting = [(name, value, is_fixed) for name, value, is_fixed in settings if value != _WHOLE.get(name)]
        if fixed := [f"{name} = {value}" for name, value, is_fixed in cutting if is_fixed]:
            raise SourceError(
                f"source {self.scrubber.source}: the server may cut a result short without an error, by a setting that "
                f"its user may not change: {', '.join(fixed)}",
                "Have the setting taken out of the user's profile, or read with another user.",
            )
        with self.scrubber.explaining(Exception):
            for name, _, _ in cutting:
                client.set_client_setting(name, _WHOLE[name])

    def _describe(self, client: Client, query: Query) -> Column:
        columns = self._list_columns(client, query)
        return columns[choose([column.name for column in columns], query.id_column)]

    def _list_columns(self, client: Client, query: Query) -> list[Column]:
        sql, values = _write(query)
        with self.scrubber.explaining(Exception, query):
            described = client.query(f"DESCRIBE TABLE (\n{sql}\n)", values)
        names = list(described.column_names)
        # With `describe_include_subcolumns` there are rows of parts of columns, too.
        part = names.index("is_subcolumn") if "is_subcolumn" in names else None
        return [Column(str(row[0]), str(row[1])) for row in described.result_rows if part is None or not row[part]]

    def _ask_freshness(self, client: Client, query: Query | None) -> DataTime | None:
        if query is None:
            return None
        with naming_freshness():
            sql, values = _write(query)
            with self.scrubber.explaining(Exception, query):
                rows = client.query(f"{query.derived('*', sql)} LIMIT 2{_ALL_ROWS}", values).result_rows
            return read_answer(rows)


def _write(query: Query) -> tuple[str, dict[str, Scalar] | None]:
    """Write a query with params that the server binds; as the driver replaces none, `%` and braces stay as they are."""
    marks, values = {}, {}
    for number, (name, value) in enumerate(query.params.items(), start=1):
        mark = f"{query.name}_{number}"
        if isinstance(value, str):
            marks[name], value = f"unhex({{{mark}:String}})", value.encode().hex()  # it may hold any character
        else:
            marks[name] = f"{{{mark}:{_type_of(value)}}}"
        values[mark] = value
    return query.statement.write(marks.__getitem__), values or None


def _type_of(value: Scalar) -> str:
    if value is None:
        return "Nullable(String)"
    if isinstance(value, bool):
        return "Bool"
    if isinstance(value, float):
        return "Float64"
    bits = value.bit_length() if isinstance(value, int) else 0
    return next((name for most, name in _INTEGERS if bits <= most), "Int256")


def _cast(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """Give a batch in our types, whatever the server's settings make of them."""
    columns = [column.cast(field.type) for column, field in zip(batch.columns, _SCHEMA, strict=True)]
    return pyarrow.RecordBatch.from_arrays(columns, schema=_SCHEMA)
