"""An emulated SQL warehouse of Databricks: its protocol (Thrift over HTTP, results as Arrow), in front of Sail.

The protocol is that of the driver's own generated code. Sail parses and runs the statements. As at Databricks there are
at most 255 params in a statement, and they have at most 1 MB; what the driver asks for besides is refused.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from databricks.sql.thrift_api.TCLIService import TCLIService, ttypes
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TMemoryBuffer, TTransportException

from tests.warehouses.engines import sail
from tests.warehouses.engines._spark import write_text

if TYPE_CHECKING:
    from pyspark.sql.connect.client import SparkConnectClient

TOKEN = "s3cret"

DIRECT_ROWS = 3
"""Rows that come with the answer to a statement; the others are fetched."""

_DONE = ttypes.TStatus(statusCode=ttypes.TStatusCode.SUCCESS_STATUS)
_TYPES = (
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_int8, "TINYINT"),
    (pa.types.is_int16, "SMALLINT"),
    (pa.types.is_int32, "INT"),
    (pa.types.is_int64, "BIGINT"),
    (pa.types.is_float32, "FLOAT"),
    (pa.types.is_float64, "DOUBLE"),
    (pa.types.is_string, "STRING"),
    (pa.types.is_timestamp, "TIMESTAMP"),
    (pa.types.is_binary, "BINARY"),
    (pa.types.is_decimal, "DECIMAL"),
    (pa.types.is_null, "NULL"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_map, "MAP"),
    (pa.types.is_list, "ARRAY"),
    (pa.types.is_struct, "STRUCT"),
    (lambda _: True, "INTERVAL_DAY_TIME"),
)
_READ = {"STRING": str, "BOOLEAN": lambda text: text.lower() == "true", "DOUBLE": float, "FLOAT": float}


class Refused(Exception):
    """A statement that is refused before any engine sees it."""


class Service:
    """What the driver calls, by the names of its protocol."""

    def __init__(self, client: "SparkConnectClient") -> None:
        self.client = client
        self.statements: list[str] = []
        self.refusals: dict[str, str] = {}
        """What is said of a statement that begins so."""
        self.lost: list[str] = []
        """One statement with each of these words runs, and its answer does not arrive."""
        self.results: dict[bytes, tuple[pa.Table, int]] = {}
        self._numbers = count(1)

    def OpenSession(self, request: Any) -> Any:
        return ttypes.TOpenSessionResp(
            status=_DONE,
            serverProtocolVersion=ttypes.TProtocolVersion.SPARK_CLI_SERVICE_PROTOCOL_V8,
            sessionHandle=ttypes.TSessionHandle(self._name()),
            configuration={},
            initialNamespace=request.initialNamespace,
            canUseMultipleCatalogs=True,
        )

    def CloseSession(self, _: Any) -> Any:
        return ttypes.TCloseSessionResp(status=_DONE)

    def ExecuteStatement(self, request: Any) -> Any:
        handle = ttypes.TOperationHandle(self._name(), ttypes.TOperationType.EXECUTE_STATEMENT, True)
        try:
            table = self._run(request.statement, request.parameters or [])
        except Exception as error:
            failed = ttypes.TGetOperationStatusResp(
                status=_DONE, operationState=ttypes.TOperationState.ERROR_STATE, displayMessage=str(error)
            )
            return ttypes.TExecuteStatementResp(_DONE, handle, ttypes.TSparkDirectResults(operationStatus=failed))
        for words in self.lost:
            if words in request.statement:
                self.lost.remove(words)
                raise TTransportException  # which the handler of the protocol passes on
        self.results[handle.operationId.guid] = table, 0
        done = ttypes.TGetOperationStatusResp(status=_DONE, operationState=ttypes.TOperationState.FINISHED_STATE)
        return ttypes.TExecuteStatementResp(
            _DONE,
            handle,
            ttypes.TSparkDirectResults(
                operationStatus=done, resultSetMetadata=_describe(table), resultSet=self._fetch(handle, DIRECT_ROWS)
            ),
        )

    def FetchResults(self, request: Any) -> Any:
        return self._fetch(request.operationHandle, request.maxRows)

    def CloseOperation(self, request: Any) -> Any:
        self.results.pop(request.operationHandle.operationId.guid, None)
        return ttypes.TCloseOperationResp(status=_DONE)

    def _name(self) -> Any:
        return ttypes.THandleIdentifier(next(self._numbers).to_bytes(16), bytes(16))

    def _fetch(self, handle: Any, most: int) -> Any:
        table, start = self.results[handle.operationId.guid]
        part = table.slice(start, most)
        self.results[handle.operationId.guid] = table, start + part.num_rows
        batches = [ttypes.TSparkArrowBatch(each.serialize().to_pybytes(), each.num_rows) for each in part.to_batches()]
        rows = ttypes.TRowSet(startRowOffset=start, rows=[], arrowBatches=batches)
        return ttypes.TFetchResultsResp(_DONE, start + part.num_rows < table.num_rows, rows, _describe(table))

    def _run(self, statement: str, params: list[Any]) -> pa.Table:
        self.statements.append(statement)
        for beginning, words in self.refusals.items():
            if statement.startswith(beginning):
                raise Refused(words)
        if len(params) > 255 or sum(len(each.value.stringValue.encode()) for each in params if each.value) > 1_000_000:
            raise Refused("[PARAMETERS_TOO_LARGE] The parameters exceed a limit. SQLSTATE: 54000")
        given = {each.name: _read_param(each) for each in params}
        if statement.startswith("INSERT"):  # Sail binds none in a command
            statement = re.sub(r":(\w+)", lambda found: write_text(given[found[1]]), statement)
            given = {}
        from pyspark.sql.connect.functions import lit
        from pyspark.sql.connect.plan import SQL, CachedRelation

        asked = SQL(statement, named_args={name: lit(value) for name, value in given.items()})
        _, properties, _ = self.client.execute_command(asked.command(self.client))  # runs it unless it is a query
        answer = properties.get("sql_command_result")
        plan = asked if answer is None else CachedRelation(answer)
        table, _, _ = self.client.to_table(plan.to_proto(self.client), {})
        return _write_plainly(table)


def _read_param(param: Any) -> Any:
    if param.value is None or param.type == "VOID":
        return None
    name = param.type.partition("(")[0]
    return (Decimal if name == "DECIMAL" else _READ.get(name, int))(param.value.stringValue)


def _write_plainly(table: pa.Table) -> pa.Table:
    """Give the table with the types that the protocol has."""
    wide = {pa.large_string(): pa.string(), pa.string_view(): pa.string(), pa.large_binary(): pa.binary()}
    kinds = [pa.field(each.name, wide.get(each.type, each.type)) for each in table.schema]
    return table.cast(pa.schema(kinds))


def _describe(table: pa.Table) -> Any:
    columns = []
    for position, column in enumerate(table.schema, start=1):
        name = next(name for fits, name in _TYPES if fits(column.type))
        qualifiers = None
        if name == "DECIMAL":
            numbers = {"precision": column.type.precision, "scale": column.type.scale}
            written = {key: ttypes.TTypeQualifierValue(i32Value=value) for key, value in numbers.items()}
            qualifiers = ttypes.TTypeQualifiers(written)
        entry = ttypes.TPrimitiveTypeEntry(getattr(ttypes.TTypeId, f"{name}_TYPE"), qualifiers)
        columns.append(ttypes.TColumnDesc(column.name, ttypes.TTypeDesc([ttypes.TTypeEntry(entry)]), position))
    return ttypes.TGetResultSetMetadataResp(
        status=_DONE,
        schema=ttypes.TTableSchema(columns),
        resultFormat=ttypes.TSparkRowSetType.ARROW_BASED_SET,
        lz4Compressed=False,
        arrowSchema=table.schema.serialize().to_pybytes(),
    )


@contextmanager
def serve(client: "SparkConnectClient", token: str) -> Iterator[tuple[str, Service]]:
    """Serve on loopback until the block ends, to whoever has the token; give the address, and what it was asked."""
    service = Service(client)
    processor = TCLIService.Processor(service)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = TMemoryBuffer(self.rfile.read(int(self.headers["Content-Length"])))
            answered = TMemoryBuffer()
            is_known = self.headers["Authorization"] == f"Bearer {token}"
            if is_known:
                try:
                    processor.process(TBinaryProtocol(asked), TBinaryProtocol(answered))
                except TTransportException:
                    self.close_connection = True
                    return
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Type", "application/x-thrift")
            self.send_header("Content-Length", str(len(answered.getvalue())))
            self.end_headers()
            self.wfile.write(answered.getvalue())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/sql/1.0/warehouses/1", service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Warehouse:
    """An emulated warehouse that runs."""

    folder: Path
    url: str
    options: Mapping[str, object]
    execute: Callable[[str], object]
    """Runs one statement in Sail."""
    service: Service

    def make_schema(self, name: str) -> None:
        self.execute(f"CREATE DATABASE {name} LOCATION '{self.folder}/{name}'")


@contextmanager
def start(folder: Path) -> Iterator[Warehouse]:
    """Start Sail in an empty folder, and what stands before it."""
    with ExitStack() as stack:
        started = stack.enter_context(sail.start(folder))
        from pyspark.sql.connect.client import SparkConnectClient  # not before: see `_spark.connect`

        client = stack.enter_context(closing(SparkConnectClient(started.url)))
        uri, service = stack.enter_context(serve(client, TOKEN))
        options = {"_connection_uri": uri, "access_token": TOKEN, "enable_telemetry": False}
        url = "databricks://localhost?http_path=/sql/1.0/warehouses/1"
        yield Warehouse(folder, url, options, started.execute, service)
