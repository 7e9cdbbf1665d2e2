"""Seven in the morning: which run it was, who made it and why, and what became of each segment."""

import json

import pytest

import reconciler
from tests.support.json_schema import find_violations
from tests.support.project import Project, people, working_in

SEGMENTS = {
    "vip": "segment_id: 56\nquery: SELECT id FROM vip\n",
    "churn": "segment_id: 57\nquery: SELECT id FROM churn\n",
}


@pytest.fixture
def failing(project: Project) -> Project:
    """One segment was applied; the table of the other is not there."""
    project.write(SEGMENTS)
    project.want("vip", people(*range(5)))
    assert project.run("apply", "spec.yaml", "--reason", "spring\ncampaign").code == 6
    return project


def test_status_says_of_each_segment_what_became_of_it(failing: Project) -> None:
    [run] = failing.json("history").document["runs"]
    status = failing.json("status").segments

    assert [(status[name]["last"]["status"], status[name]["last"]["code"]) for name in ("vip", "churn")] == [
        ("applied", None),
        ("failed", "source"),
    ]
    assert {status[name]["last"]["run_id"] for name in status} == {run["run_id"]}
    shown = failing.run("status", "spec.yaml").out
    assert f"reconcile history spec.yaml {run['run_id'][:8]}" in shown
    assert run["run_id"] not in shown


def test_a_run_is_found_by_its_beginning_and_shown_as_it_was(failing: Project) -> None:
    [run] = failing.json("history").document["runs"]
    for named in (run["run_id"][:4], run["run_id"][:8], "last"):
        shown = failing.run("history", "spec.yaml", named)
        assert "Reason: spring campaign" in shown.out
        assert "churn failed: spec.yaml:" in shown.out
        assert "Applied: 0 removed, 5 added, in 1 segment; 1 failed." in shown.out
    assert failing.json("history", "last").document["run_id"] == run["run_id"]
    assert failing.run("history", "spec.yaml", "abc").code == 64


def test_the_actor_and_the_reason_are_in_the_documents(failing: Project) -> None:
    failing.environment |= {
        "GITLAB_CI": "true",
        "GITLAB_USER_LOGIN": "ann",
        "CI_COMMIT_SHA": "0123456789abcdef0123456789abcdef01234567",
        "CI_JOB_URL": "https://ann:hush@ci.example/j/7?token=hush",
    }
    document = failing.json("apply", "--reason", "again").document
    [run, _] = failing.json("history").document["runs"]

    actor = {"user": "ann", "commit": "0123456789abcdef0123456789abcdef01234567", "job": "https://ci.example/j/7"}
    for found in (document, run, failing.json("history", "last").document):
        assert {**found["actor"], "host": None} == {**actor, "host": None}
        assert found["actor"]["host"]
        assert found["reason"] == "again"
    assert b"hush" not in failing.state_file.read_bytes()
    assert failing.json("refresh", "--yes", "--reason", "a look").document["reason"] == "a look"


def test_runs_are_chosen_by_segment_and_time(failing: Project) -> None:
    assert failing.run("apply", "spec.yaml", "--select", "vip").code == 0

    def count(*words: str) -> int:
        return len(failing.json("history", *words).document["runs"])

    assert (count(), count("--segment", "vip"), count("--segment", "churn"), count("--segment", "id:57")) == (
        2,
        2,
        1,
        1,
    )
    assert (count("--since", "1h"), count("--since", "2020-01-01"), count("--since", "2999-01-01")) == (2, 2, 0)
    assert (count("--since", "999999d"), count("--segment", "id:999")) == (2, 0)
    assert "failed (source): churn" in failing.run("history", "spec.yaml", "--segment", "churn").out
    [run] = failing.json("history", "--segment", "churn").document["runs"]
    assert run["outcome"] == {"status": "failed", "code": "source"}
    for words in (["--segment", "nobody"], ["--since", "soon"], ["last", "--segment", "vip"]):
        assert failing.run("history", "spec.yaml", *words).code == 64
    for number in ("2147483648", "9" * 5000):
        assert failing.run("history", "spec.yaml", "--segment", f"id:{number}").code == 64
        assert failing.run("state", "show", "spec.yaml", f"id:{number}").code == 64
    with working_in(failing.folder):
        loaded = reconciler.load("spec.yaml")
        assert len(reconciler.history(loaded, segment="churn", since="30d").runs) == 1


def test_a_run_that_was_killed_says_so_until_the_next_one_ends(project: Project) -> None:
    project.write({"vip": SEGMENTS["vip"]})
    project.want("vip", people(*range(5)))
    done = project.hit("apply", "spec.yaml", at=lambda call: call.direction is not None)
    assert done.code == -9

    [run] = project.json("history").document["runs"]
    last = project.json("status").segments["vip"]["last"]
    assert (run["status"], run["ended_at"], run["exit_code"]) == ("killed", None, None)
    assert (last["status"], last["code"], last["run_id"]) == ("killed", None, run["run_id"])
    status = " ".join(project.run("status", "spec.yaml").out.split())
    assert f"Run {run['run_id'][:8]} was killed while it worked on vip: run it again, and it goes on." in status
    shown = project.run("history", "spec.yaml", "last")
    assert "It was killed." in shown.out
    unended = json.loads(project.run("history", "spec.yaml", "last", "--format", "json").out)
    assert unended["segments"][0]["unsettled"] == 5
    assert (unended["kind"], unended["runs"]) == ("history", [run])
    assert list(find_violations(unended, json.loads(project.run("schema", "history").out))) == []

    assert project.run("apply", "spec.yaml").code == 0
    assert project.json("status").segments["vip"]["last"]["status"] == "applied"
    assert [each["status"] for each in project.json("history").document["runs"]] == ["ended", "killed"]


def test_a_no_is_no_failed_run(failing: Project) -> None:
    failing.want("churn", people(1))
    failing.want("vip", people(1, 2, 3, 4))
    before = failing.json("status").segments
    with working_in(failing.folder):
        run = reconciler.apply(reconciler.load("spec.yaml"), approve=lambda plan: False)

    assert run.exit_code == 1
    [told, _] = failing.json("history").document["runs"]
    assert (told["status"], told["exit_code"]) == ("declined", 1)
    after = failing.json("status").segments
    assert [after[name]["last"] for name in after] == [before[name]["last"] for name in before]
    shown = failing.run("history", "spec.yaml", "last").out
    assert "Nothing was changed; 2 not confirmed." in shown
    assert "failed" not in shown


def test_a_no_is_no_failure_in_a_report_either(two: Project) -> None:
    two.want("vip", people(1, 2, 3, 4, 5, 6))
    with working_in(two.folder):
        reconciler.apply(reconciler.load("spec.yaml"), approve=lambda plan: False)

    assert two.run("report", "spec.yaml", "--out", "report.html").code == 0

    page = (two.folder / "report.html").read_text()
    assert "! not confirmed" in page
    assert "Nothing failed" in page
    assert "✗ failed" not in page
    assert "<code>declined</code>" not in page


def test_a_refresh_is_the_last_run_of_its_segments(project: Project) -> None:
    project.write({"vip": SEGMENTS["vip"]})
    project.want("vip", [])
    assert project.run("refresh", "spec.yaml", "--yes").code == 0
    assert project.json("status").segments["vip"]["last"]["status"] == "refreshed"
    assert "Refreshed: 1 segment" in project.run("history", "spec.yaml", "last").out
