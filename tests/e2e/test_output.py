"""What is printed never decides what was done, and nothing foreign commands a terminal or a CI system."""

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.errors import StateError
from reconciler.state.store import StateStore
from tests.support import fork_command
from tests.support.forks import find_server
from tests.support.project import Project, Result, people, segment

HOSTILE = "\x1b[31mred\x1b]0;title\x07\n::error::pwned\r##[error]pwned\u202e"


@pytest.fixture
def filled(project: Project) -> Project:
    project.want("vip", people(*range(5)))
    project.write({"vip": segment(56, "vip")})
    return project


ANEW = [sys.executable, "-c", "from reconciler.cli import main; main()"]


def run_into(project: Project, where: str, *words: str, **environment: str) -> Result:
    """Run `reconcile` with its streams redirected as a shell does it; undecodable bytes come back as \\x….

    Python starts anew where it is about its start: for a closed stream, and for variables that it reads.
    """
    is_forked = "&-" not in where and not environment
    client = [sys.executable, "-I", "-S", fork_command.__file__, find_server()] if is_forked else ANEW
    line = f"{shlex.join([*client, *words])} {where}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=project.folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert "unexpected" not in done.stderr
    return Result(done.returncode, done.stdout, done.stderr)


def newest_run(project: Project) -> dict[str, object]:
    run_id = project.run("history", "spec.yaml", "--format", "json").document["runs"][0]["run_id"]
    return project.run("history", "spec.yaml", run_id, "--format", "json").document


# --- full, closed, gone ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [["plan", "spec.yaml"], ["status", "spec.yaml", "--format", "json"], ["validate", "spec.yaml"], ["schema"],
     ["--help"], ["plan", "--help"], ["--version"], ["state", "show", "spec.yaml", "vip", "--members"]],
)  # fmt: skip
def test_a_document_that_finds_no_room_is_1_and_says_so(filled: Project, words: list[str]) -> None:
    assert filled.run("apply", "spec.yaml").code == 0

    done = run_into(filled, ">/dev/full", *words)

    assert done.code == 1
    assert "error: the output can't be written: No space left on device\n  next: " in done.err


@pytest.mark.parametrize("where", [">/dev/full", "2>/dev/full", ">/dev/full 2>&1", ">&-", "2>&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("more", [[], ["--format", "json", "--log-format", "json"]], ids=["text", "json"])
def test_an_apply_that_can_tell_nobody_is_done_all_the_same(filled: Project, where: str, more: list[str]) -> None:
    done = run_into(filled, where, "apply", "spec.yaml", *more)

    assert done.code == 0
    assert filled.sandbox.members(56) == set(people(*range(5)))
    assert newest_run(filled)["exit_code"] == 0
    assert filled.json("plan").segments["vip"]["status"] == "unchanged"


def test_an_apply_whose_document_finds_no_room_says_where_it_stands(filled: Project) -> None:
    done = run_into(filled, ">/dev/full", "apply", "spec.yaml", PYTHONUTF8="1")

    assert "No space left on device" in done.err
    assert "reconcile history spec.yaml" in done.err


def test_what_was_not_done_is_no_success_where_nobody_reads_it(filled: Project) -> None:
    filled.write({"vip": segment(56, "vip", "guards: {min_members: 9}")})

    done = run_into(filled, ">/dev/full 2>&1", "apply", "spec.yaml")

    assert done.code == 3
    assert filled.sandbox.writes == []


@pytest.mark.parametrize(
    "words",
    [
        ["refresh", "spec.yaml", "--yes"],
        ["plan", "spec.yaml", "--out", "a.plan"],
        ["init", "new"],
        ["state", "backup", "spec.yaml", "--to", "copy.db"],
        ["state", "unlock", "spec.yaml", "vip", "--yes"],
        ["state", "upgrade", "spec.yaml"],
        ["state", "forget", "spec.yaml", "vip", "--yes"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_what_a_command_did_counts_and_not_what_it_could_say(filled: Project, words: list[str]) -> None:
    assert filled.run("apply", "spec.yaml").code == 0

    done = run_into(filled, ">/dev/full", *words)

    assert done.code == 0
    assert "No space left on device" in done.err


def test_a_reader_who_has_seen_enough_is_no_error(filled: Project) -> None:
    filled.want("vip", people(*range(200)))
    assert filled.run("apply", "spec.yaml").code == 0
    filled.want("vip", people(*range(201)))
    nobody_reads = "| true"

    for words, code in (
        (["state", "show", "spec.yaml", "vip", "--members"], 0),
        (["schema"], 0),
        (["--help"], 0),
        (["status", "spec.yaml", "--format", "markdown"], 0),
        (["plan", "spec.yaml", "--detailed-exitcode"], 2),
        (["apply", "spec.yaml", "--quiet"], 0),
    ):
        done = run_into(filled, nobody_reads, *words)
        assert (done.code, done.out, "error" in done.err) == (code, "", False), words
    assert len(filled.sandbox.members(56)) == 201


def test_a_file_that_is_opened_never_takes_the_place_of_a_closed_stream(filled: Project) -> None:
    assert run_into(filled, "<&- >&- 2>&-", "apply", "spec.yaml", "--verbose").code == 0
    with sqlite3.connect(filled.state_file) as state:
        assert state.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    state.close()


def test_a_usage_error_is_64_where_nobody_hears_it(filled: Project) -> None:
    for where in ("2>/dev/full", "2>&-", ">&- 2>&-"):
        assert run_into(filled, where, "plan", "spec.yaml", "--no-such-flag").code == 64


HEARS_SIGNALS = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom reconciler.cli import main; main()"
)
"""A shell makes what it starts in the background deaf for SIGINT."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_document_is_printed_ends_with_its_code(filled: Project, number: signal.Signals) -> None:
    filled.want("vip", [f"{i:0100}" for i in range(3000)])  # more than a pipe holds
    assert filled.run("apply", "spec.yaml").code == 0
    words = ["state", "show", "spec.yaml", "vip", "--members"]
    with subprocess.Popen(
        [sys.executable, "-c", HEARS_SIGNALS, *words],
        cwd=filled.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1)

        process.send_signal(number)
        process.wait(60)

        assert process.returncode == 128 + number
        assert b"Traceback" not in process.stderr.read()


# --- small encodings ---------------------------------------------------------------------------------------------

LATIN = {"PYTHONIOENCODING": "iso8859-1"}
PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("environment", "output"),
    [(LATIN, "text"), (PLAIN_C, "json"), ({"PYTHONIOENCODING": "ascii:strict"}, "markdown")],
)
def test_signs_that_the_encoding_lacks_are_replaced(filled: Project, environment: dict[str, str], output: str) -> None:
    filled.write({"größer_日本": segment(56, "vip"), "broken_💥": segment(57, "nowhere_é")})

    for command, code in (("plan", 1), ("apply", 6), ("drift", 0), ("history", 0)):
        done = run_into(filled, "", command, "spec.yaml", "--format", output, **environment)
        assert done.code == code, done.err
        if output == "json" and command != "history":
            names = {row["name"] for row in json.loads(done.out)["segments"]}
            assert names == {"größer_日本", "broken_💥"}
    assert filled.sandbox.members(56) == set(people(*range(5)))


def test_ids_stay_exact_in_a_small_encoding(filled: Project) -> None:
    filled.want("vip", ["日本", "p0001"])
    assert filled.run("apply", "spec.yaml").code == 0

    done = run_into(filled, "", "state", "show", "spec.yaml", "vip", "--members", **LATIN)

    assert sorted(done.out.splitlines()) == ["\\u65e5\\u672c", "p0001"]


# --- foreign text ------------------------------------------------------------------------------------------------


def harmless(done: Result) -> Result:
    """Nothing in it is obeyed by a terminal or a CI system."""
    said = done.out + "\n" + done.err
    assert not {"\x1b", "\x07", "\r", "\u202e", "\x9b"} & set(said)
    assert not [line for line in said.splitlines() if line.strip().startswith("::") or "##[" in line]
    return done


@pytest.fixture
def hostile(project: Project) -> Project:
    """Names that a warehouse, Customer.io and a user may bring, all of them hostile."""
    column = HOSTILE.replace('"', "")
    with sqlite3.connect(project.folder / "warehouse.db") as warehouse:
        warehouse.execute(f'CREATE TABLE odd (id, "{column}")')
        warehouse.execute("INSERT INTO odd VALUES ('p0001', 1)")
    warehouse.close()
    project.sandbox.create_segment(HOSTILE, id=70)
    name, text = json.dumps("::error::seg ##[group]"), json.dumps("::warning::" + "tag ##vso[task.complete]")
    project.write(
        {
            name: f"segment_id: 70\nquery: SELECT id FROM odd\ndescription: {text}\ntags: [{text}]",
            "several": "segment_id: 57\nquery: SELECT * FROM odd",
        },
        workspace=json.dumps("::debug::ws"),
    )
    return project


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_foreign_text_commands_nobody(hostile: Project, log_format: str) -> None:
    for words in (
        *((command, "spec.yaml", "--format", output)
          for output in ("text", "json", "markdown")
          for command in ("plan", "apply", "status", "drift", "history")),
        ("validate", "spec.yaml"),
        ("validate", "spec.yaml", "--connect"),
        ("state", "show", "spec.yaml", HOSTILE),
        ("history", "spec.yaml", HOSTILE),
        ("plan", HOSTILE),
        ("plan", "spec.yaml", "--select", HOSTILE),
        ("plan", "spec.yaml", "--format", HOSTILE),
        ("apply", f"::stop-commands::\n{HOSTILE}.plan"),
        (HOSTILE,),
    ):  # fmt: skip
        done = harmless(hostile.run(*words, "--verbose", "--log-format", log_format))
        if "json" in words:
            json.loads(done.out)


def test_a_document_keeps_foreign_names_exact_in_json(hostile: Project) -> None:
    planned = hostile.json("plan")

    assert "::error::seg ##[group]" in planned.segments
    assert "##[error]pwned" in planned.segments["::error::seg ##[group]"]["title"]


def test_an_error_is_one_line_whatever_stands_in_it(hostile: Project) -> None:
    done = hostile.run("plan", "spec.yaml", "--format", "json")

    (error,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert "red" in error
    assert "pwned" in error


def test_each_problem_of_a_spec_is_a_line_of_its_own(filled: Project) -> None:
    filled.spec.write_text("version: 1\nsources: {w: {url: 5}}\nsegments: {a: {segment_id: 0, query: x}}\n")

    done = filled.run("validate", "spec.yaml")

    assert [line.split(": `")[0] for line in done.err.splitlines()[:-1]] == [
        "error: spec.yaml:1",
        "spec.yaml:2",
        "spec.yaml:3",
    ]


def test_a_spec_with_a_hostile_name_of_a_file_commands_nobody(hostile: Project) -> None:
    folder = hostile.folder / "::error::\x1b[1mfolder\n"
    folder.mkdir()
    Path(hostile.spec).rename(folder / "spec.yaml")

    for command in ("plan", "validate", "status"):
        harmless(hostile.run(command, f"{folder.name}/spec.yaml"))


def test_ids_that_look_like_commands_are_escaped_where_they_are_listed(filled: Project) -> None:
    filled.want("vip", ["::error::x", "##[group]y", "a\u202eb", "p0001"])
    assert filled.run("apply", "spec.yaml").code == 0

    listed = harmless(filled.run("state", "show", "spec.yaml", "vip", "--members"))
    document = filled.run("state", "show", "spec.yaml", "vip", "--members", "--format", "json").document

    assert "p0001" in listed.out.splitlines()
    assert sorted(document["members"]) == ["##[group]y", "::error::x", "a\u202eb", "p0001"]


# --- next steps --------------------------------------------------------------------------------------------------


def test_commands_to_copy_are_as_a_shell_takes_them(project: Project) -> None:
    project.want("vip", people(1))
    (project.folder / "my specs").mkdir()
    spec = project.write({"vip": segment(56, "vip")}, name="my specs/a.yaml")
    spec.write_text(spec.read_text().replace("sqlite:///warehouse.db", "sqlite:///../warehouse.db"))
    assert project.run("plan", "my specs/a.yaml", "--out", "my plan").err.endswith("reconcile apply 'my plan'\n")
    assert "  reconcile plan 'new one/reconcile.yaml'\n" in project.run("init", "new one").out
    assert project.run("apply", "my specs/a.yaml").code == 0

    stale = project.run("apply", "my plan")
    spec.write_text(spec.read_text().replace("segment_id: 56", "segment_id: 56\n    id_type: email"))
    checked = project.run("validate", "my specs/a.yaml", "--connect")

    assert "reconcile plan 'my specs/a.yaml' --out 'my plan'" in stale.err
    assert "`reconcile state forget 'my specs/a.yaml' vip`" in checked.out


@pytest.mark.parametrize("arguments", [("apply", "spec.yaml"), ("refresh", "spec.yaml", "--yes")])
def test_a_history_that_can_t_be_written_is_told_and_decides_no_exit_code(
    filled: Project, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    def fail(*_: object) -> None:
        raise StateError("the disk of the state is full")

    monkeypatch.setattr(StateStore, "end", fail)

    done = filled.run(*arguments)

    assert done.code == 0
    assert "warning: this run can't be written into the history: the disk of the state is full" in done.err
