"""The connection to a PostgreSQL: psycopg's, but it waits for an answer no longer than a while.

A server whose process stands still, or a proxy that forwards nothing any more, keeps its TCP connection alive: neither
keepalives nor time-outs of the server itself end such a wait.
"""

from time import monotonic
from typing import Any

import psycopg

CONNECT_SECONDS = 10

STATEMENT_SECONDS = 20
"""The server ends a statement of ours after so long: a lease lasts three times as long."""

ANSWER_SECONDS = 25
"""An answer that is not there by then comes no more. Longer than the server's own limit: its words say more."""

LIBPQ = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": ANSWER_SECONDS * 1000,
    "client_encoding": "utf8",
}
"""For a server that vanished, and for a database that is not in UTF-8. What the URL says goes before."""


class Connection(psycopg.Connection[Any]):
    """A connection that is closed when an answer stays away; the statement then fails with OperationalError."""

    def wait(self, gen: Any, *options: Any, **more: Any) -> Any:
        """As psycopg's: every exchange with the server comes through here."""
        return super().wait(self._within(gen, ANSWER_SECONDS), *options, **more)

    def _within(self, exchange: Any, seconds: float) -> Any:
        """Pass an exchange on; psycopg wakes it up several times a second."""
        deadline = monotonic() + seconds
        try:
            wanted = next(exchange)
            while True:
                ready = yield wanted
                if not ready and monotonic() > deadline:
                    self.close()
                    raise psycopg.OperationalError(f"the server has not answered for {seconds:g} seconds")
                wanted = exchange.send(ready)
        except StopIteration as end:
            return end.value


def connect(*arguments: Any, **options: Any) -> Connection:
    """Connect as psycopg does, but prepare nothing: behind a pooler each transaction may meet another session."""
    return Connection.connect(*arguments, **{**LIBPQ, "prepare_threshold": None, **options})
