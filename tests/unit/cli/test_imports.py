"""Start-up stays short: a command's module, and what it needs, is imported when the command runs."""

import subprocess
import sys

import pytest

HEAVY = {"alembic", "duckdb", "httpx", "orjson", "pydantic", "rich", "sqlalchemy", "yaml"}


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_what_runs_no_command_imports_no_library_of_one(words: list[str]) -> None:
    script = f"import sys; from reconciler.cli import run; run({words!r}); print(*sys.modules, file=sys.stderr)"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert not HEAVY & set(done.stderr.split())
    assert not [name for name in done.stderr.split() if name.startswith("reconciler.cli.commands.")]


def test_opentelemetry_is_not_loaded_before_it_is_asked_for() -> None:
    operations = "reconciler.plan, reconciler.apply, reconciler.drift, reconciler.refresh"
    script = f"import sys, reconciler; {operations}; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "reconciler.operations.refresh" in done.stdout.split()
    loaded = [each for each in done.stdout.split() if each.startswith(("opentelemetry", "reconciler.telemetry."))]
    assert loaded == []
