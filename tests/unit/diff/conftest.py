"""Fixtures of this room."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.fakes.arrow_streams import AnyStage, Stage, open_stage

if TYPE_CHECKING:
    from tests.fakes.postgres_worlds import ServerStage
    from tests.support.postgres import Postgres


@pytest.fixture(scope="module")
def local_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A set engine for one file of tests, which compares here: for what is never done anywhere else."""
    with open_stage(tmp_path_factory.mktemp("spill")) as stage:
        yield stage


@pytest.fixture(scope="module")
def server_stage(postgres_server: "Postgres", tmp_path_factory: pytest.TempPathFactory) -> "Iterator[ServerStage]":
    """A set engine for one file of tests, which has a PostgreSQL compare."""
    from tests.fakes.postgres_worlds import open_server_stage

    name = postgres_server.make_database()
    with open_server_stage(postgres_server.url(name), tmp_path_factory.mktemp("spill")) as stage:
        yield stage
    postgres_server.drop_database(name)


@pytest.fixture(scope="module", params=["local_stage", "server_stage"])
def stage(request: pytest.FixtureRequest) -> AnyStage:
    """Either. Whatever uses it is a conformance test: both ways must pass."""
    stage: AnyStage = request.getfixturevalue(request.param)
    return stage
