"""kill -9 of real processes, a quick share of `python -m benchmarks.reliability kill` (see docs/reliability.md)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.reliability.kill import besiege, sqlite_state
from tests.support.postgres import Postgres


def test_processes_killed_at_random_moments_forget_nothing() -> None:
    score = besiege(10, sqlite_state, seed=20261121, crowd=3000)
    assert score.violations == []
    assert score.checks > 3


def test_processes_killed_at_random_moments_forget_nothing_over_postgresql(postgres_server: Postgres) -> None:
    @contextmanager
    def fresh_state(_folder: Path) -> Iterator[str]:
        name = postgres_server.make_database()
        yield postgres_server.url(name)
        postgres_server.drop_database(name)

    score = besiege(4, fresh_state, seed=7, crowd=3000)
    assert score.violations == []
    assert score.checks > 0
