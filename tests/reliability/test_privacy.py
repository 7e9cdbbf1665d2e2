"""Canaries: keys, ids and e-mails planted wherever a run can meet them are found in no output, however it ends."""

import itertools
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.customerio import retry
from reconciler.sandbox.faults import answers, drops, poison
from reconciler.sandbox.http import Api
from reconciler.sandbox.server import Credentials, Sandbox
from reconciler.sandbox.workspace import Direction
from tests.support.project import Project, Result

SECRETS = ("canary-site-id", "canary-api-key", "canary-app-key", "canary-password")
IDS = [f"canary-member-{number}" for number in range(30)]
EMAILS = [f"canary{number}@example.com" for number in range(30)]
REJECTED = "canary-member-1"

SPEC = """
version: 1
sources: {{warehouse: {{url: "{source}"}}}}
destination:
  site_id: ${{SITE}}
  api_key: ${{KEY}}
  app_api_key: ${{APP_KEY}}
  track_url: {url}
  app_url: {url}
  rate_limit: 10000
  settle: 0
  timeout: 2
defaults: {{guards: {{max_removals: 50%, max_additions: 100000}}}}
segments:
  people:
    segment_id: 56
    description: "{description}"
    query: {query}
    params: {{but: canary-member-29}}
    guards: {{must_include: [{sentinel}]}}
  by_email:
    segment_id: 57
    id_type: email
    query: SELECT email FROM people
"""

QUERY = "SELECT id FROM people WHERE id <> :but"
HOSTILE = "</td><script>alert(1)</script> | [x](javascript:1) # heading `x` **b**"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox that knows the secret keys."""
    site, key, app_key, _ = SECRETS
    with Sandbox(credentials=Credentials(site, key, app_key)) as running:
        running.create_segment("VIP", id=56)
        running.create_segment("Churn risk", id=57)
        yield running


@pytest.fixture
def planted(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project full of canaries."""
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.001)
    project.sandbox.add_people(zip(IDS, EMAILS, strict=True))
    project.environment.update(zip(("SITE", "KEY", "APP_KEY"), SECRETS, strict=False))
    write(project)
    fill(project, range(20))
    return project


def write(
    project: Project, *, source: str = "sqlite:///warehouse.db", query: str = QUERY, sentinel: str = "canary-member-2"
) -> None:
    text = SPEC.format(source=source, url=project.sandbox.url, query=query, sentinel=sentinel, description=HOSTILE)
    project.spec.write_text(text)


def fill(project: Project, numbers: range, more: tuple[str, ...] = ()) -> None:
    import sqlite3

    with sqlite3.connect(project.folder / "warehouse.db") as connection:
        connection.execute("DROP TABLE IF EXISTS people")
        connection.execute("CREATE TABLE people (id, email)")
        rows = [(IDS[number], EMAILS[number]) for number in numbers] + [(each, "x@example.com") for each in more]
        connection.executemany("INSERT INTO people VALUES (?, ?)", rows)
    connection.close()


EVERY_COMMAND = [
    ["validate", "spec.yaml", "--connect"],
    ["plan", "spec.yaml"],
    ["plan", "spec.yaml", "--format", "json"],
    ["plan", "spec.yaml", "--format", "markdown"],
    ["plan", "spec.yaml", "--out", "plan.bin"],
    ["apply", "spec.yaml", "--format", "json", "--confirm", "--confirm-timeout", "0"],
    ["drift", "spec.yaml"],
    ["drift", "spec.yaml", "--format", "markdown"],
    ["refresh", "spec.yaml", "--yes"],
    ["status", "spec.yaml"],
    ["status", "spec.yaml", "--format", "markdown"],
    ["history", "spec.yaml"],
    ["history", "spec.yaml", "--format", "json"],
    ["state", "show", "spec.yaml", "people"],
    ["trace", "spec.yaml", "canary-member-3"],
    ["trace", "spec.yaml", "canary3@example.com", "--format", "json"],
    ["apply", "plan.bin"],
]
LOUDNESS = [["--verbose"], ["--verbose", "--log-format", "json"], []]


def break_credentials(project: Project) -> None:
    project.environment["KEY"] = "canary-password"


def break_query(project: Project) -> None:
    write(project, query="SELECT id FROM people WHERE id = 'canary-member-3' AND nothing_like_it = 1")


def break_syntax(project: Project) -> None:
    write(project, query="SELECT id FROM people WHERE WHERE 'canary-member-3'")


def break_source(project: Project) -> None:
    write(project, source="postgresql+psycopg://me:canary-password@127.0.0.1:1/db")


def break_source_url(project: Project) -> None:
    write(project, source="nonsense://me:canary-password@host/db")


def break_rows(project: Project) -> None:
    fill(project, range(20), more=(" canary-member-77", "canary-member-78\n", "canary-member-" + "9" * 200))


def break_sentinel(project: Project) -> None:
    write(project, sentinel="canary-member-28")


def empty_the_query(project: Project) -> None:
    fill(project, range(0))


def say_ids(project: Project) -> None:
    """Customer.io quotes what it was sent: ids and keys (the App API is sent no ids)."""

    def quote(words: str, **where: object) -> None:
        body = json.dumps({"meta": {"error": words}})
        project.sandbox.inject(answers(400, body=body, times=None, path="*/segments/*", **where))

    for number, (gone, new) in {56: (IDS[0], IDS[20]), 57: (EMAILS[0], EMAILS[20])}.items():
        quote(f"bad customer {gone} of canary-api-key", segment_id=number, direction=Direction.REMOVE)
        quote(f"bad customer {new} of canary-site-id", segment_id=number, direction=Direction.ADD)
    quote("bad key canary-app-key", api=Api.APP)


def cut_the_network(project: Project) -> None:
    project.sandbox.inject(drops(times=None))


def damage_the_state(project: Project) -> None:
    if project.state_file.exists():
        project.state_file.write_bytes(project.state_file.read_bytes()[:9000])


TROUBLES: dict[str, Callable[[Project], None]] = {
    "no trouble": lambda project: None,
    "wrong credentials": break_credentials,
    "a query that names no column": break_query,
    "a query that is no SQL": break_syntax,
    "a source that can't be reached": break_source,
    "a source of no kind": break_source_url,
    "invalid ids": break_rows,
    "a sentinel that is missing": break_sentinel,
    "an empty query": empty_the_query,
    "refusals that quote": say_ids,
    "a poisoned id": lambda project: project.sandbox.inject(poison(REJECTED)),
    "no network": cut_the_network,
    "a damaged state": damage_the_state,
}


def check(result: Result, words: list[str]) -> None:
    """Nothing planted shows, and nothing that is printed can steer a terminal or a page."""
    printed = result.out + result.err
    found = [canary for canary in (*SECRETS, "canary-member", "canary") if canary in printed]
    assert not found, f"{words} shows {found[0]}"
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    if "markdown" in words:
        assert "<script" not in printed
        assert "](javascript" not in re.sub(r"\\.", "", printed)  # without what is escaped


@pytest.mark.parametrize("trouble", TROUBLES)
def test_nothing_planted_shows_whatever_goes_wrong(planted: Project, trouble: str) -> None:
    assert planted.run("apply", "spec.yaml").code == 0
    fill(planted, range(2, 25))
    TROUBLES[trouble](planted)
    for words, loudness in zip(EVERY_COMMAND, itertools.cycle(LOUDNESS), strict=False):
        check(planted.run(*words, *loudness), words)


def test_ids_show_only_where_they_were_asked_for(planted: Project) -> None:
    shown = planted.run("plan", "spec.yaml", "--show-ids", "3")
    assert sum(member in shown.out for member in IDS) >= 3
    assert not any(secret in shown.out + shown.err for secret in SECRETS)


def test_secrets_are_neither_in_the_state_nor_in_a_plan_and_all_files_are_their_owners_alone(planted: Project) -> None:
    before = os.umask(0)
    try:
        assert planted.run("apply", "spec.yaml").code == 0
        fill(planted, range(2, 25))
        assert planted.run("plan", "spec.yaml", "--out", "plan.bin").code == 0
        assert planted.run("state", "backup", "spec.yaml", "--to", "copy.db").code == 0
    finally:
        os.umask(before)
    files = [planted.folder / "plan.bin", planted.folder / "copy.db", *planted.state_file.parent.iterdir()]
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
        assert not any(secret.encode() in file.read_bytes() for secret in SECRETS), file.name
    assert stat.S_IMODE(planted.state_file.parent.stat().st_mode) == 0o700


def test_titles_of_segments_cannot_steer_a_terminal_or_a_page(planted: Project, tmp_path: Path) -> None:
    title = "</td><script>alert(1)</script> | \x1b[31mred\x1b[0m\n# heading \u202e"
    planted.sandbox.workspace.change_segment(56, name=title)
    for words in (["plan", "spec.yaml"], ["plan", "spec.yaml", "--format", "markdown"], ["drift", "spec.yaml"]):
        printed = planted.run(*words)
        check(printed, words)
        assert "\n# heading" not in printed.out
