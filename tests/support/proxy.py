"""A TCP proxy on loopback before a server, that can stop forwarding while it keeps every connection."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Proxy:
    """Forwards to a Unix socket while `flows` is set; a connection made meanwhile is accepted, and waits."""

    port: int
    flows: threading.Event = field(default_factory=threading.Event)

    def stand_still(self) -> None:
        self.flows.clear()

    def go_on(self) -> None:
        self.flows.set()


@contextmanager
def run_proxy(target: Path) -> Iterator[Proxy]:
    """Run a proxy for a block."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        proxy = Proxy(listener.getsockname()[1])
        proxy.go_on()
        thread = threading.Thread(target=_accept, args=(listener, target, proxy.flows), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.go_on()
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, target: Path, flows: threading.Event) -> None:
    with suppress(OSError):
        while True:
            front, _ = listener.accept()
            back = socket.socket(socket.AF_UNIX)
            back.connect(str(target))
            for one, other in ((front, back), (back, front)):
                threading.Thread(target=_forward, args=(one, other, flows), daemon=True).start()


def _forward(one: socket.socket, other: socket.socket, flows: threading.Event) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            flows.wait()
            other.sendall(data)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
