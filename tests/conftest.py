"""Fixtures that several packages of tests use."""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.support.postgres import Postgres


SHARED_MEMORY = Path("/dev/shm")
MOST_BYTES = 4 * 2**30
"""More than the files of all tests take at once: measured, 0.4 GB."""

if "TMPDIR" not in os.environ and SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > MOST_BYTES:
    # No test depends on a disk. On one, creating and deleting files took a tenth of the time of all tests.
    os.environ["TMPDIR"] = str(SHARED_MEMORY)
    tempfile.tempdir = None  # pytest may have asked before

# No test trusts the authorities of the system, and reading their certificates takes 20 ms, in each run anew.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("unit") / "customerio/localhost.pem")

# No test depends on the width of the terminal that it is started from.
os.environ.pop("COLUMNS", None)

# Where the tests run under `nohup`, the processes that they start would ignore a hangup, too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A loaded machine is slow, so no test asserts a duration, nor does Hypothesis. What draws at random draws the same each
# time; the profile `random` (`make test-random`) explores, and what it finds becomes an @example.
SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("reconcile", derandomize=True, **SLOW)
settings.register_profile("random", print_blob=True, **SLOW)
settings.load_profile("reconcile")


LONGEST = ("tests/reliability", "tests/e2e/test_state_server.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a PostgreSQL with `server`: by its fixtures, or by a parameter that names one.

    The longest tests come first, so that none of them is the last to end.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
    for item in items:
        parameters = item.callspec.id if hasattr(item, "callspec") else ""
        names = getattr(item, "fixturenames", ())
        if "postgres_server" in names or "postgres" in parameters or "server_comparer" in parameters:
            item.add_marker(pytest.mark.server)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector pass over what stays until the end: the modules and thousands of tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator["Postgres"]:
    """A PostgreSQL server: started when a test first asks, one per worker, stopped at the end."""
    from tests.support.postgres import run_postgres

    if request.config.getoption("markexpr") == "not server":
        pytest.fail("a test that is not marked `server` starts a PostgreSQL")
    with run_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: "Postgres") -> Iterator[str]:
    """The SQLAlchemy URL of a fresh database."""
    name = postgres_server.make_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)
