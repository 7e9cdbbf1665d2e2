"""Runs commands from outside, as whole processes, and keeps what the operating system says of them."""

import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PYTHON = sys.executable
SCRIPTS = Path(__file__).parent / "scripts"
RECONCILE = (PYTHON, "-c", "from reconciler.cli import main; main()")


@dataclass(frozen=True)
class Figure:
    """One run: seconds of wall clock and of CPU (with children), and the largest process's peak memory in MB."""

    wall: float
    cpu: float
    memory: float
    code: int


@dataclass
class Series:
    """Several runs of one command."""

    name: str
    figures: list[Figure] = field(default_factory=list)

    @property
    def wall(self) -> float:
        return statistics.median(figure.wall for figure in self.figures)

    @property
    def cpu(self) -> float:
        return statistics.median(figure.cpu for figure in self.figures)

    @property
    def memory(self) -> float:
        return max(figure.memory for figure in self.figures)

    @property
    def codes(self) -> set[int]:
        return {figure.code for figure in self.figures}


def run_once(command: Sequence[str], folder: Path, log: Path) -> Figure:
    """Run a command to its end; what it prints goes to `log`."""
    result = folder / "launch.result"
    launcher = (PYTHON, "-S", "-E", str(SCRIPTS / "launch.py"), str(result))
    with log.open("ab") as out:
        subprocess.run((*launcher, *command), cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=True)
    wall, cpu, memory, code = result.read_text().split()
    per_megabyte = 1024 if sys.platform != "darwin" else 1024 * 1024
    return Figure(float(wall), float(cpu), float(memory) / per_megabyte, int(code))


def run_in_turn(commands: dict[str, Sequence[str]], folder: Path, times: int, expected: int = 0) -> dict[str, Series]:
    """Run commands in turn, A B A B, so that a machine with a varying speed is fair to each. Raises on a failure."""
    series = {name: Series(name) for name in commands}
    log = folder / "benchmark.log"
    for _ in range(times):
        for name, command in commands.items():
            figure = run_once(command, folder, log)
            if figure.code != expected:
                raise SystemExit(f"{name}: exit code {figure.code}; see {log}")
            series[name].figures.append(figure)
    return series


def script(name: str, *words: str) -> tuple[str, ...]:
    """The command line of one of our own helper scripts."""
    return (PYTHON, str(SCRIPTS / f"{name}.py"), *words)
