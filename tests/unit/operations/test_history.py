"""Which run a text means; who made a run; what the history keeps of it."""

from pathlib import Path

import pytest

from reconciler.errors import UsageError
from reconciler.operations.history import find_run
from reconciler.operations.load import Loaded
from tests.support.states import StateFixture

RUNS = {"production": ("3f2a1c00aaaa", "3f2a9d11bbbb", "77de0022cccc"), "staging": ("9b9b9b9bdddd",)}


@pytest.fixture
def state(tmp_path: Path) -> StateFixture:
    state = StateFixture(f"sqlite:///{tmp_path / 'state.db'}")
    with state.store() as store:
        for workspace, run_ids in RUNS.items():
            for run_id in run_ids:
                state.clock.time += 60
                store.begin(run_id, workspace, "apply", [], None)
    return state


def load(state: StateFixture) -> Loaded:
    target = state.target()
    return Loaded((target.spec,), (target,))


@pytest.mark.parametrize("text", ["77de0022cccc", "77de0022", "77de", "last"])
def test_a_run_is_named_by_its_id_its_beginning_or_last(state: StateFixture, text: str) -> None:
    assert find_run(load(state), text).row.run_id == "77de0022cccc"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3f2a", "'3f2a' means several runs: 3f2a9d11 (apply, 2027-01-15 08:02Z), 3f2a1c00 (apply,"),
        ("3f2", "'3f2' is too short"),
        ("", "'' is too short"),
        ("ffff", "there is no run 'ffff'"),
        ("%%%%", "there is no run '%%%%'"),
        ("77DE", "there is no run '77DE'"),
        ("9b9b", "there is no run '9b9b'"),
    ],
)
def test_a_text_that_means_none_or_several_is_refused(state: StateFixture, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_run(load(state), text)

    assert words in caught.value.message


def test_there_is_no_last_run_before_the_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run yet"):
        find_run(load(StateFixture(f"sqlite:///{tmp_path / 'none.db'}")), "last")
