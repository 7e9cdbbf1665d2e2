"""A project under attack: a warehouse that churns, a spec of three segments, a sandbox that misbehaves."""

import os
import random
import sqlite3
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.sandbox.faults import Fault, answers, drops, hangs, late
from reconciler.sandbox.server import Sandbox
from tests.support.forks import Fork

SEGMENTS = {"vip": 56, "churn": 57, "letter": 58}
SETTLE = 1.0
"""Seconds. Whatever the sandbox applies late, it applies well before."""
TIMEOUT = 0.7
"""Seconds. Short, as requests that hang are a part of the attack."""
CALM_TIMEOUT = 60.0
"""Seconds that the run which is compared waits for an answer: on a busy machine the sandbox may be slow, too."""

SPEC = """
version: 1
sources: {{warehouse: {{url: "sqlite:///warehouse.db"}}}}
destination:
  site_id: sandbox-site
  api_key: sandbox-key
  app_api_key: sandbox-app-key
  track_url: {url}
  app_url: {url}
  rate_limit: 10000
  concurrency: 3
  settle: {settle}
  timeout: {timeout}
state: {{url: "{state}"}}
defaults: {{guards: {{max_removals: 100%, max_additions: 1000000, allow_empty: true}}}}
segments:
"""


def spell(url: str, state: str, timeout: float = TIMEOUT) -> str:
    """The spec of the attacked project."""
    lines = [SPEC.format(url=url, state=state, settle=SETTLE, timeout=timeout).strip()]
    lines += [f"  {name}: {{segment_id: {number}, query: SELECT id FROM {name}}}" for name, number in SEGMENTS.items()]
    return "\n".join(lines) + "\n"


@dataclass
class Attacked:
    """A project in a folder, and its sandbox, which knows seven in eight of the people."""

    folder: Path
    sandbox: Sandbox
    state: str
    """Its state's URL."""
    crowd: int

    def set_up(self) -> None:
        for name, number in SEGMENTS.items():
            self.sandbox.create_segment(name, id=number)
        self.sandbox.add_people((person, None) for person in self.everybody if is_known(person))
        (self.folder / "spec.yaml").write_text(spell(self.sandbox.url, self.state))
        (self.folder / "calm.yaml").write_text(spell(self.sandbox.url, self.state, CALM_TIMEOUT))

    @property
    def everybody(self) -> list[str]:
        return [f"p{number:05}" for number in range(self.crowd)]

    def draw(self, chance: random.Random) -> dict[str, set[str]]:
        """A random result for each query; sometimes nobody, sometimes everybody."""
        everybody = self.everybody
        sizes = [0, len(everybody), *(chance.randrange(len(everybody)) for _ in range(6))]
        return {name: set(chance.sample(everybody, chance.choice(sizes))) for name in SEGMENTS}

    def want(self, tables: Mapping[str, Iterable[str]]) -> None:
        """Make the queries return these ids."""
        with sqlite3.connect(self.folder / "warehouse.db") as connection:
            for table, ids in tables.items():
                connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (id)")
                connection.execute(f"DELETE FROM {table}")
                connection.executemany(f"INSERT INTO {table} VALUES (?)", ((each,) for each in ids))
        connection.close()

    def start(self, *words: str) -> Fork:
        """Run `reconcile` as a process of its own."""
        return Fork(list(words), self.folder, os.environ, subprocess.DEVNULL)

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err


def is_known(person: str) -> bool:
    """Whether Customer.io has this person: seven in eight."""
    return int(person[1:]) % 8 != 3


def draw_faults(chance: random.Random) -> list[Fault]:
    """What goes wrong with the writes of one round; often nothing."""
    if chance.random() < 0.4:
        return []
    possible = [
        answers(429, retry_after="0"),
        answers(500),
        answers(503, after_change=True),
        answers(408, after_change=True),
        drops(),
        drops(after_change=True),
        hangs(TIMEOUT + 0.2),
        hangs(TIMEOUT + 0.2, after_change=True),
        late(SETTLE * 0.4),
    ]
    return [aim_at_writes(fault, chance) for fault in chance.sample(possible, chance.randrange(1, 4))]


def aim_at_writes(fault: Fault, chance: random.Random) -> Fault:
    """Let a fault strike some writes."""
    return replace(fault, path="*/segments/*", probability=chance.choice([0.1, 0.4]), times=chance.randrange(1, 6))
