"""What a command is given for a command line: flags in any place, variables, and a spec that is left out."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli import app as commands
from reconciler.cli import flags, run
from reconciler.cli.commands import SHARED_OPTIONS, declare, with_console
from reconciler.cli.console import Console
from reconciler.cli.defaults import FORMATS
from reconciler.errors import ReconcileError, UsageError

LOAD = commands.load_command
Repeated = Annotated[list[str] | None, flags.repeatable("Names.")]


@dataclass
class Probe:
    """Stands for every command: keeps what it was given, and where it worked."""

    folder: Path
    given: list[dict[str, Any]] = field(default_factory=list)

    def take(self, console: Console, **given: Any) -> None:
        self.given.append({"console": console, "folder": Path.cwd(), **given})

    def run(self, *words: str, variables: Mapping[str, str] | None = None) -> dict[str, Any] | int:
        """Give what the command got; the exit code where it did not run."""
        before = Path.cwd()
        os.chdir(self.folder)
        self.given.clear()
        try:
            with mock.patch.dict(os.environ, variables or {}):
                code = run(words)
        finally:
            os.chdir(before)
        return self.given[0] if self.given else code


def make_commands(probe: Probe) -> dict[str, Any]:
    @with_console
    def plan(
        console: Console,
        specs: flags.Specs,
        select: flags.Select = None,
        output: flags.OutputFormat = flags.Format.TEXT,
        show_ids: flags.ShowIds = 0,
        parallel: flags.Parallel = 4,
        yes: flags.Yes = False,
        confirm: Annotated[bool, typer.Option("--confirm")] = False,
        fault: Repeated = None,
    ) -> None:
        if confirm and select == ["nobody"]:
            raise UsageError("--confirm and --select are too much", "leave one out")
        probe.take(
            console,
            specs=specs,
            select=select,
            output=output,
            show_ids=show_ids,
            parallel=parallel,
            yes=yes,
            confirm=confirm,
            fault=fault,
        )

    @with_console
    def history(
        console: Console,
        spec: flags.OneSpec,
        run_id: Annotated[str | None, typer.Argument(metavar="RUN")] = None,
    ) -> None:
        probe.take(console, spec=spec, run_id=run_id)

    state = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
    state.callback()(declare(*SHARED_OPTIONS))

    @state.command("show")
    @with_console
    def show(console: Console, spec: flags.OneSpec, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
        if name == "missing":
            raise ReconcileError("there is none", "`reconcile status SPEC` lists them")
        probe.take(console, spec=spec, name=name)

    @state.command("rename")
    @with_console
    def rename(
        console: Console,
        spec: flags.OneSpec,
        old: Annotated[str, typer.Argument(metavar="OLD")],
        new: Annotated[str, typer.Argument(metavar="NEW")],
    ) -> None:
        probe.take(console, spec=spec, old=old, new=new)

    built: dict[str, Any] = {"plan": plan, "history": history, "state": state}
    return {name: commands.build(name, command) for name, command in built.items()}


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    """The commands `plan`, `history`, `state show` and `state rename`, in a folder with two specs and two folders."""
    folder = tmp_path_factory.mktemp("project").resolve()
    for name in ("reconcile.yaml", "other.yaml", "here/reconcile.yaml", "there/reconcile.yaml"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    made = Probe(folder)
    with mock.patch.object(commands, "load_command", make_commands(made).__getitem__):
        yield made


# --- before or after the command -----------------------------------------------------------------------------------

SHARED = st.sampled_from(
    [
        ["-v"],
        ["--verbose"],
        ["-q"],
        ["--quiet"],
        ["-qv"],
        ["-C", "here"],
        ["-Cthere"],
        ["--directory", "there"],
        ["--directory=here"],
        ["--log-format", "json"],
        ["--log-format=text"],
    ]
)
COMMANDS = st.sampled_from([["plan"], ["history"], ["state", "show", "vip"], ["state", "rename", "old", "new"]])
VARIABLES = st.fixed_dictionaries(
    {},
    optional={
        "RECONCILE_VERBOSE": st.sampled_from(["1", "false", ""]),
        "RECONCILE_QUIET": st.sampled_from(["yes", "0"]),
        "RECONCILE_DIRECTORY": st.sampled_from(["here", "there", ""]),
        "RECONCILE_LOG_FORMAT": st.sampled_from(["json", "text"]),
    },
)


@given(COMMANDS, st.lists(st.tuples(SHARED, st.integers(0, 4)), max_size=5), VARIABLES)
def test_a_shared_flag_means_the_same_before_and_after_each_word_of_the_command(
    probe: Probe, command: list[str], placed: list[tuple[list[str], int]], variables: dict[str, str]
) -> None:
    placed = sorted(placed, key=lambda each: each[1])  # on the command line the order stays, as the last one counts
    flags_alone = [word for words, _ in placed for word in words]
    line: list[str] = []
    for place, word in enumerate([*command, *[""] * 5]):
        line += [each for words, at in placed if min(at, 4) == place for each in words]
        line += [word] if word else []

    anywhere = probe.run(*line, variables=variables)

    assert isinstance(anywhere, dict)
    assert anywhere == probe.run(*command, *flags_alone, variables=variables)


@given(st.lists(SHARED, max_size=4), VARIABLES)
def test_the_command_line_wins_over_a_variable(
    probe: Probe, given_flags: list[list[str]], variables: dict[str, str]
) -> None:
    words = [word for each in given_flags for word in each]

    found = probe.run("plan", *words, variables=variables)

    assert isinstance(found, dict)
    placed = [each for each in given_flags if each[0].startswith(("-C", "--directory"))]
    folders = [each[-1].removeprefix("-C").removeprefix("--directory=") for each in placed]
    asked = [*filter(None, [variables.get("RECONCILE_DIRECTORY")]), *folders]
    assert found["folder"] == (probe.folder / asked[-1] if asked else probe.folder)
    formats = [each[-1].removeprefix("--log-format=") for each in given_flags if each[0].startswith("--log")]
    assert found["console"].log_format == [variables.get("RECONCILE_LOG_FORMAT", "text"), *formats][-1]
    is_verbose = {"-v", "--verbose", "-qv"} & set(words) or variables.get("RECONCILE_VERBOSE") == "1"
    assert found["console"].verbose == bool(is_verbose)


def test_a_folder_that_is_not_there_is_64(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.run("-C", "nowhere", "plan") == 64

    assert capsys.readouterr().err.startswith("error: -C nowhere: No such file or directory\n  next: name a folder")


# --- help and version ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_without_a_command_the_help_is_shown(
    probe: Probe, capsys: pytest.CaptureFixture[str], words: Sequence[str]
) -> None:
    assert probe.run(*words, variables={"RECONCILE_VERBOSE": "maybe"}) == 0

    shown = capsys.readouterr()
    assert shown.out.startswith("Usage: reconcile [OPTIONS] COMMAND")
    assert "\n\nCommands:\n" in shown.out
    assert shown.err == ""


def test_the_short_flags_are_the_long_ones(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    found = probe.run("plan", "-s", "vip", "-stag:nightly", "-o", "json")
    assert isinstance(found, dict)
    assert (found["select"], found["output"]) == (["vip", "tag:nightly"], "json")

    for short, long in (("-V", "--version"), ("-h", "--help")):
        probe.run(short)
        probe.run(long)
        said = capsys.readouterr().out
        assert said == said[: len(said) // 2] * 2


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["--bogus"], "reconcile"),
        (["pln"], "reconcile"),
        (["plan", "--bogus"], "reconcile plan"),
        (["-v", "plan", "--parallel", "0"], "reconcile plan"),
        (["state", "bogus"], "reconcile state"),
        (["state", "show"], "reconcile state show"),
        (["--directory"], "reconcile"),
        (["plan", "--out"], "reconcile plan"),
        (["plan", "--quiet=1"], "reconcile plan"),
        (["history", "spec.yaml", "-C"], "reconcile history"),
        (["state", "show", "spec.yaml", "vip", "-C"], "reconcile state show"),
    ],
)
def test_a_usage_error_names_the_help_of_its_command(
    probe: Probe, capsys: pytest.CaptureFixture[str], words: Sequence[str], command: str
) -> None:
    assert probe.run(*words) == 64

    assert f"see `{command} --help`\n" in capsys.readouterr().err


# --- variables -----------------------------------------------------------------------------------------------------


def test_a_flag_is_read_from_its_variable_where_the_command_line_does_not_say_it(probe: Probe) -> None:
    variables = {
        "RECONCILE_FORMAT": "json",
        "RECONCILE_PARALLEL": "7",
        "RECONCILE_CONFIRM": "true",
        "RECONCILE_FAULT": "drop\nhang=3 0\n",
    }

    found = probe.run("plan", "--parallel", "2", variables=variables)

    assert isinstance(found, dict)
    assert (found["output"], found["parallel"], found["confirm"]) == ("json", 2, True)
    assert found["fault"] == ["drop", "hang=3 0"]


def test_an_empty_variable_is_unset(probe: Probe) -> None:
    names = ["FORMAT", "PARALLEL", "CONFIRM", "FAULT", "SPEC", "DIRECTORY", "VERBOSE", "LOG_FORMAT"]

    assert probe.run("plan", variables={f"RECONCILE_{name}": "" for name in names}) == probe.run("plan")


def test_consents_and_choices_of_a_single_run_have_no_variable(probe: Probe) -> None:
    names = ["YES", "SHOW_IDS", "SELECT", "HELP", "VERSION"]

    assert probe.run("plan", variables={f"RECONCILE_{name}": "1" for name in names}) == probe.run("plan")


def list_commands(command: Any) -> list[Any]:
    """Give a command, and those below it."""
    return [command, *(below for each in getattr(command, "commands", {}).values() for below in list_commands(each))]


def test_no_flag_of_a_command_stands_for_two_things() -> None:
    for command in (each for name in commands.COMMANDS for each in list_commands(LOAD(name))):
        names = [name for parameter in command.params for name in parameter.opts]
        assert len(names) == len(set(names)), command.name


def test_no_command_reads_a_consent_from_a_variable() -> None:
    built = [each for name in commands.COMMANDS for each in list_commands(LOAD(name))]
    found = {parameter.opts[0]: parameter.envvar for command in built for parameter in command.params}

    for consent in ("--yes", "--force", "--adopt", "--show-ids", "--out", "--to", "--select", "--exclude"):
        assert found[consent] is None
    assert {flag for flag in found if flag.startswith("--allow-") and found[flag] is not None} == set()
    assert found["--format"] == "RECONCILE_FORMAT"
    assert found["--lock-timeout"] == "RECONCILE_LOCK_TIMEOUT"


@pytest.mark.parametrize(
    ("variable", "value", "command"),
    [
        ("RECONCILE_FORMAT", "xml", "reconcile plan"),
        ("RECONCILE_PARALLEL", "many", "reconcile plan"),
        ("RECONCILE_CONFIRM", "maybe", "reconcile plan"),
        ("RECONCILE_VERBOSE", "maybe", "reconcile"),
        ("RECONCILE_LOG_FORMAT", "xml", "reconcile"),
    ],
)
def test_a_wrong_value_names_the_variable(
    probe: Probe, capsys: pytest.CaptureFixture[str], variable: str, value: str, command: str
) -> None:
    assert probe.run("plan", variables={variable: value}) == 64

    said = capsys.readouterr().err
    assert said.startswith(f"error: {variable}: ")
    assert said.endswith(f"next: correct or unset it; see `{command} --help`\n")


def test_a_format_that_another_command_has_is_as_unset_where_a_variable_names_it(
    probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [probe.run("plan", variables={"RECONCILE_FORMAT": name}) for name in ("github", "", "markdown")]

    assert [each["output"] for each in found if isinstance(each, dict)] == ["text", "text", "markdown"]
    assert probe.run("plan", "--format", "github") == 64
    built = [each for name in commands.COMMANDS for each in list_commands(LOAD(name))]
    options = [each for command in built for each in command.params if "--format" in each.opts]
    assert {str(choice) for each in options for choice in type(each.default)} == FORMATS


def test_what_a_command_refuses_names_the_variable_that_set_it(
    probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe.run("plan", "-s", "nobody", variables={"RECONCILE_CONFIRM": "1"}) == 64
    assert capsys.readouterr().err.startswith("error: RECONCILE_CONFIRM: --confirm and --select are too much\n")

    assert probe.run("plan", "-s", "nobody", "--confirm", variables={"RECONCILE_CONFIRM": "1"}) == 64
    assert capsys.readouterr().err.startswith("error: --confirm and --select")

    assert probe.run("plan", variables={"RECONCILE_DIRECTORY": "nowhere"}) == 64
    assert capsys.readouterr().err.startswith("error: RECONCILE_DIRECTORY nowhere: No such file")


def test_a_usage_error_is_written_as_a_variable_says(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.run("plan", "--bogus", variables={"RECONCILE_LOG_FORMAT": "json"}) == 64
    assert capsys.readouterr().err.startswith('{"level": "error"')

    words = ["--log-format", "text", "plan", "--bogus"]
    assert probe.run(*words, variables={"RECONCILE_LOG_FORMAT": "json"}) == 64
    assert capsys.readouterr().err.startswith("error: ")


# --- the spec ------------------------------------------------------------------------------------------------------


def test_without_a_spec_it_is_reconcile_yaml_of_the_working_folder(probe: Probe) -> None:
    found = probe.run("-C", "here", "plan")

    assert isinstance(found, dict)
    assert (found["specs"], found["folder"]) == (["reconcile.yaml"], probe.folder / "here")


def test_a_variable_names_the_specs_and_the_command_line_wins(probe: Probe) -> None:
    variables = {"RECONCILE_SPEC": f"other.yaml{os.pathsep}{os.pathsep}here"}

    by_default, named = probe.run("plan", variables=variables), probe.run("plan", "there", variables=variables)

    assert isinstance(by_default, dict)
    assert isinstance(named, dict)
    assert (by_default["specs"], named["specs"]) == (["other.yaml", "here"], ["there"])


def test_where_there_is_none_the_three_ways_to_name_one_are_told(
    probe: Probe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe.run("-C", str(tmp_path), "plan") == 64

    said = capsys.readouterr().err
    assert said.startswith("error: no SPEC is given, RECONCILE_SPEC is not set, and there is no reconcile.yaml in ")
    assert "next: name a spec, set RECONCILE_SPEC, or work where reconcile.yaml is (`-C DIR`)" in said


def test_a_working_folder_that_was_deleted_has_no_spec(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deleted").mkdir()
    monkeypatch.chdir(tmp_path / "deleted")
    (tmp_path / "deleted").rmdir()
    try:
        assert run(["plan"]) == 64
    finally:
        os.chdir(tmp_path)
    assert "there is no reconcile.yaml in the working folder, which was deleted\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["state", "show", "vip"], ("reconcile.yaml", "vip")),
        (["state", "show", "other.yaml", "vip"], ("other.yaml", "vip")),
        (["state", "show", "other.yaml"], ("reconcile.yaml", "other.yaml")),
        (["state", "rename", "a", "b"], ("reconcile.yaml", "a", "b")),
        (["state", "rename", "other.yaml", "a", "b"], ("other.yaml", "a", "b")),
        (["history"], ("reconcile.yaml", None)),
        (["history", "3f2a9c01"], ("reconcile.yaml", "3f2a9c01")),
        (["history", "last"], ("reconcile.yaml", "last")),
        (["history", "missing.yaml"], ("missing.yaml", None)),
        (["history", "MISSING.YML"], ("MISSING.YML", None)),
        (["history", "specs/missing"], ("specs/missing", None)),
        (["history", "here"], ("here", None)),
        (["history", "-"], ("-", None)),
        (["history", "other.yaml", "last"], ("other.yaml", "last")),
        (["history", "other.yaml", "here"], ("other.yaml", "here")),
        (["history", "no_such", "last"], ("no_such", "last")),
    ],
)
def test_one_argument_fewer_means_that_the_spec_is_left_out(
    probe: Probe, words: Sequence[str], expected: tuple[str | None, ...]
) -> None:
    found = probe.run(*words)

    assert isinstance(found, dict)
    assert tuple(value for name, value in found.items() if name not in ("console", "folder")) == expected


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        (["history", "a.yaml", "b.yaml", "last"], {}, "one SPEC is taken here, and not 2\n"),
        (["state", "show"], {}, "Missing argument 'NAME'."),
        (["state", "rename", "a"], {}, "Missing argument 'OLD'."),
        (["history"], {"RECONCILE_SPEC": f"here{os.pathsep}there"}, "RECONCILE_SPEC names 2 specs, and one is taken"),
        (["plan"], {"RECONCILE_SPEC": f"here{os.pathsep}gone"}, "RECONCILE_SPEC: no such spec: gone"),
    ],
)
def test_too_many_or_too_few_arguments_are_64(
    probe: Probe,
    capsys: pytest.CaptureFixture[str],
    words: Sequence[str],
    variables: Mapping[str, str],
    message: str,
) -> None:
    assert probe.run(*words, variables=variables) == 64

    assert message in capsys.readouterr().err


def test_a_hint_names_the_spec_that_was_found(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.run("state", "show", "missing") == 1

    assert "`reconcile status reconcile.yaml` lists them" in capsys.readouterr().err


def test_the_usage_shows_that_the_spec_may_be_left_out(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    shown: Callable[[], str] = lambda: capsys.readouterr().out.splitlines()[0]  # noqa: E731

    probe.run("plan", "-h")
    assert shown() == "Usage: reconcile plan [OPTIONS] [SPEC]..."
    probe.run("history", "-h")
    assert shown() == "Usage: reconcile history [OPTIONS] [SPEC] [RUN]"
    probe.run("state", "rename", "-h")
    assert shown() == "Usage: reconcile state rename [OPTIONS] [SPEC] {OLD} {NEW}"
