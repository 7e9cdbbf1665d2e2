"""A place before a server where a test sees what a client asks, and can hold or cut what follows."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress


@contextmanager
def stand_before(port: int, words: bytes, then: Callable[[], object], *, passes_on: bool) -> Iterator[int]:
    """Give a port that leads to another one of 127.0.0.1, until a client sends `words`: then no answer comes any more.

    `then` is called once, in a thread; what has the words is passed on before, or not at all. When it is done, nothing
    connects any more.
    """
    struck = threading.Event()
    lock = threading.Lock()
    sockets: list[socket.socket] = []

    def strike(data: bytes, server: socket.socket) -> None:
        with lock:
            if struck.is_set():
                return
            struck.set()
        if passes_on:
            server.sendall(data)
        then()
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def ask(client: socket.socket, server: socket.socket) -> None:
        seen = b""
        with suppress(OSError):
            while data := client.recv(65536):
                seen = seen[-len(words) :] + data
                if words in seen:
                    strike(data, server)
                    return
                server.sendall(data)

    def answer(client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if not struck.is_set():
                    client.sendall(data)

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while not struck.is_set():
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                sockets.extend((client, server))
                for work in (ask, answer):
                    threading.Thread(target=work, args=(client, server), daemon=True).start()

    with ExitStack() as stack:
        listener = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        sockets.append(listener)
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        for each in sockets:
            stack.enter_context(closing(each))
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
