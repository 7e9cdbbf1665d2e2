"""The demo, run for real on a smaller warehouse: what it prints, what it checks, and what it leaves behind."""

import base64
import http.client
import os
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, closing, suppress
from functools import partial
from pathlib import Path

import pytest

from reconciler.cli import run
from reconciler.cli.commands import demo
from reconciler.cli.commands.demo.script import Terminal, environment, run_demo
from reconciler.errors import ExitCode, ReconcileError, UsageError
from reconciler.models.ids import IdType
from reconciler.sandbox.server import open_sandbox
from reconciler.spec import load

CUSTOMERS = 4_000
FEW = 300

HEADINGS = [
    *("A warehouse", "A Customer.io", "A spec", "Plan", "Apply", "A day later", "Run it again", "An empty query"),
    *("A segment edited by hand", "Which ids arrived", "What next"),
]

Run = Callable[[Sequence[str]], int]


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test the folder, environment, handlers, threads and temporary folders are as before."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = observe()
    yield
    assert observe() == before
    assert list(temporary.iterdir()) == []


def observe() -> tuple[object, ...]:
    variables = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    return Path.cwd(), variables, handlers, set(threading.enumerate())


def print_text(text: str) -> None:
    print(text, end="", flush=True)


def run_small(run: Run, keep: Path | None = None) -> None:
    run_demo(Terminal(print_text), run, keep, customers=FEW)


def read_variables(folder: Path) -> dict[str, str]:
    text = (folder / "sandbox.env").read_text(encoding="utf-8")
    return dict(re.findall(r"^export (\w+)=(.*)$", text, re.MULTILINE))


def test_every_command_does_what_the_demo_promises(capfd: pytest.CaptureFixture[str]) -> None:
    run_demo(Terminal(print_text), run, customers=CUSTOMERS)

    printed = capfd.readouterr().out
    assert re.findall(r"^── \d+  (.*?) ─+$", printed, re.MULTILINE) == HEADINGS
    assert re.findall(r"^exit code (\d+)", printed, re.MULTILINE) == ["3", "2"]
    assert [line for line in printed.splitlines() if len(line) > 80 and "reconcile-demo-" not in line] == []
    assert "\033" not in printed


def test_a_kept_project_can_be_continued_by_hand(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "play ground"
    run_demo(Terminal(print_text), run, folder, customers=CUSTOMERS)
    assert f"$ cd '{folder}'" in capfd.readouterr().out

    with open_sandbox(state=folder / "sandbox.json") as sandbox, chdir(folder):
        variables = read_variables(folder)
        assert variables["SANDBOX_URL"] == "http://127.0.0.1:8025"
        with environment({**variables, "SANDBOX_URL": sandbox.url}):
            code = run(["plan", "reconcile.yaml", "--detailed-exitcode"])

    assert code == ExitCode.DONE
    assert "3 unchanged" in capfd.readouterr().out


def test_the_spec_has_one_segment_by_id_one_by_email_and_one_with_a_query_file_and_holds_no_key(tmp_path: Path) -> None:
    with pytest.raises(ReconcileError):
        run_small(lambda argv: 1, tmp_path / "kept")

    spec = tmp_path / "kept" / "reconcile.yaml"
    variables = read_variables(spec.parent)
    (loaded,) = load([str(spec)], variables)
    text = spec.read_text(encoding="utf-8")
    assert {segment.id_type for segment in loaded.segments} == {IdType.ID, IdType.EMAIL}
    assert "query_file: sql/churn_risk.sql" in text
    assert all(f"${{{name}}}" in text for name in variables)
    assert not any(value in text for value in variables.values())


def test_commands_run_in_the_folder_of_the_project_with_its_variables_over_those_of_the_caller() -> None:
    seen: list[tuple[bool, str]] = []

    def look(argv: Sequence[str]) -> int:
        seen.append((Path("reconcile.yaml").exists(), os.environ["CUSTOMERIO_API_KEY"]))
        return 1

    with environment({"CUSTOMERIO_API_KEY": "the real one"}):
        with pytest.raises(ReconcileError):
            run_small(look)
        assert os.environ["CUSTOMERIO_API_KEY"] == "the real one"

    assert seen == [(True, "sandbox-key")]


def test_a_wrong_exit_code_fails_the_demo_and_names_the_step() -> None:
    with pytest.raises(ReconcileError, match=r"step 4 .*`reconcile plan` had to exit with 0, and exited with 1"):
        run_small(lambda argv: 1)


def test_a_guard_that_does_not_stop_fails_the_demo(capfd: pytest.CaptureFixture[str]) -> None:
    def ignore_guards(argv: Sequence[str]) -> int:
        code = run(argv)
        return 0 if code == ExitCode.BLOCKED else code

    with pytest.raises(ReconcileError, match="had to exit with 3, and exited with 0"):
        run_demo(Terminal(print_text), ignore_guards, customers=CUSTOMERS)


def test_an_apply_that_sends_nothing_fails_the_demo() -> None:
    with pytest.raises(ReconcileError, match="exactly the difference had to be sent"):
        run_small(lambda argv: 0)


def test_a_plan_that_sends_fails_the_demo() -> None:
    def send(argv: Sequence[str]) -> int:
        user = base64.b64encode(b"sandbox-site:sandbox-key").decode()
        host = os.environ["SANDBOX_URL"].removeprefix("http://")
        with closing(http.client.HTTPConnection(host)) as connection:
            headers = {"Authorization": f"Basic {user}"}
            connection.request("POST", "/api/v1/segments/56/add_customers", '{"ids": ["C100001"]}', headers)
            assert connection.getresponse().status == 200
        return 0

    with pytest.raises(ReconcileError, match="nothing had to be sent"):
        run_small(send)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_ends_the_demo_with_its_code(number: signal.Signals, code: int) -> None:
    def receive(argv: Sequence[str]) -> int:
        signal.raise_signal(number)
        return 0

    with pytest.raises(SystemExit) as ended:
        run_small(receive)

    assert ended.value.code == code


def test_a_signal_still_ends_the_demo_when_its_exception_is_lost_inside_a_command() -> None:
    def lose(argv: Sequence[str]) -> int:
        with suppress(SystemExit):
            signal.raise_signal(signal.SIGHUP)
        return 0

    with pytest.raises(SystemExit) as ended:
        run_small(lose)

    assert ended.value.code == 143


@pytest.mark.parametrize("code", [129, 130, 143])
def test_a_command_that_was_stopped_stops_the_demo(code: int) -> None:
    with pytest.raises(SystemExit) as ended:
        run_small(lambda argv: code)

    assert ended.value.code == code


def test_a_folder_with_files_is_refused_and_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("x", encoding="utf-8")

    assert run(["demo", "--keep", str(tmp_path / "mine")]) == ExitCode.USAGE

    assert "is not empty" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["precious"]


def test_a_file_is_no_folder_to_keep(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")

    with pytest.raises(UsageError, match="can't be used"):
        run_small(run, tmp_path / "file")


def test_colour_is_on_request() -> None:
    printed: list[str] = []

    Terminal(printed.append, color=True).command("reconcile plan")

    assert "\033[" in "".join(printed)


@pytest.mark.parametrize("given", [[], ["--quiet"], ["--verbose", "--log-format=json"]])
def test_the_commands_get_the_options_of_the_demo_and_no_others(
    monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> None:
    seen: list[Sequence[str]] = []

    def stop(argv: Sequence[str]) -> int:
        seen.append(argv)
        return 1

    monkeypatch.setattr(demo, "run_demo", partial(run_demo, customers=FEW))
    monkeypatch.setattr(demo, "run", stop)

    assert run(["demo", *given]) == ExitCode.FAILED

    assert seen == [["plan", "reconcile.yaml", *given]]
