"""kill -9: real processes killed at random moments, random queries, a bad network; then the segments are compared.

A killed `state upgrade` is in tests/reliability/test_upgrade.py.
"""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.reliability.project import SEGMENTS, Attacked, draw_faults, is_known
from reconciler.models.fields import Secret
from reconciler.models.spec import StateSettings
from reconciler.sandbox.http import Call
from reconciler.sandbox.server import Sandbox
from reconciler.state import open_snapshot
from tests.support.forks import Fork
from tests.support.project import wait_for_requests
from tests.support.states import contents_of

ROUNDS_PER_STATE = 8
"""The first of them fills the segments for the first time."""

StateOf = Callable[[Path], AbstractContextManager[str]]
"""Gives the URL of a fresh state for a project in a folder."""


@dataclass
class Score:
    """What an attack came to."""

    rounds: int = 0
    checks: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    """What was going on when the process was killed."""
    firsts: int = 0
    """Kills within the first apply of a state."""
    requests: int = 0
    struck: int = 0
    """Requests that a fault hit."""
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        phases = ", ".join(f"{number} {phase}" for phase, number in self.phases.most_common())
        return (
            f"{self.rounds} rounds, {sum(self.phases.values()) - self.phases[FINISHED]} kills ({phases}; "
            f"{self.firsts} in a first apply), {self.requests} writes, {self.struck} of them struck by a fault, "
            f"{self.checks} comparisons, {len(self.violations)} violations, {self.seconds:.0f} s"
        )


FINISHED = "too late: it had ended"


@dataclass
class Trigger:
    """Kills a process in the middle of a request, or some seconds after it; tells what was going on."""

    process: Fork | None = None
    strike_at: int = 0
    """The number of a write; 0: by time alone."""
    on_answer: bool = False
    delay: float = 0.0
    arrived: int = 0
    answered: int = 0
    preflights: int = 0
    phase: str = FINISHED

    def arrive(self, call: Call) -> None:
        if call.direction is None:
            self.preflights += 1
            return
        self.arrived += 1
        if not self.on_answer and self.arrived == self.strike_at:
            self.kill()

    def answer(self, call: Call) -> None:
        if call.direction is None:
            return
        self.answered += 1
        if self.on_answer and self.answered == self.strike_at:
            threading.Timer(self.delay, self.kill).start()

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.phase = self._name_phase()
            self.process.send_signal(signal.SIGKILL)

    def _name_phase(self) -> str:
        if self.arrived > self.answered:
            return "with writes in flight"
        if self.answered:
            return "between or after writes"
        return "between preflight and first write" if self.preflights else "before any request"


@dataclass
class Siege:
    """One state under attack, round after round."""

    project: Attacked
    chance: random.Random
    score: Score
    trigger: Trigger = field(default_factory=Trigger)
    usual: float = 1.5
    """Seconds that a run takes, roughly."""

    def attack(self, is_first: bool) -> None:
        """One round: churn, start, kill; sometimes let a run come to its end, and compare."""
        chance, sandbox = self.chance, self.project.sandbox
        sandbox.configure(latency=chance.choice([5, 30]))
        sandbox.inject(*draw_faults(chance))
        self.project.want(self.project.draw(chance))
        self._run_and_kill()
        self.score.rounds += 1
        self.score.phases[self.trigger.phase] += 1
        self.score.firsts += is_first and self.trigger.phase != FINISHED
        self.score.struck += sum(struck for _, struck in sandbox.faults.listed())
        sandbox.faults.clear()
        self._check_claims()
        if is_first or chance.random() < 0.6:
            self._end_and_compare()
        self.score.requests += len(sandbox.writes)
        sandbox.reset_calls()

    def _run_and_kill(self) -> None:
        trigger, chance = self.trigger, self.chance
        trigger.arrived = trigger.answered = trigger.preflights = 0
        trigger.phase, trigger.process = FINISHED, None
        way = chance.choice(["time", "arrival", "answer"])
        trigger.strike_at = 0 if way == "time" else chance.randrange(1, 15)
        trigger.on_answer = way == "answer"
        trigger.delay = chance.choice([0.0, chance.uniform(0, 0.1), chance.uniform(0, 0.6)])
        trigger.process = process = self.project.start("apply", "spec.yaml")
        bomb = threading.Timer(chance.uniform(0, self.usual * 1.1) if way == "time" else 60, trigger.kill)
        bomb.start()
        process.communicate(timeout=300)
        bomb.cancel()
        trigger.process = None
        # A change that was acknowledged may be reversed at once: the sandbox must have made it by then.
        wait_for_requests(self.project.sandbox, applied=True)

    def _end_and_compare(self) -> None:
        """A run that nothing happens to, with new query results."""
        wanted = self.project.draw(self.chance)
        self.project.want(wanted)
        began = time.monotonic()
        code, _, words = self.project.run("apply", "calm.yaml")
        self.usual = min(3.0, time.monotonic() - began)
        self.project.sandbox.workspace.settle()
        self.score.checks += 1
        if code != 0:
            self._accuse(f"the run after it ended with {code}: {words}")
        for name, number in SEGMENTS.items():
            there, expected = self.project.sandbox.members(number), {each for each in wanted[name] if is_known(each)}
            if there != expected:
                self._accuse(f"{name}: {len(there - expected)} forgotten, {len(expected - there)} missing")
            stored = self._stored(number)
            if stored != wanted[name]:
                self._accuse(f"{name}: the snapshot differs from the query by {len(stored ^ wanted[name])}")

    def _check_claims(self) -> None:
        """Right after the kill: each id that is stored, and known, is there, unless the change is still on its way."""
        for number in SEGMENTS.values():
            claimed = {each for each in self._stored(number) if is_known(each)}
            if self.project.sandbox.workspace.pending():
                continue
            missing = claimed - self.project.sandbox.members(number)
            if missing:
                self._accuse(f"segment {number}: {len(missing)} are stored and not there")

    def _stored(self, number: int) -> set[str]:
        """The ids that the state holds for members, as a plan would see it."""
        with open_snapshot(StateSettings(url=Secret(self.project.state))).read_segment("default", number) as stored:
            contents = contents_of(stored)
        members = set(contents.members)
        members -= {id for id, mark, _ in contents.marks if mark in ("unsettled", "unmatched")}
        for direction, outcome, ids in contents.journal:
            add = direction == "add" and outcome == "acknowledged"
            members = members | set(ids) if add else members - set(ids)
        return members

    def _accuse(self, words: str) -> None:
        self.score.violations.append(f"round {self.score.rounds}, killed {self.trigger.phase}: {words}")


@contextmanager
def sqlite_state(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder}/.reconcile/state.db"


@contextmanager
def postgres_states() -> Iterator[StateOf]:
    """A server; each state is a database of it."""
    from tests.support.postgres import run_postgres

    with run_postgres() as server:

        @contextmanager
        def state(_folder: Path) -> Iterator[str]:
            name = server.make_database()
            yield server.url(name)
            server.drop_database(name)

        yield state


def besiege(
    rounds: int, state_of: StateOf, seed: int, crowd: int = 6000, tell: Callable[[str], None] = lambda _words: None
) -> Score:
    """Attack until `rounds` are over; every few of them with a fresh state."""
    chance, score, began = random.Random(seed), Score(), time.monotonic()
    while score.rounds < rounds:
        with TemporaryDirectory() as folder, Sandbox() as sandbox, state_of(Path(folder)) as url:
            project = Attacked(Path(folder), sandbox, url, crowd)
            project.set_up()
            siege = Siege(project, chance, score)
            sandbox.on_arrival(siege.trigger.arrive)
            sandbox.on_answer(siege.trigger.answer)
            for number in range(min(ROUNDS_PER_STATE, rounds - score.rounds)):
                siege.attack(is_first=number == 0)
        score.seconds = time.monotonic() - began
        tell(str(score))
    return score


def run(rounds: int, database: str, seed: int) -> int:
    """The command: attack, and say what it came to."""
    states = postgres_states() if database == "postgresql" else nullcontext(sqlite_state)
    with states as state_of:
        score = besiege(rounds, state_of, seed, tell=lambda words: print("...", words, flush=True))
    print(f"kill -9 over {database}: {score}")
    for violation in score.violations:
        print(f"VIOLATION {violation}")
    return bool(score.violations)
