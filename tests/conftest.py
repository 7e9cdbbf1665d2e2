"""Fixtures that several rooms use."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.postgres import Postgres


# A loaded machine is slow: no test asserts a duration.
settings.register_profile("reconcile", deadline=None)
settings.load_profile("reconcile")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator["Postgres"]:
    """A PostgreSQL server: started when a test first asks, one per worker, stopped at the end."""
    from tests.support.postgres import run_postgres

    with run_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: "Postgres") -> Iterator[str]:
    """The SQLAlchemy URL of a fresh database."""
    name = postgres_server.make_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)
