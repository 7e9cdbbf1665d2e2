"""ClickHouse over HTTP: the real engine behind an *emulated* server, which speaks what the driver needs."""

import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.warehouses.engine import Started
from tests.warehouses.engines import clickhouse

PASSWORD, ENCODED = "p@ss:w/rd?#%1", "p%40ss%3Aw%2Frd%3F%23%251"
DENIED = "Code: 516. DB::Exception: reader: Authentication failed: password is incorrect. (AUTHENTICATION_FAILED)"


class Handler(BaseHTTPRequestHandler):
    """Answers a query in chunks; an error behind the first of them stands in the body, as ClickHouse writes it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        settings = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if self.headers.get("Authorization") != self.server.authorization:
            return self.answer(403, DENIED, 516)
        params = {
            name.removeprefix("param_"): None if text == "\\N" else text
            for name, text in settings.items()
            if name.startswith("param_")
        }
        passed = ("output_format_arrow", "readonly")
        chosen = {name: text for name, text in settings.items() if name.startswith(passed)}
        try:
            with ExitStack() as stack:
                stream = self.run(stack, body or settings["query"], params or None, chosen)
                first = stream.read(65536)
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                data = first
                while data:
                    self.write(data)
                    data = self.read_on(stream)
                self.write(b"")
        except OSError:  # nobody listens any more
            self.close_connection = True
        except Exception as error:
            self.answer(500, str(error), 1)

    do_GET = do_POST

    def run(self, stack: ExitStack, query: str, params: dict[str, Any] | None, chosen: dict[str, str]) -> Any:
        """Run a query. The engine in the process streams Arrow alone; each of its clients has one stream."""
        server: Any = self.server
        if query.rstrip().endswith("ArrowStream"):
            client = stack.enter_context(closing(server.connect()))
            return stack.enter_context(closing(client.raw_stream(query, params, chosen)))
        chosen.pop("readonly", None)  # the one client that all share would keep it
        with server.lock:
            return BytesIO(server.client.raw_query(query, params, chosen))

    def read_on(self, stream: Any) -> bytes:
        try:
            return bytes(stream.read(65536))
        except Exception as error:
            self.write(str(error).encode())
            return b""

    def write(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def answer(self, status: int, text: str, code: int) -> None:
        self.send_response(status)
        self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def start(folder: Path) -> Iterator[Started]:
    """Open a database in the folder, and serve it on a port of 127.0.0.1."""
    # What is read with a setting leaves it in its client, so the tests have another one.
    with closing(clickhouse.connect(folder)) as client, closing(clickhouse.connect(folder)) as reader:
        server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads, server.lock, server.client = True, threading.Lock(), reader
        server.connect = lambda: clickhouse.connect(folder)
        server.authorization = "Basic " + b64encode(f"reader:{PASSWORD}".encode()).decode()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = "clickhousedb://reader:{}@127.0.0.1:{}/default"
        try:
            yield Started(
                url=url.format(ENCODED, server.server_port),
                execute=client.command,
                wrong_password=url.format("wr0ng-%40secret", server.server_port),
                unreachable=url.format(ENCODED, 1),
            )
        finally:
            server.shutdown()
            server.server_close()


ENGINE = replace(clickhouse.ENGINE, name="ClickHouse over HTTP", start=start, emulated=True, lacks={})
