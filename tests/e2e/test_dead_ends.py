"""An outage, or a wrong key, is met once a workspace, source or state, and told once; attempts are counted here."""

import errno
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import httpcore
import psycopg
import pytest

from reconciler.sandbox.faults import answers, drops
from reconciler.sandbox.http import Api, Call
from reconciler.state.postgres import TimedConnection
from tests.support.project import Project, people, segment

MANY = 24
NAMES = [f"s{number:02}" for number in range(1, MANY + 1)]

pytestmark = pytest.mark.slow


class Network:
    """Counts the connections that are tried; once it is cut, none is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried = 0
        self.is_cut = False
        connect = httpcore.SyncBackend.connect_tcp

        def connect_tcp(backend: httpcore.SyncBackend, *given: Any, **more: Any) -> httpcore.NetworkStream:
            self.tried += 1
            if self.is_cut:
                try:
                    raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
                except OSError as error:
                    raise httpcore.ConnectError from error
            return connect(backend, *given, **more)

        monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect_tcp)
        monkeypatch.setattr("reconciler.customerio.retry.BASE_SECONDS", 0.001)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


@pytest.fixture
def many(project: Project) -> Project:
    """Many segments with two people each, in a state that knows their workspace."""
    for at, name in enumerate(NAMES):
        project.sandbox.create_segment(name, id=100 + at)
    project.want("vip", people(1, 2))
    project.write({name: segment(100 + at, "vip") for at, name in enumerate(NAMES)}, destination="concurrency: 2")
    return project


def told(done_err: str, cause: str) -> str:
    """The one line of stderr with a cause."""
    (line,) = [line for line in done_err.splitlines() if cause in line]
    return line


def settle_all(project: Project) -> None:
    """Run once more without trouble: everybody is in, and nobody was sent twice without need."""
    project.sandbox.faults.clear()
    assert project.run("apply", "spec.yaml").code == 0
    for at in range(MANY):
        assert project.sandbox.members(100 + at) == set(people(1, 2))


def test_many_segments_without_customerio_are_done_after_five_connections_to_each_api(
    many: Project, network: Network
) -> None:
    network.is_cut = True

    done = many.run("apply", "spec.yaml")

    assert (done.code, network.tried) == (1, 5 + 5)
    cause = "the Track API at 127.0.0.1:"
    assert told(done.err, cause).startswith(f"error: {MANY} segments: {cause}")
    assert re.search(rf"✗ {MANY} segments failed: {cause}\d+: no connection\s+\(Connection refused\)", done.out)
    assert len(done.out.splitlines()) < 24, "it fits a screen"


@pytest.mark.parametrize("parallel", ["1", "4"])
def test_keys_that_are_revoked_in_mid_run_are_met_once(many: Project, parallel: str) -> None:
    many.sandbox.inject(answers(401, path="*add_customers", skip=3, times=None))

    done = many.json("apply", "--parallel", parallel)

    statuses = [each["status"] for each in done.segments.values()]
    assert (statuses.count("applied"), statuses.count("failed"), done.code) == (3, MANY - 3, 6)
    refused = [call for call in many.sandbox.calls if call.path.endswith("add_customers")]
    assert len(refused) - 3 <= int(parallel), "those on their way at that moment"
    errors = {(each["error"]["code"], each["error"]["message"]) for each in done.segments.values() if each["error"]}
    assert errors == {("destination", "the Track API does not accept the credentials (401)")}
    assert f"error: {MANY - 3} segments: the Track API does not" in told(done.err, "does not accept the credentials")
    assert {row["unsettled"] for row in many.json("status").segments.values()} <= {0, None}
    settle_all(many)


@pytest.mark.parametrize("parallel", ["1", "4"])
def test_a_host_that_dies_in_mid_run_leaves_what_was_on_its_way_unsettled_and_the_rest_untouched(
    many: Project, network: Network, parallel: str
) -> None:
    sent: list[Call] = []

    def die(call: Call) -> None:
        if call.path.endswith("add_customers"):
            sent.append(call)
            network.is_cut = network.is_cut or len(sent) == 4

    many.sandbox.on_arrival(die)
    many.sandbox.inject(drops(path="*add_customers", skip=3, times=None))

    done = many.json("apply", "--parallel", parallel)

    unsettled = [row for row in done.segments.values() if row["unsettled"]]
    assert 1 <= len(unsettled) <= int(parallel)
    assert {row["status"] for row in unsettled} == {"partial"}
    assert {row["status"] for row in done.segments.values()} == {"applied", "partial", "failed"}
    assert network.tried < 4 * 5 * int(parallel) + 10
    assert len({row["error"]["message"] for row in done.segments.values() if row["status"] == "failed"}) == 1
    network.is_cut = False
    settle_all(many)


@pytest.mark.parametrize("command", ["drift", "refresh"])
def test_what_reads_forty_segments_meets_a_refused_app_key_once(many: Project, command: str) -> None:
    assert many.run("apply", "spec.yaml").code == 0
    many.sandbox.reset_calls()
    many.sandbox.inject(answers(401, api=Api.APP, path="*customer_count", times=None))

    done = many.json(command, *(["--yes"] if command == "refresh" else []))

    assert {row["status"] for row in done.segments.values()} == {"failed"}
    assert len([call for call in many.sandbox.calls if call.path.endswith("customer_count")]) <= 4
    assert f"error: {MANY} segments: the App API does not" in told(done.err, "does not accept the credentials")


def test_a_read_back_that_finds_no_app_api_fails_alike_for_all(many: Project, network: Network) -> None:
    def cut(call: Call) -> bool:
        network.is_cut = network.is_cut or call.path.endswith("customer_count")
        return False

    many.sandbox.on_arrival(cut)
    many.sandbox.inject(drops(path="*customer_count", times=None))

    done = many.json("apply", "--confirm", "--parallel", "4")

    assert done.code == 6
    messages = {row["error"]["message"] for row in done.segments.values() if row["error"]}
    assert len([each for each in messages if "the App API at" in each]) == 1
    network.is_cut = False
    settle_all(many)


def test_a_plan_goes_on_without_an_app_api_and_asks_once(many: Project, network: Network) -> None:
    network.is_cut = True
    done = many.run("plan", "spec.yaml")
    assert (done.code, network.tried) == (0, 5)
    assert done.err.count("no connection") == 1


@pytest.mark.parametrize("words", ["drift", "refresh --yes", "validate --connect"])
def test_what_cannot_read_says_so_once(many: Project, network: Network, words: str) -> None:
    network.is_cut = True
    command, *flags = words.split()
    done = many.run(command, "spec.yaml", *flags)
    assert (done.code, done.out.count("no connection")) == (1, 1)
    assert done.err.count("no connection") == (0 if command == "validate" else 1)
    assert network.tried <= 6, "one more to ask for the environment"


# --- the source, the state ----------------------------------------------------------------------------------------


def test_a_warehouse_that_is_away_is_met_once(many: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    connect = psycopg.connect
    monkeypatch.setattr(psycopg, "connect", lambda *given, **more: tried.append("once") or connect(*given, **more))
    write = many.spec.read_text()
    many.spec.write_text(write.replace("sqlite:///warehouse.db", f"postgresql://me:hunter2@/db?host={tmp_path}"))

    for command in ("plan", "apply"):
        tried.clear()
        done = many.run(command, "spec.yaml", "--parallel", "8")
        assert (done.code, len(tried) <= 2) == (1, True), "two connections at a time"
        assert f"error: {MANY} segments: spec.yaml: source warehouse: " in told(done.err, "source warehouse")
        assert "hunter2" not in done.out + done.err


class StateServer:
    """Counts the connections to a state in a PostgreSQL; once it is cut, none is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried = 0
        self.is_cut = False
        connect = TimedConnection.connect

        def count(*given: Any, **more: Any) -> Any:
            self.tried += 1
            if self.is_cut:
                raise psycopg.OperationalError("connection to server failed: Connection refused")
            return connect(*given, **more)

        monkeypatch.setattr(TimedConnection, "connect", count)


@pytest.mark.parametrize("command", ["plan", "apply", "drift", "refresh --yes", "status"])
def test_a_state_that_is_away_is_met_once(many: Project, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    server = StateServer(monkeypatch)
    server.is_cut = True
    many.spec.write_text(many.spec.read_text() + "state: {url: 'postgresql://me:hunter2@db.example/state'}\n")
    name, *flags = command.split()

    done = many.run(name, "spec.yaml", *flags)

    assert done.code == 1
    assert server.tried <= 4, "by the readers and the writer"
    assert done.out.count("can't be reached") == 1
    assert done.err.count("can't be reached") == (0 if name == "status" else 1)


def test_a_state_that_goes_away_in_mid_run_is_told_once_and_nothing_is_lost(
    many: Project, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, sent = StateServer(monkeypatch), list[Call]()
    many.spec.write_text(many.spec.read_text() + f"state: {{url: '{postgres_url}'}}\n")

    def cut(call: Call) -> None:
        if not call.path.endswith("add_customers"):
            return
        sent.append(call)
        if len(sent) == 4:
            server.is_cut = True
            with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

    many.sandbox.on_arrival(cut)
    done = many.json("apply", "--parallel", "2")
    assert done.code == 6
    untouched = Counter(row["error"]["message"] for row in done.segments.values() if row["status"] == "failed")
    ((cause, number),) = untouched.most_common(1)  # others were just about to take their locks
    assert (number >= MANY - 6, "can't be reached" in cause) == (True, True)
    assert len(sent) <= 6

    server.is_cut = False
    for name, row in many.json("status").segments.items():
        if row["lock_holder"]:  # the lock could not be given back, and this process lives on
            assert many.run("state", "unlock", "spec.yaml", name, "--yes", "--force").code == 0
    settle_all(many)
