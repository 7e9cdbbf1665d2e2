"""Finding the addresses of a host's name, within a time."""

import errno
import socket
import threading
from concurrent.futures import Future, wait

import httpcore

Name = tuple[str, int]
"""A host and a port."""


class Resolver:
    """Asks the system for addresses, in threads of its own, as its call takes no time-out. Any number of threads may
    share one.

    A call that hangs is waited for by all that ask for the same name; nothing waits for its thread at the end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[Name, Future[list[str]]] = {}
        """What is being asked; an answer is not kept."""

    def find(self, host: str, port: int, seconds: float) -> list[str]:
        """Return the addresses of a host, in the system's order. Raises httpcore's ConnectError, ConnectTimeout."""
        name = host, port
        with self._lock:
            answer = self._asked.get(name)
            if answer is None:
                answer = self._asked[name] = Future()
                threading.Thread(target=self._ask, args=(name, answer), name="resolve", daemon=True).start()
        is_late = not wait([answer], seconds).done
        try:
            if is_late:
                raise TimeoutError(errno.ETIMEDOUT, "the address of its name was not found in time")
            return answer.result()
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error

    def _ask(self, name: Name, answer: Future[list[str]]) -> None:
        try:
            found = [_write(each[4]) for each in socket.getaddrinfo(*name, type=socket.SOCK_STREAM)]
        except Exception as error:
            self._end(name)
            answer.set_exception(error)
        else:
            self._end(name)
            answer.set_result(list(dict.fromkeys(found)))

    def _end(self, name: Name) -> None:
        with self._lock:
            del self._asked[name]


def _write(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> str:
    """Write an address as a host: one of a local network (IPv6) with its interface."""
    host = str(address[0])
    return f"{host}%{address[3]}" if len(address) == 4 and address[3] else host
