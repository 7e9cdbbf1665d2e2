"""Fixtures of these tests."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import duckdb
import pytest

from tests.fakes.arrow_streams import AnyComparer, LocalComparer, open_local_comparer
from tests.fakes.members_worlds import ROWS, MembersComparer, select_rows
from tests.fakes.set_model import World
from tests.support.members_in_duckdb import open_members

if TYPE_CHECKING:
    from tests.fakes.postgres_worlds import ServerComparer
    from tests.support.postgres import Postgres


@pytest.fixture(scope="module")
def local_comparer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalComparer]:
    """A set engine for one file of tests, which compares here: for what is never done anywhere else."""
    with open_local_comparer(tmp_path_factory.mktemp("spill")) as comparer:
        yield comparer


@pytest.fixture(scope="module")
def server_comparer(
    postgres_server: "Postgres", tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[ServerComparer]":
    """A set engine for one file of tests, which has a PostgreSQL compare."""
    from tests.fakes.postgres_worlds import open_server_comparer

    name = postgres_server.make_database()
    with open_server_comparer(postgres_server.url(name), tmp_path_factory.mktemp("spill")) as comparer:
        yield comparer
    postgres_server.drop_database(name)


@pytest.fixture(scope="module")
def few_comparer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalComparer]:
    """A set engine for one file of tests, which compares in Python's sets."""
    with open_local_comparer(tmp_path_factory.mktemp("spill"), few=5_000) as comparer:
        yield comparer


@pytest.fixture(scope="module")
def bucketed_comparer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalComparer]:
    """A set engine for one file of tests, which compares bucket by bucket before it joins."""
    with open_local_comparer(tmp_path_factory.mktemp("spill"), bucketed_from=0) as comparer:
        yield comparer


@pytest.fixture(scope="module")
def members_comparer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MembersComparer]:
    """A set engine for one file of tests, which has a DuckDB compare by the text of members at the source."""
    with duckdb.connect(":memory:") as database:
        database.execute(ROWS)

        def write(number: int, world: World) -> None:
            columns = [value.text for value in world.values], [value.typed for value in world.values]
            insert = "INSERT INTO world_rows SELECT $1, unnest($2::VARCHAR[]), unnest($3::BOOLEAN[])"
            database.cursor().execute(insert, [number, *columns])

        members = open_members(database, select_rows)
        comparer = MembersComparer(members, write, tmp_path_factory.mktemp("spill"), database)
        with comparer.engine.keep():
            yield comparer


@pytest.fixture(scope="module")
def members_server_comparer(
    postgres_server: "Postgres", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MembersComparer]:
    """A set engine for one file of tests, which has a PostgreSQL compare by the text of members at the source."""
    from tests.fakes.postgres_worlds import open_members_comparer

    name = postgres_server.make_database()
    with open_members_comparer(postgres_server.url(name), tmp_path_factory.mktemp("spill")) as comparer:
        yield comparer
    postgres_server.drop_database(name)


@pytest.fixture(
    scope="module",
    params=["local_comparer", "bucketed_comparer", "few_comparer", "members_comparer", "server_comparer"],
)
def comparer(request: pytest.FixtureRequest) -> AnyComparer:
    """Any. Whatever uses it is a conformance test: all ways must pass."""
    comparer: AnyComparer = request.getfixturevalue(request.param)
    return comparer
