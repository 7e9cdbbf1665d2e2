"""What a plan, a run and a drift print as JSON, and how every command ends."""

import json
import re
import signal
from typing import Any

import pytest

from reconciler.sandbox.faults import answers, poison
from reconciler.sandbox.server import Sandbox
from reconciler.sandbox.settings import Settings
from tests.support.json_schema import find_violations
from tests.support.project import Project, people, segment

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
COUNTS = (
    "desired", "stored", "add", "remove", "resend", "unchanged", "unsettled", "unmatched", "nulls", "invalid",
    "duplicates", "requests",
)  # fmt: skip
IDENTITY = {"name": str, "workspace": str, "segment_id": int, "id_type": str, "spec": str, "status": str}


def check_head(document: dict[str, Any], kind: str) -> None:
    assert document["format_version"].split(".")[0] == "1"
    assert document["kind"] == kind
    assert document["tool_version"] == "0.1.0"
    assert TIME.fullmatch(document["created_at"])
    assert isinstance(document["warnings"], list)


def check_schema(project: Project, document: dict[str, Any]) -> None:
    """Hold a document to the schema that the command line prints."""
    schema = project.run("schema", document["kind"])
    assert schema.code == 0, schema.err
    assert list(find_violations(document, schema.document)) == []


def check_row(row: dict[str, Any]) -> None:
    for name, kind in IDENTITY.items():
        assert type(row[name]) is kind, name
    for name in COUNTS:
        assert type(row[name]) is int, name
        assert row[name] >= 0
    assert type(row["first_fill"]) is bool
    assert row["desired"] == row["unchanged"] + row["add"] + row["resend"]
    for guard in row["guards"]:
        assert {name: type(guard[name]) for name in guard} == {
            "name": str, "limit": str, "actual": str, "breached": bool, "allowed": bool
        }  # fmt: skip
    assert {guard["name"] for guard in row["guards"]} <= {
        "max_removals", "max_additions", "min_members", "must_include", "allow_empty"
    }  # fmt: skip


@pytest.fixture
def busy(project: Project) -> Project:
    """Segments that will change, do nothing, be blocked and fail."""
    for table in ("changed", "same", "stopped"):
        project.want(table, people(*range(100)))
    project.write(
        {
            "changed": segment(56, "changed", "nulls: skip", "invalid: skip", "guards: {max_removals: 25.0%}"),
            "same": segment(57, "same"),
            "stopped": segment(58, "stopped"),
        }
    )
    assert project.run("apply", "spec.yaml").code == 0
    project.sandbox.reset_calls()
    project.want("changed", [*people(*range(5, 120)), "p0007", "p0007", None, None, "", " x"])
    project.want("stopped", people(*range(10)))
    return project


def test_every_field_of_a_plan(busy: Project) -> None:
    planned = busy.json("plan")
    assert planned.code == 3
    document = planned.document
    check_head(document, "plan")
    assert document["workspace"] == "default"
    for row in document["segments"]:
        check_row(row)
        assert row["error"] is None or set(row["error"]) >= {"code", "message", "hint"}
    changed = planned.segments["changed"]
    assert {name: changed[name] for name in COUNTS} == {
        "desired": 115, "stored": 100, "add": 20, "remove": 5, "resend": 0, "unchanged": 95, "unsettled": 0,
        "unmatched": 0, "nulls": 2, "invalid": 2, "duplicates": 2, "requests": 2,
    }  # fmt: skip
    assert (changed["name"], changed["segment_id"], changed["id_type"], changed["spec"], changed["first_fill"]) == (
        "changed", 56, "id", "spec.yaml", False
    )  # fmt: skip
    guards = {guard["name"]: guard for guard in changed["guards"]}
    assert guards["max_removals"]["actual"] == "5.0%"
    assert guards["max_additions"] == {
        "name": "max_additions", "limit": "100%", "actual": "20.0%", "breached": False, "allowed": False
    }  # fmt: skip
    assert {name: row["status"] for name, row in planned.segments.items()} == {
        "changed": "changes", "same": "unchanged", "stopped": "blocked"
    }  # fmt: skip
    summary = document["summary"]
    assert {name: summary[name] for name in ("segments", "changed", "unchanged", "blocked", "failed")} == {
        "segments": 3, "changed": 1, "unchanged": 1, "blocked": 1, "failed": 0
    }  # fmt: skip
    assert (summary["add"], summary["remove"]) in ((20, 5), (20, 95))


def test_every_field_of_a_run(busy: Project) -> None:
    busy.sandbox.inject(poison("p0110"))
    done = busy.json("apply")
    assert done.code == 6
    document = done.document
    check_head(document, "run")
    assert document["run_id"]
    for row in document["segments"]:
        check_row(row)
        for name in ("added", "removed", "rejected", "unsettled", "unmatched", "requests", "retries"):
            assert type(row[name]) is int, name
        assert isinstance(row["seconds"], int | float)
    assert {name: row["status"] for name, row in done.segments.items()} == {
        "changed": "partial", "same": "unchanged", "stopped": "blocked"
    }  # fmt: skip
    row = done.segments["changed"]
    assert [row[name] for name in ("added", "removed", "rejected", "unsettled", "retries")] == [19, 5, 1, 0, 0]
    history = busy.json("history").document["runs"]
    assert history[0]["run_id"] == document["run_id"]
    assert history[0]["exit_code"] == 6


def test_every_document_is_what_its_schema_says(busy: Project) -> None:
    busy.sandbox.inject(poison("p0110"))
    done = busy.json("apply", "--confirm")
    documents = [
        busy.json("plan", "--show-ids", "3", "--out", "plan.json").document,
        busy.json("plan", "--allow-removals", "stopped").document,
        done.document,
        busy.json("drift").document,
        busy.json("refresh", "--yes").document,
        busy.json("status").document,
        busy.json("history").document,
        busy.run("history", "spec.yaml", done.document["run_id"], "--format", "json").document,
    ]
    busy.sandbox.configure(app_key_revoked=True)
    busy.write({"failing": segment(57, "nothing"), "unknown": segment(59, "same")})  # 56 and 58 become orphans
    documents += [busy.json(command).document for command in ("plan", "drift", "status", "apply")]
    documents.append(busy.json("refresh", "--yes").document)

    for document in documents:
        check_schema(busy, document)
    assert {document["kind"] for document in documents} == {*("plan", "run", "drift", "refresh", "status", "history")}


def test_every_field_of_a_drift(project: Project) -> None:
    project.want("vip", people(*range(10)))
    project.write({"vip": segment(56, "vip"), "letter": segment(58, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    project.sandbox.add_people([(None, "nobody@example.com")])
    project.sandbox.put_members(56, people(500, 501))
    project.sandbox.put_members(56, ["nobody@example.com"], "email")
    project.sandbox.pull_members(56, people(1, 2, 3))

    drifted = project.json("drift")

    assert drifted.code == 2
    check_head(drifted.document, "drift")
    row = drifted.segments["vip"]
    for name, kind in IDENTITY.items():
        assert type(row[name]) is kind, name
    names = ("stored", "remote", "missing", "foreign", "lingering", "unkeyed", "status")
    assert {name: row[name] for name in names} == {
        "stored": 10, "remote": 10, "missing": 3, "foreign": 2, "lingering": 0, "unkeyed": 1, "status": "drifted"
    }  # fmt: skip
    assert drifted.segments["letter"]["status"] == "in_sync"


def test_a_drift_whose_read_fails_knows_what_the_state_holds_and_no_other_number(project: Project) -> None:
    project.want("vip", people(*range(3)))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    project.sandbox.configure(app_key_revoked=True)
    failed = project.json("drift")
    assert failed.code == 1
    row = failed.segments["vip"]
    assert (row["status"], row["remote"], row["missing"], row["foreign"], row["unkeyed"]) == (
        "failed", None, None, None, None
    )  # fmt: skip
    assert (row["stored"], row["unmatched"], row["appeared"]) == (3, 0, None)
    assert failed.document["summary"]["missing"] is None
    assert set(row["error"]) >= {"code", "message", "hint"}


def test_a_drift_whose_state_cannot_be_read_knows_nothing(project: Project) -> None:
    project.write({"vip": segment(56, "vip")})
    project.state_file.parent.mkdir()
    project.state_file.write_text("no database")

    row = project.json("drift").segments["vip"]

    assert (row["status"], row["stored"], row["unmatched"]) == ("failed", None, None)


def test_the_workspace_at_the_top_is_null_where_specs_differ(project: Project) -> None:
    project.want("vip", people(1))
    for number, name in ((56, "a"), (57, "b")):
        project.write({"vip": segment(number, "vip")}, workspace=name, name=f"{name}.yaml")
    document = project.run("plan", "a.yaml", "b.yaml", "--format", "json").document
    assert document["workspace"] is None
    assert [(row["workspace"], row["spec"]) for row in document["segments"]] == [("a", "a.yaml"), ("b", "b.yaml")]
    assert project.run("plan", "a.yaml", "--format", "json").document["workspace"] == "a"


def test_unsettled_ids_are_not_stored_and_count_as_add_or_remove(project: Project) -> None:
    project.want("vip", people(*range(30)))
    project.write({"vip": segment(56, "vip")})
    cut = project.hit("apply", "spec.yaml", at=lambda call: call.direction is not None)
    assert cut.code == -signal.SIGKILL
    project.want("vip", people(*range(20, 40)))
    row = project.json("plan").segments["vip"]
    check_row(row)
    assert (row["stored"], row["add"], row["remove"], row["unchanged"], row["unsettled"]) == (0, 20, 20, 0, 30)


def test_the_counts_follow_from_the_query_and_the_state_over_a_life(project: Project) -> None:
    project.write({"vip": segment(56, "vip")}, more="defaults: {guards: {max_removals: 100%, max_additions: 5000%}}\n")
    stored: set[str] = set()
    for wanted in (range(50), range(40, 90), range(200)):
        project.want("vip", people(*wanted))
        ids = set(people(*wanted))
        for command in ("plan", "apply"):
            row = project.json(command).segments["vip"]
            check_row(row)
            assert row["stored"] == len(stored)
            assert (row["add"], row["remove"]) == (len(ids - stored), len(stored - ids))
            assert row["unchanged"] == len(ids & stored)
            if command == "apply":
                stored = ids


# -- exit codes


def failing(project: Project) -> None:
    """Segment `failing`'s query breaks."""
    project.write(
        {
            "failing": "segment_id: 56\nquery: SELECT id FROM nowhere",
            "stopped": segment(57, "stopped"),
            "changed": segment(58, "changed"),
        }
    )


@pytest.fixture
def several(project: Project) -> Project:
    for table in ("failing", "stopped", "changed"):
        project.want(table, people(*range(100)))
    project.write({t: segment(n, t) for t, n in (("failing", 56), ("stopped", 57), ("changed", 58))})
    assert project.run("apply", "spec.yaml").code == 0
    project.want("stopped", people(1))
    project.want("changed", people(*range(101)))
    project.sandbox.reset_calls()
    return project


def test_plan_ends_with_0_or_2_by_its_flag_and_with_0_when_nothing_is_pending(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")})
    assert project.json("plan").code == 0
    assert project.json("plan", "--detailed-exitcode").code == 2
    assert project.run("apply", "spec.yaml").code == 0
    assert project.json("plan", "--detailed-exitcode").code == 0


def test_a_failure_beats_a_guard_and_a_guard_beats_pending_changes(several: Project) -> None:
    assert several.json("plan", "--detailed-exitcode", "--exclude", "stopped").code == 2
    assert several.json("plan", "--detailed-exitcode").code == 3
    failing(several)
    planned = several.json("plan", "--detailed-exitcode")
    assert planned.code == 1
    assert {name: row["status"] for name, row in planned.segments.items()} == {
        "failing": "failed", "stopped": "blocked", "changed": "changes"
    }  # fmt: skip


def test_partly_done_beats_a_failure_and_a_usage_error_beats_all(several: Project) -> None:
    failing(several)
    several.sandbox.inject(poison("p0100"))
    several.want("changed", people(*range(102)))
    done = several.json("apply")
    assert done.code == 6
    assert {name: row["status"] for name, row in done.segments.items()} == {
        "failing": "failed", "stopped": "blocked", "changed": "partial"
    }  # fmt: skip
    broken = several.folder / "broken.yaml"
    broken.write_text("version: 1\nwhat: 1\n")
    several.sandbox.reset_calls()
    refused = several.run("apply", "spec.yaml", "broken.yaml", "--format", "json")
    assert refused.code == 64
    assert refused.out == ""
    assert several.sandbox.calls == []


def test_a_failed_segment_beside_applied_ones_is_1_only_where_nothing_was_changed(several: Project) -> None:
    failing(several)
    only = several.json("apply", "--select", "failing")
    assert only.code == 1
    both = several.json("apply", "--exclude", "stopped")
    assert both.segments["changed"]["status"] == "applied"
    assert both.code == 6  # something was changed, and a segment failed


def test_a_batch_that_is_refused_whole_changed_nothing_and_is_1(project: Project) -> None:
    project.want("vip", people(1, 2, 3))
    project.write({"vip": segment(56, "vip")})
    project.sandbox.inject(answers(403, path="*add_customers", times=None))
    done = project.json("apply")
    assert (done.code, done.segments["vip"]["status"]) == (1, "failed")
    assert done.segments["vip"]["error"]["message"]


USAGE = [
    ["plan"], ["plan", "nothing.yaml"], ["plan", "spec.yaml", "--what"], ["plan", "spec.yaml", "--format", "xml"],
    ["frobnicate"], ["apply", "spec.yaml", "--parallel", "0"], ["apply", "spec.yaml", "--show-ids", "-1"],
    ["plan", "spec.yaml", "--memory-limit", "lots"], ["plan", "spec.yaml", "--select", "nobody"],
    ["plan", "spec.yaml", "--exclude", "tag:none"], ["history", "spec.yaml", "--format", "yaml"],
    ["state", "show", "spec.yaml"], ["state", "show", "spec.yaml", "nobody"], ["refresh", "spec.yaml", "--adopt", "x"],
    ["apply", "spec.yaml", "--lock-timeout", "soon"], ["drift", "spec.yaml", "--select", "x*"],
]  # fmt: skip


@pytest.mark.parametrize("words", USAGE, ids=" ".join)
def test_a_usage_error_is_64_with_an_empty_stdout_and_says_what_to_do(project: Project, words: list[str]) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")})
    ended = project.run(*words)
    assert ended.code == 64
    assert ended.out == ""
    assert ended.err.strip()
    assert "Traceback" not in ended.err
    assert project.sandbox.calls == []


SPEC_ERRORS = {
    "unknown key": ("query: SELECT id FROM vip\ncolour: red\nsegment_id: 56", 4),
    "wrong type": ("segment_id: fifty-six\nquery: SELECT 1", 1),
    "both queries": ("segment_id: 56\nquery: SELECT 1\nquery_file: x.sql", 1),
    "no query": ("segment_id: 56", 1),
    "duplicate key": ("segment_id: 56\nquery: SELECT 1\nquery: SELECT 2", 3),
    "missing variable": ("segment_id: ${NO_SUCH_VARIABLE}\nquery: SELECT 1", 1),
    "bad percentage": ("segment_id: 56\nquery: SELECT 1\nguards: {max_removals: 25 percent}", 3),
}


@pytest.mark.parametrize("name", SPEC_ERRORS)
@pytest.mark.parametrize("command", ["plan", "validate", "apply"])
def test_a_spec_error_is_64_with_file_and_line(project: Project, name: str, command: str) -> None:
    project.write({"vip": SPEC_ERRORS[name][0]})
    ended = project.run(command, "spec.yaml")
    assert ended.code == 64
    assert ended.out == "" or command == "validate"
    assert re.search(r"spec\.yaml:\d+", ended.err), ended.err
    if name == "missing variable":
        assert "NO_SUCH_VARIABLE" in ended.err
    assert project.sandbox.calls == []


def test_all_errors_of_all_specs_are_reported_at_once(project: Project) -> None:
    project.write({"vip": "segment_id: 56\nquery: SELECT 1\ncolour: red\nguards: {max_removals: x}"})
    project.write({"vip": "segment_id: 56\nquery: SELECT 1\nshape: round"}, name="two.yaml")
    ended = project.run("plan", "spec.yaml", "two.yaml")
    assert ended.code == 64
    for word in ("colour", "max_removals", "shape", "spec.yaml:", "two.yaml:"):
        assert word in ended.err, word


def test_two_segments_with_one_id_in_one_workspace_are_an_error_across_specs(project: Project) -> None:
    project.write({"one": segment(56, "vip"), "two": segment(56, "vip")})
    within = project.run("plan", "spec.yaml")
    assert within.code == 64
    assert re.search(r"spec\.yaml:\d+", within.err)
    project.write({"one": segment(56, "vip")})
    project.write({"two": segment(56, "vip")}, name="two.yaml")
    across = project.run("plan", "spec.yaml", "two.yaml")
    assert across.code == 64
    assert re.search(r"two\.yaml:\d+", across.err)
    project.want("vip", people(1))
    with Sandbox(settings=Settings(environment_id=4)) as other:
        other.create_segment("VIP", id=56)
        Project(project.folder, other).write({"two": segment(56, "vip")}, name="two.yaml", workspace="other")
        assert project.run("plan", "spec.yaml", "two.yaml").code == 0


@pytest.mark.parametrize("command", ["plan", "apply", "drift", "refresh", "status", "history"])
@pytest.mark.parametrize("format", ["text", "json", "markdown"])
def test_stdout_carries_the_document_and_nothing_else(project: Project, command: str, format: str) -> None:
    project.want("vip", people(1, 2))
    project.write({"vip": segment(56, "vip")})
    if command in ("drift", "status", "history"):
        assert project.run("apply", "spec.yaml").code == 0
    words = ["--yes"] if command == "refresh" else []
    loud = project.run(command, "spec.yaml", "--format", format, "--verbose", *words)
    assert loud.code == 0, loud.err
    if format == "json":
        assert loud.out.endswith("}\n")
        assert json.loads(loud.out)["kind"] == {"apply": "run"}.get(command, command)
    else:
        assert loud.out.strip()
    assert "GET /" not in loud.out
    assert "\x1b" not in loud.out + loud.err
    if format == "json":
        quiet = project.run(command, "spec.yaml", "--format", format, "--quiet", *words)
        assert quiet.err == "" or command == "refresh"


def test_log_format_json_makes_every_line_of_stderr_a_document(project: Project) -> None:
    project.want("vip", people(1, 2))
    project.write({"vip": segment(56, "vip"), "bad": "segment_id: 57\nquery: SELECT id FROM nowhere"})
    done = project.json("apply", "--log-format", "json", "--verbose")
    assert done.code == 6
    lines = done.err.splitlines()
    assert lines
    for line in lines:
        assert isinstance(json.loads(line), dict)


@pytest.mark.parametrize("flags", [(), ("--quiet",)])
def test_the_answer_to_a_signal_is_a_document_too(project: Project, flags: tuple[str, ...]) -> None:
    project.want("vip", people(1, 2))
    project.write({"vip": segment(56, "vip")})
    words = ("apply", "spec.yaml", "--log-format", "json", *flags)
    ended = project.hit(*words, at=lambda call: call.direction is not None, by=signal.SIGTERM)
    assert ended.code == 143
    said = [json.loads(line) for line in ended.err.splitlines()]
    (answer,) = [line for line in said if "stopping" in line.get("message", "")]
    assert answer == {"level": "info", "message": "stopping after the batches in flight; once more to stop at once"}


def test_an_error_of_a_segment_has_a_code_a_message_and_a_next_step(project: Project) -> None:
    project.write({"bad": "segment_id: 57\nquery: SELECT id FROM nowhere"})
    planned = project.json("plan")
    assert planned.code == 1
    error = planned.segments["bad"]["error"]
    assert all(error[name] and isinstance(error[name], str) for name in ("code", "message", "hint"))
    assert "Traceback" not in planned.err + project.run("plan", "spec.yaml").err


def test_a_first_fill_warns_names_refresh_and_says_what_a_lost_sqlite_state_cannot_do(project: Project) -> None:
    project.want("vip", people(1, 2))
    project.sandbox.put_members(56, people(*range(30, 75)))
    project.write({"vip": segment(56, "vip")})
    said = project.run("plan", "spec.yaml").out
    assert "reconcile refresh" in said
    assert re.search(r"\b45 members?\b", said), said
    assert "lost" in said
    project.spec.write_text(project.spec.read_text().replace("app_api_key: sandbox-app-key", 'app_api_key: ""'))
    said = project.run("plan", "spec.yaml").out
    assert "refresh" in said
    assert not re.search(r"\b45 members?\b", said)


def test_version_and_help_are_0(project: Project) -> None:
    assert project.run("--version").out == "reconcile 0.1.0\n"
    for words in (["--help"], ["plan", "--help"], ["state", "--help"]):
        assert project.run(*words).code == 0


@pytest.mark.parametrize("output", ["text", "json", "markdown"])
def test_what_failed_is_told_on_stderr_with_its_place_and_the_next_step(project: Project, output: str) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "nowhere")})

    done = project.run("plan", "spec.yaml", "--format", output)

    assert done.code == 1
    assert re.search(r"error: .*vip: spec\.yaml:\d+: source .*no such table: nowhere\n  next: ", done.err)


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_one_cause_of_twelve_segments_is_told_once_and_on_stderr_as_one_line(project: Project, command: str) -> None:
    project.write({f"s{number:02}": segment(100 + number, "vip") for number in range(1, 13)})
    project.spec.write_text(project.spec.read_text().replace("sqlite:///warehouse.db", "sqlite:///nowhere.db"))
    cause = "no file nowhere.db"

    done = project.run(command, "spec.yaml")

    assert done.code == 1
    assert done.out.lower().count(cause) == 1
    (line,) = [line for line in done.err.splitlines() if cause in line.lower()]
    assert line.startswith("error: 12 segments: spec.yaml: source warehouse: ")
    assert "(default/s01, default/s02, " in line
    assert "default/s10 and 2 more); next: Check the path" in line
    assert "next:" not in done.err.replace(line, "")
    document = project.json(command).segments
    assert {cause in each["error"]["message"].lower() for each in document.values()} == {True}


def test_a_segment_whose_ids_were_all_rejected_says_so(project: Project) -> None:
    project.want("vip", people(1, 2, 3))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(1, 2, 3, 4, 5))
    project.sandbox.inject(poison("p0004", "p0005"))

    failed = project.json("apply")

    assert (failed.code, failed.segments["vip"]["status"], failed.segments["vip"]["rejected"]) == (1, "failed", 2)
    assert failed.segments["vip"]["error"]["code"] == "rejected"
    assert "2 ids" in failed.err
    assert "p0004" not in failed.out + failed.err


@pytest.mark.parametrize(("ids", "words"), [((1,), "refused the one id (400)"), ((1, 2), "refused each of the 2 ids")])
def test_refused_ids_are_counted_in_words_that_fit(project: Project, ids: tuple[int, ...], words: str) -> None:
    project.want("vip", people(5))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(5, *ids))
    project.sandbox.inject(poison(*people(*ids)))

    applied = project.json("apply", "--allow-additions", "vip")

    assert words in applied.segments["vip"]["error"]["message"]
