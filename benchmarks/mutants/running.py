"""Runs tests against a mutant: in a forked process that finds the faulty source where it imports the module."""

import gc
import importlib
import os
import re
import resource
import select
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from tempfile import mkdtemp
from types import CodeType, ModuleType
from typing import NoReturn

import pytest
from _pytest.config import default_plugins
from hypothesis import Phase, settings

from benchmarks.mutants.faults import Mutant
from benchmarks.mutants.rooms import Rounds

OPTIONS = (
    "-x -q -rfE --assert=plain -p no:cacheprovider -p pytest_timeout "
    "-p _hypothesis_pytestplugin --hypothesis-profile=mutants"
)
SURVIVED = ""
"""Instead of a killer's name."""

_HAS_NOTHING_TO_SAY = re.compile(r"FailedHealthCheck|FlakyFailure|FlakyReplay")
"""A machine under load fails tests in these ways, whatever they test: then they run again."""
_KILLER = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Limit:
    """How long a round may take: in all, as it may wait for ever, and of a processor, as it may go round for ever.

    The latter is the same on a machine that has much else to do.
    """

    seconds: float
    busy: int


@dataclass
class _FaultyLoader(Loader):
    code: CodeType

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)


@dataclass
class _Finder(MetaPathFinder):
    """Finds one module's faulty source; everything else is found as ever."""

    name: str
    source: str

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _FaultyLoader(compile(self.source, spec.origin, "exec"))
        return spec


def warm_up() -> None:
    """Import what takes long, and nothing of ours: it is inherited by each fork."""
    ours = ("alembic.command", "duckdb", "hypothesis.stateful", "pydantic", "sqlalchemy.dialects.sqlite")
    for name in (*ours, *(f"_pytest.{plugin}" for plugin in default_plugins)):
        importlib.import_module(name)
    settings.register_profile(
        "mutants",
        deadline=None,
        max_examples=40,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        report_multiple_bugs=False,
    )
    assert not [name for name in sys.modules if name.partition(".")[0] in ("reconciler", "tests")]


def run(rounds: Rounds, mutant: Mutant | None, limits: Sequence[Limit]) -> str:
    """Run tests, and name the first that fails; SURVIVED if none does. Without a mutant, the source is as it stands."""
    for tests, limit in zip(rounds, limits, strict=True):
        killer = _run_round(tests, mutant, limit)
        if killer != SURVIVED:
            return killer
    return SURVIVED


def _run_round(tests: Sequence[str], mutant: Mutant | None, limit: Limit) -> str:
    for _ in range(3):
        folder = Path(mkdtemp(prefix="mutant-"))
        try:
            code = _wait_for(_fork(tests, mutant, folder, limit.busy), limit.seconds)
            said = (folder / "output").read_text(errors="replace") if (folder / "output").exists() else ""
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if code == pytest.ExitCode.OK:
            return SURVIVED
        if code == pytest.ExitCode.NO_TESTS_COLLECTED:
            raise RuntimeError(f"there are no such tests: {tests}")
        if not _HAS_NOTHING_TO_SAY.search(said):
            break
    killer = _KILLER.search(said)
    return killer[1] if killer else "time" if code in (None, -signal.SIGXCPU) else f"exit {code}"


def _wait_for(child: int, seconds: float) -> int | None:
    """Its exit code; None if it took too long, and was ended."""
    handle, began = os.pidfd_open(child), time.monotonic()
    try:
        is_ended = bool(select.select([handle], [], [], seconds - (time.monotonic() - began))[0])
        if not is_ended:
            os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(handle)
    return os.waitstatus_to_exitcode(status) if is_ended else None


def _fork(tests: Sequence[str], mutant: Mutant | None, folder: Path, busy: int) -> int:
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (busy, busy))
        _run_and_exit(tests, mutant, folder)
    return child


def _run_and_exit(tests: Sequence[str], mutant: Mutant | None, folder: Path) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        gc.freeze()  # or each collection would go through all that was inherited, and copy it
        if mutant is not None:
            name = "reconciler." + mutant.module.removesuffix(".py").replace("/", ".")
            sys.meta_path.insert(0, _Finder(name, mutant.code))
        output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        code = int(pytest.main([*OPTIONS.split(" "), f"--basetemp={folder / 'tmp'}", *tests]))
        sys.stdout.flush()
    finally:
        os._exit(code)
