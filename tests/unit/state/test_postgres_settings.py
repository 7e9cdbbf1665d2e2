"""What a transaction relies on, whatever the role, the database or the server has set."""

from collections.abc import Iterator, Mapping

import pytest
from sqlalchemy import Connection, make_url, text

from reconciler.state import open_database, open_reader
from reconciler.state.postgres import STATEMENT_SECONDS
from tests.support.postgres import Postgres
from tests.support.states import ACKNOWLEDGED, StateFixture, add

OURS = f"{STATEMENT_SECONDS}s"

ROLE = {
    "synchronous_commit": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "statement_timeout": "2s",
    "lock_timeout": "1s",
    "idle_in_transaction_session_timeout": "1s",
    "transaction_timeout": "2s",
    "idle_session_timeout": "1s",
}
"""Of a role that somebody else has set up, for jobs of another kind."""

WRITES = {
    "synchronous_commit": "on",
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
    "statement_timeout": OURS,
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": OURS,
    "transaction_timeout": "0",
}
READS = {
    "transaction_isolation": "repeatable read",
    "transaction_read_only": "on",
    "statement_timeout": OURS,
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
}


@pytest.fixture
def state(postgres_url: str, postgres_server: Postgres) -> Iterator[StateFixture]:
    """A state with a role that has settings of its own."""
    set_for_role(postgres_server, postgres_url, ROLE)
    return StateFixture(postgres_url)


def set_for_role(server: Postgres, url: str, settings: Mapping[str, str]) -> None:
    database = make_url(url).database
    for name, value in settings.items():
        server.execute(f"ALTER ROLE postgres IN DATABASE \"{database}\" SET {name} = '{value}'")


def see(connection: Connection, names: Mapping[str, str]) -> dict[str, str]:
    return {name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in names}


def test_a_writing_transaction_has_our_settings_and_not_the_roles(state: StateFixture) -> None:
    with open_database(state.settings, state.clock) as database:
        with database.write() as connection:
            assert see(connection, WRITES) == WRITES
        with database.creating() as connection:
            assert see(connection, WRITES) == WRITES


def test_a_reading_transaction_has_our_settings_and_not_the_roles(state: StateFixture) -> None:
    state.send((add("a"), ACKNOWLEDGED))

    with open_database(state.settings, state.clock) as database, database.read() as connection:
        assert see(connection, READS) == READS
    with open_reader(state.settings, state.clock).read() as connection:
        assert connection is not None
        assert see(connection, READS) == READS


def test_nothing_of_it_outlives_the_transaction(state: StateFixture) -> None:
    """Behind a pooler the session is somebody else's next."""
    with open_database(state.settings, state.clock) as database:
        with database.write() as connection:
            session = connection.connection.dbapi_connection
            assert session is not None
        cursor = session.cursor()
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("off",)
        session.rollback()


@pytest.mark.parametrize(
    ("set_to", "seen"),
    [("off", "on"), ("local", "on"), ("remote_write", "on"), ("on", "on"), ("remote_apply", "remote_apply")],
)
def test_an_intent_is_on_the_disk_of_a_standby_too(
    postgres_url: str, postgres_server: Postgres, set_to: str, seen: str
) -> None:
    set_for_role(postgres_server, postgres_url, {"synchronous_commit": set_to})
    state = StateFixture(postgres_url)

    with open_database(state.settings, state.clock) as database, database.write() as connection:
        assert see(connection, {"synchronous_commit": ""}) == {"synchronous_commit": seen}


def test_nothing_is_prepared_as_behind_a_pooler_the_next_transaction_has_another_session(state: StateFixture) -> None:
    state.send((add("a"), ACKNOWLEDGED))

    with open_database(state.settings, state.clock) as database:
        for number in range(20):
            with database.write() as connection:
                connection.execute(text("SELECT CAST(:number AS int)"), {"number": number})
        with database.read() as connection:
            prepared = connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one()

    assert prepared == 0
