"""A state in a PostgreSQL that others have set up, and one that stops answering."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import make_url

from reconciler.sandbox.http import Call
from tests.support.postgres import Postgres
from tests.support.project import Project, Result, people, segment
from tests.support.proxy import Proxy, run_proxy

IMPATIENT = """
from reconciler.state import postgres
postgres.ANSWER_SECONDS = 1
postgres.LIBPQ["connect_timeout"] = 2
from reconciler.cli import main
main()
"""
"""`reconcile`, but it waits for the state less long."""

ROLE = {
    "synchronous_commit": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "statement_timeout": "5s",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "5s",
    "transaction_timeout": "5s",
    "idle_session_timeout": "5s",
}


@pytest.fixture
def eight(project: Project, postgres_url: str) -> Project:
    """Eight segments with their state in a PostgreSQL."""
    for number in range(8):
        project.sandbox.create_segment(f"Segment {number}", id=100 + number)
        project.want(f"s{number}", people(*range(number, number + 50)))
    segments = {f"s{number}": segment(100 + number, f"s{number}") for number in range(8)}
    project.write(segments, more=f"state: {{url: '{postgres_url}'}}\n")
    return project


def test_a_role_with_settings_for_other_jobs_is_good_for_eight_segments_at_once(
    eight: Project, postgres_server: Postgres, postgres_url: str
) -> None:
    database = make_url(postgres_url).database
    for name, value in ROLE.items():
        postgres_server.execute(f"ALTER ROLE postgres IN DATABASE \"{database}\" SET {name} = '{value}'")

    ran = eight.json("apply", "--parallel", "8")

    assert ran.code == 0, ran.err
    assert {each["status"] for each in ran.segments.values()} == {"applied"}
    assert eight.json("plan").document["summary"]["unchanged"] == 8


# --- a server that stops answering -----------------------------------------------------------------------------------


@pytest.fixture
def proxy(postgres_server: Postgres) -> Iterator[Proxy]:
    with run_proxy(postgres_server.folder / ".s.PGSQL.5432") as running:
        yield running


@pytest.fixture
def behind(project: Project, proxy: Proxy, postgres_url: str) -> Project:
    """A first fill of 2,000 people in one segment, with its state behind a proxy."""
    project.sandbox.add_people((f"q{number:04}", None) for number in range(2000))
    project.want("vip", [f"q{number:04}" for number in range(2000)])
    url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{make_url(postgres_url).database}"
    project.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{url}'}}\n")
    return project


def run_impatiently(project: Project, *words: str, then: Callable[["subprocess.Popen[str]"], None]) -> Result:
    process = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, *words],
        cwd=project.folder,
        env={**os.environ, **project.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    then(process)
    out, err = process.communicate(timeout=120)
    return Result(process.returncode, out, err)


def at_first_write(project: Project, strike: Callable[[], object]) -> None:
    written: list[Call] = []

    def look(call: Call) -> None:
        if call.method == "POST" and not written:
            written.append(call)
            strike()

    project.sandbox.on_arrival(look)


def test_a_run_whose_state_stands_still_ends_and_says_so(behind: Project, proxy: Proxy) -> None:
    at_first_write(behind, proxy.stand_still)

    ran = run_impatiently(behind, "apply", "spec.yaml", "--format", "json", then=lambda _: None)

    assert ran.code == 6
    assert ran.segments["vip"]["status"] == "partial"
    assert "can't be reached" in ran.segments["vip"]["error"]["message"]
    assert ran.segments["vip"]["unsettled"] > 0

    proxy.go_on()
    assert behind.json("apply").code == 0
    assert len(behind.stored("vip")) == 2000


def test_a_run_whose_state_stands_still_hears_a_signal(behind: Project, proxy: Proxy) -> None:
    def strike() -> None:
        proxy.stand_still()
        started[0].send_signal(signal.SIGTERM)

    started: list[subprocess.Popen[str]] = []
    at_first_write(behind, strike)

    ran = run_impatiently(behind, "apply", "spec.yaml", then=started.append)

    assert ran.code in (6, 128 + signal.SIGTERM)
    assert "stopping" in ran.err


@pytest.mark.parametrize("command", ["plan", "status", "history", "apply"])
def test_a_command_whose_state_does_not_answer_ends_and_says_so(behind: Project, proxy: Proxy, command: str) -> None:
    assert behind.json("apply").code == 0
    proxy.stand_still()

    ran = run_impatiently(behind, command, "spec.yaml", then=lambda _: None)

    assert ran.code == 1
    assert "can't be reached" in ran.err + ran.out
