import pytest

from tests.support.states import StateFixture


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path) -> str:
    """A state's URL; nothing is there yet. Whatever uses it is a conformance test: both databases must pass."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/.reconcile/state.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def state(url: str) -> StateFixture:
    return StateFixture(url)


@pytest.fixture
def sqlite_state(tmp_path) -> StateFixture:
    return StateFixture(f"sqlite:///{tmp_path}/.reconcile/state.db")
