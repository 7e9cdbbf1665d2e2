"""The bytes of a connection: every read and write ends by the deadline, and no byte answers another request.

httpcore keeps what it has read beyond the end of an answer, and takes it for the beginning of the next one. So it is
never given a byte beyond the end of an answer: what is left stays here, where it can be seen.
"""

import errno
import math
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from reconciler.customerio.proxy import Proxy

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


PIECE_BYTES = 65536
"""Bytes read or written at once."""

IDLE_SECONDS = 5.0
"""How long an unused connection is kept. Short: one that the server has just closed makes an outcome unknown."""

LEAST_SECONDS = 0.001
"""Shortest time-out: 0 would mean not to wait at all."""

BLANK_LINE = re.compile(rb"\n\r?\n")
"""What ends a head, and a chunked body."""

INTERIM = re.compile(rb"\A(?:HTTP/1\.[01] 1[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n)*")
"""Whole interim answers, such as 100 Continue."""

HTTPCORE_FAILURES = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)
"""The bases of what httpcore raises. httpx has an error of the same name for each class below them."""


class Deadline(threading.local):
    """When the attempt that this thread is making must be over.

    httpx times each read by itself: a server that trickles could hold it for ever.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._at = math.inf

    def set(self, at: float) -> None:
        """`at`: by `clock`."""
        self._at = at

    @property
    def is_over(self) -> bool:
        return self.clock() >= self._at

    def cap(self, timeout: float | None) -> float:
        """Shorten a time-out to what is left."""
        left = max(self._at - self.clock(), LEAST_SECONDS)
        return left if timeout is None else min(timeout, left)


class Stream(httpcore.NetworkStream):
    """One connection, or the TLS on it.

    What is handed on ends at a blank line, or at the end of a body of known length. So nothing that follows an
    answer has been handed on when the answer is whole.
    """

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline, *, is_http: bool = True) -> None:
        self._inner = inner
        self._deadline = deadline
        self._is_http = is_http
        self._arrived = b""
        """Read, and not handed on yet."""
        self._tail = b""
        """The last two bytes that were handed on: a blank line may begin in them."""
        self._body_left: int | None = None
        self._is_idle = True
        """Nothing of the next request has left."""
        self._used_at = deadline.clock()
        self.came_early = False
        """A final answer began before the request had left whole."""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._is_idle = True
        if not self._arrived:
            if self._deadline.is_over:
                raise httpcore.ReadTimeout
            self._arrived = self._inner.read(max_bytes, self._deadline.cap(timeout))
        self._used_at = self._deadline.clock()
        size = len(self._arrived)
        if self._body_left is not None:
            size = min(self._body_left, size)
            self._body_left -= size
        elif self._is_http:
            seen = self._tail + self._arrived
            blank = BLANK_LINE.search(seen)
            if blank is None:
                self._tail = seen[-2:]
            else:
                size, self._tail = blank.end() - len(self._tail), b""
        piece, self._arrived = self._arrived[:size], self._arrived[size:]
        return piece

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), PIECE_BYTES):
            if self._deadline.is_over:
                raise httpcore.WriteTimeout
            if self._is_idle:
                if self._peek() is not None:
                    raise httpcore.ConnectError  # what has come by now answers no request: this one is not sent
                self._is_idle, self.came_early, self._tail, self._body_left = False, False, b"", None
            elif not self.came_early:
                answer = INTERIM.sub(b"", self._peek() or b"", count=1)  # interim answers may come before the final one
                self.came_early = bool(answer) and not answer.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1"))
            self._inner.write(buffer[start : start + PIECE_BYTES], self._deadline.cap(timeout))

    def _peek(self) -> bytes | None:
        """Return what has come, without waiting. None: nothing; empty: the peer has closed."""
        if self._arrived:
            return self._arrived
        if not self._inner.get_extra_info("is_readable"):
            return None
        try:
            self._arrived = self._inner.read(PIECE_BYTES, 0)
        except (httpcore.ReadError, httpcore.ReadTimeout):
            return None  # it was about the TLS itself, or the connection is broken, which the next write shows
        return self._arrived

    def expect(self, length: int | None) -> None:
        """Set the length of the body that comes now; None: it ends in another way."""
        self._body_left = length

    def has_more(self) -> bool:
        """Return whether anything follows the answer. Then the connection is not used again."""
        return bool(self._peek())

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "Stream":
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.cap(timeout))
        return Stream(inner, self._deadline)

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        """Ask about the connection. httpcore does not use one again that is readable while it is idle."""
        if info == "is_readable":
            is_old = self._deadline.clock() - self._used_at > IDLE_SECONDS
            if self._arrived or self.came_early or is_old:
                return True
        return self._inner.get_extra_info(info)


class Backend(httpcore.NetworkBackend):
    """Opens connections: to a proxy if there is one."""

    def __init__(self, deadline: Deadline, proxy: Proxy | None, resolver: Resolver) -> None:
        self._inner = httpcore.SyncBackend()
        self._deadline = deadline
        self._proxy = proxy
        self._resolver = resolver

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Stream:
        # RFC 6761: such a name is this machine, whatever DNS says.
        name = "localhost" if host.lower().removesuffix(".").endswith(".localhost") else host
        try:
            inner = self._connect(name, port, timeout, local_address, socket_options)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            if self._proxy is None:
                raise
            raise httpcore.ProxyError from error
        return Stream(inner, self._deadline, is_http=self._proxy is None or not self._proxy.is_socks)

    def _connect(
        self, name: str, port: int, timeout: float | None, local_address: str | None, options: Iterable[Any] | None
    ) -> httpcore.NetworkStream:
        """Connect to the first address of a name that accepts. Raises httpcore's ConnectError, ConnectTimeout."""
        addresses = self._resolver.find(name, port, self._deadline.cap(timeout))
        for address in addresses[:-1]:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return self._inner.connect_tcp(address, port, self._deadline.cap(timeout), local_address, options)
        return self._inner.connect_tcp(addresses[-1], port, self._deadline.cap(timeout), local_address, options)


class PoolTransport(httpx.BaseTransport):
    """Carries httpx's requests over a pool of httpcore's, of one connection."""

    def __init__(self, tls: ssl.SSLContext, deadline: Deadline, proxy: Proxy | None, resolver: Resolver) -> None:
        backend = Backend(deadline, proxy, resolver)
        self._pool: httpcore.ConnectionPool
        if proxy is None:
            self._pool = httpcore.ConnectionPool(tls, max_connections=1, network_backend=backend)
            return
        url = httpcore.URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target="/")
        if proxy.is_socks:
            self._pool = httpcore.SOCKSProxy(url, proxy.auth, tls, max_connections=1, network_backend=backend)
        else:
            to_proxy = tls if proxy.scheme == "https" else None
            self._pool = httpcore.HTTPProxy(
                url, proxy.auth, ssl_context=tls, proxy_ssl_context=to_proxy, max_connections=1, network_backend=backend
            )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _httpx_errors():
            try:
                answer = self._pool.handle_request(asked)
            except BaseException:
                # A tunnel in which TLS has failed would keep the only place: every later request would wait for it.
                for connection in self._pool.connections:
                    connection.close()
                raise
        return httpx.Response(answer.status, headers=answer.headers, stream=Body(answer), extensions=answer.extensions)

    def close(self) -> None:
        self._pool.close()


@dataclass(eq=False, repr=False)
class Body(httpx.SyncByteStream):
    """The body of an answer, as it comes."""

    _answer: httpcore.Response

    def __iter__(self) -> Iterator[bytes]:
        with _httpx_errors():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


@contextmanager
def _httpx_errors() -> Iterator[None]:
    try:
        yield
    except HTTPCORE_FAILURES as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error
