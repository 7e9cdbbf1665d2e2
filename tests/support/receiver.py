"""A server of somebody else on this machine: it keeps what is posted to it, and answers as it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Receiver:
    """`answers` are the statuses of the next answers, then 200; None: none comes until it is closed.

    `posted` has the path and the body of each request, `agents` who sent it.
    """

    url: str = ""
    answers: list[int | None] = field(default_factory=list)
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)
    posted: list[tuple[str, bytes]] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver for a block, on a port of its own."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with receiver.lock:
                receiver.posted.append((self.path, body))
                receiver.agents.append(self.headers["User-Agent"])
                status = receiver.answers.pop(0) if receiver.answers else 200
            if status is None:
                receiver.closed.wait()
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(receiver.body)))
            self.end_headers()
            self.wfile.write(receiver.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.closed.set()
        server.shutdown()
        server.server_close()
        thread.join()
