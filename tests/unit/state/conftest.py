import pytest

from tests.support.states import Bench


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path) -> str:
    """A state's URL; nothing is there yet. Whatever uses it is a conformance test: both databases must pass."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/.reconcile/state.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def bench(url: str) -> Bench:
    return Bench(url)


@pytest.fixture
def sqlite_bench(tmp_path) -> Bench:
    return Bench(f"sqlite:///{tmp_path}/.reconcile/state.db")
