"""`import reconciler`: what a program gets, and what it costs."""

import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest

import reconciler

ROOT = Path(__file__).parents[3]


def test_importing_it_loads_nothing_else() -> None:
    script = "import sys, reconciler; print(list(sys.modules))"

    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)

    usual = {"__main__", *sys.stdlib_module_names}
    loaded = [name for name in literal_eval(done.stdout) if name.partition(".")[0] not in usual]
    assert loaded == ["reconciler"]


@pytest.mark.parametrize("name", reconciler.__all__)
def test_each_name_is_there(name: str) -> None:
    assert getattr(reconciler, name)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'rollback'"):
        reconciler.rollback  # noqa: B018


@pytest.mark.parametrize("name", ["drift", "history", "plan", "refresh", "status", "trace"])
def test_a_plan_file_is_for_apply_alone(name: str) -> None:
    loaded = reconciler.Loaded((), (), _ClosedOnce())  # type: ignore[arg-type]

    with pytest.raises(reconciler.ReconcileError, match="a plan file can only be applied"):
        getattr(reconciler, name)(loaded, *(["an id"] if name == "trace" else []))


class _ClosedOnce:
    """A plan file that is asked for nothing but to be closed."""

    def close(self) -> None:
        return None
