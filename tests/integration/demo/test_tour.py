"""The tour around its acts: it checks what it promises, says which act failed, and leaves everything as it was."""

import base64
import http.client
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.cli.demo.stage import Stage
from reconciler.cli.demo.story import Act, apply_first, meet_empty_query, plan_first
from reconciler.cli.demo.tour import exported, play, variables_for
from reconciler.cli.demo.voice import Voice
from reconciler.errors import ReconcileError, UsageError

CUSTOMERS = 300


class Told:
    """What the tour said, whole."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(autouse=True)
def nothing_is_left(temporary: Path) -> Iterator[None]:
    """After each of these tests the folder, environment, handlers and temporary folders are as before."""
    before = (Path.cwd(), dict(os.environ), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    yield
    after = (Path.cwd(), dict(os.environ), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    # pytest itself keeps the name of the test's phase there.
    before[1].pop("PYTEST_CURRENT_TEST", None)
    after[1].pop("PYTEST_CURRENT_TEST", None)
    assert after == before
    assert list(temporary.iterdir()) == []


def ends_with(code: int) -> Callable[[Sequence[str]], int]:
    """A `reconcile` that does nothing but end."""
    return lambda argv: code


def tour(told: Told, play_act: Callable[[Stage], None], code: int = 0, keep: Path | None = None) -> None:
    play(Voice(told.write), ends_with(code), keep, customers=CUSTOMERS, acts=(Act("The act", play_act),))


def test_an_act_sees_the_project_as_its_working_folder_with_its_variables(told: Told) -> None:
    seen: list[tuple[bool, bool, bool]] = []

    def look(stage: Stage) -> None:
        variables = variables_for(stage.sandbox.url)
        known = all(os.environ[name] == value for name, value in variables.items())
        seen.append((Path.cwd() == stage.folder, Path("reconcile.yaml").exists(), known))

    tour(told, look)

    assert seen == [(True, True, True)]


def test_variables_that_were_set_are_hidden_and_come_back(told: Told) -> None:
    seen: list[str] = []

    with exported({"CUSTOMERIO_API_KEY": "the real one"}):
        tour(told, lambda stage: seen.append(os.environ["CUSTOMERIO_API_KEY"]))
        seen.append(os.environ["CUSTOMERIO_API_KEY"])

    assert seen == ["sandbox-key", "the real one"]


def test_a_wrong_exit_code_fails_the_tour_and_names_the_act(told: Told) -> None:
    with pytest.raises(ReconcileError, match=r"act 3, 'The act': `reconcile plan` had to exit with 0.* exited with 1"):
        tour(told, plan_first, code=1)


def test_a_guard_that_does_not_stop_fails_the_tour(told: Told) -> None:
    with pytest.raises(ReconcileError, match="had to exit with 3, and exited with 0"):
        tour(told, meet_empty_query, code=0)


def test_an_apply_that_sends_nothing_fails_the_tour(told: Told) -> None:
    with pytest.raises(ReconcileError, match="exactly the difference had to be sent"):
        tour(told, apply_first, code=0)


def test_a_plan_that_sends_fails_the_tour(told: Told) -> None:
    def send(stage: Stage) -> None:
        plan_first(replace(stage, run=lambda argv: add_one(stage)))

    with pytest.raises(ReconcileError, match="nothing was to be sent"):
        tour(told, send)


def add_one(stage: Stage) -> int:
    """Add somebody to a segment over the Track API."""
    keys = stage.sandbox.credentials
    user = base64.b64encode(f"{keys.site_id}:{keys.api_key}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", stage.sandbox.port)
    with closing(connection):
        path, headers = "/api/v1/segments/56/add_customers", {"Authorization": f"Basic {user}"}
        connection.request("POST", path, '{"ids": ["C100001"]}', headers)
        assert connection.getresponse().status == 200
    return 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_tour_with_its_code(told: Told, number: signal.Signals) -> None:
    with pytest.raises(SystemExit) as ended:
        tour(told, lambda stage: signal.raise_signal(number))

    assert ended.value.code == 128 + number


def test_a_signal_whose_exception_is_lost_within_a_command_still_ends_the_tour(told: Told) -> None:
    def lose(argv: Sequence[str]) -> int:
        with suppress(SystemExit):
            signal.raise_signal(signal.SIGHUP)
        return 0

    with pytest.raises(SystemExit) as ended:
        play(Voice(told.write), lose, customers=CUSTOMERS, acts=(Act("The act", plan_first),))

    assert ended.value.code == 129


@pytest.mark.parametrize("code", [129, 130, 143])
def test_a_command_that_was_stopped_stops_the_tour(told: Told, code: int) -> None:
    with pytest.raises(SystemExit) as ended:
        tour(told, plan_first, code=code)

    assert ended.value.code == code


def test_a_kept_folder_stays_with_all_that_it_takes_to_go_on(told: Told, tmp_path: Path) -> None:
    folder = tmp_path / "play ground"

    tour(told, lambda stage: None, keep=folder)

    there = {path.name for path in folder.iterdir()}
    assert there >= {"reconcile.yaml", "sql", "warehouse.db", "people.csv", "sandbox.env", "sandbox.json"}
    assert "http://127.0.0.1:8025" in (folder / "sandbox.env").read_text(encoding="utf-8")
    assert f"$ cd '{folder}'" in told.text


def test_a_folder_with_something_in_it_is_refused_and_left_alone(told: Told, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("x", encoding="utf-8")

    with pytest.raises(UsageError, match="is not empty"):
        tour(told, lambda stage: None, keep=tmp_path / "mine")

    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["precious"]


def test_a_file_is_no_folder_to_keep(told: Told, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")

    with pytest.raises(UsageError, match="can't be used"):
        tour(told, lambda stage: None, keep=tmp_path / "file")


def test_the_tour_fits_80_columns_and_has_no_colour_of_its_own(told: Told) -> None:
    tour(told, lambda stage: None)

    lines = [line for line in told.text.splitlines() if "reconcile-demo-" not in line]
    assert max(map(len, lines)) <= 80
    assert "\033" not in told.text


def test_colour_is_for_those_who_ask(told: Told) -> None:
    Voice(told.write, color=True).show_command("reconcile plan")

    assert "\033[" in told.text
