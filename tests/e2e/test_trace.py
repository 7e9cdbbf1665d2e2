"""`trace`: a privacy officer asks when and why one person entered and left each segment."""

import re
import sqlite3

import pytest

import reconciler
from reconciler.sandbox.workspace import Direction
from tests.support.project import Project, leave_unsettled, one_line, people, segment, working_in

WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"
GONE, STAYS = people(1, 7)


@pytest.fixture
def two_runs(project: Project) -> Project:
    """Two segments were filled, by id and by email; then one person left the first, and `news` was forgotten."""
    project.want("vip", people(*range(10)))
    project.want("risk", [f"{id}@Example.com".upper() for id in people(*range(5))])
    project.want("news", people(7))
    segments = {
        "vip": segment(56, "vip"),
        "risk": segment(57, "risk", "id_type: email", "tags: [mail]"),
        "news": segment(58, "news"),
    }
    project.write(segments)
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", [id for id in people(*range(10)) if id != GONE])
    assert project.run("apply", "spec.yaml").code == 0
    assert project.run("state", "forget", "spec.yaml", "news", "--yes").code == 0
    del segments["news"]
    project.write(segments)
    project.sandbox.reset_calls()
    return project


def list_events(project: Project, *words: str) -> list[tuple[str, str, str]]:
    found = project.json("trace", *words)
    assert found.code == 0, found.err
    return [(each["segment"], each["direction"], each["reason"]) for each in found.document["events"]]


def list_statuses(project: Project, *words: str) -> dict[str, str]:
    return {name: each["status"] for name, each in project.json("trace", *words).segments.items()}


def test_each_change_of_one_person_is_told_oldest_first(two_runs: Project) -> None:
    first, second = (run["run_id"] for run in reversed(two_runs.json("history").document["runs"]))

    done = two_runs.run("trace", "spec.yaml", GONE)

    assert done.code == 0
    assert re.search(f"{WHEN}  entered  vip \\(56\\)  query   {first[:8]}\n{WHEN}  left     vip \\(56\\)", done.out)
    assert f"query   {second[:8]}" in done.out
    assert "Removed from vip (56).\n" in done.out
    assert "2 changes in 1 segment, oldest first." in done.out
    assert GONE not in done.out + done.err
    assert two_runs.sandbox.calls == []


def test_the_document_has_runs_times_and_what_holds_now(two_runs: Project) -> None:
    found = two_runs.json("trace", GONE)

    entered, left = found.document["events"]
    assert (entered["workspace"], entered["segment"], entered["segment_id"]) == ("default", "vip", 56)
    assert entered["at"] <= left["at"]
    assert [run["run_id"] for run in two_runs.json("history").document["runs"]] == [left["run_id"], entered["run_id"]]
    assert list_statuses(two_runs, GONE) == {"vip": "removed", "risk": "unknown"}
    assert GONE not in found.out


def test_an_email_is_found_in_any_case_and_an_id_as_it_is_written(two_runs: Project) -> None:
    assert list_events(two_runs, f"{GONE}@eXample.COM") == [("risk", "add", "query")]
    assert list_events(two_runs, GONE.upper()) == []


def test_segments_that_no_spec_lists_are_told_unless_some_are_selected(two_runs: Project) -> None:
    assert sorted(list_events(two_runs, STAYS)) == [("news", "add", "query"), ("vip", "add", "query")]
    assert list_statuses(two_runs, STAYS) == {"vip": "stored", "risk": "unknown", "news": "unknown"}

    assert list_events(two_runs, STAYS, "--exclude", "tag:mail") == [("vip", "add", "query")]
    assert list_events(two_runs, STAYS, "--select", "risk") == []
    assert list_statuses(two_runs, STAYS, "--select", "risk") == {"risk": "unknown"}
    two_runs.write({"vip": segment(56, "vip")})  # risk and news are listed by no spec now
    assert "news" in list_statuses(two_runs, STAYS)
    assert list_statuses(two_runs, STAYS, "--select", "vip") == {"vip": "stored"}
    assert list_events(two_runs, STAYS, "--select", "vip") == [("vip", "add", "query")]


def test_somebody_never_seen_has_no_changes_and_it_is_said_why_that_may_be(two_runs: Project) -> None:
    done = two_runs.run("trace", "spec.yaml", "nobody")

    assert done.code == 0
    assert "Not in 2 segments, as far as the state knows." in done.out
    assert "Changes are kept for 90d (state.audit); what is older is not known." in done.out
    assert "by id (1 segment) and email (1 segment): ask for each that the person has." in one_line(done.out)
    assert "No change of this id is kept." in done.out


def test_without_a_log_nobody_has_changes_and_what_is_still_kept_is_said(two_runs: Project) -> None:
    two_runs.write({"vip": segment(56, "vip")}, more="state: {audit: off}\n")

    found = two_runs.json("trace", STAYS)
    assert (found.code, found.document["events"]) == (0, [])
    assert "still has changes of this id in workspace default from before `state.audit` was off" in found.out
    assert "The spec keeps no changes (state.audit: off)" in two_runs.run("trace", "spec.yaml", STAYS).out

    assert two_runs.run("apply", "spec.yaml").code == 0
    assert two_runs.json("trace", STAYS).document["warnings"] == []


def grow_old(project: Project, days: int) -> None:
    """Make all that the state keeps older."""
    with sqlite3.connect(project.state_file) as connection:
        for column in ("runs SET started_at = started_at", "run_segments SET ended_at = ended_at", "audit SET at = at"):
            connection.execute(f"UPDATE reconcile_{column} - {days * 86400}")
    connection.close()


@pytest.mark.parametrize("specs", [["other.yaml"], ["spec.yaml", "other.yaml"]])
@pytest.mark.parametrize("kept", ["audit: off, history: 2d", "audit: 1d, history: 2d"])
def test_what_another_spec_says_of_the_log_is_for_its_segments(two_runs: Project, specs: list[str], kept: str) -> None:
    grow_old(two_runs, 10)
    two_runs.write({"news": segment(58, "news")}, more=f"state: {{{kept}}}\n", name="other.yaml")

    before, runs = list_events(two_runs, STAYS), two_runs.json("history").document["runs"]
    assert two_runs.run("apply", *specs).code == 0

    assert [event for event in list_events(two_runs, STAYS) if event[0] == "vip"] == [("vip", "add", "query")]
    assert ("news", "add", "query") in before
    old = [event for event in two_runs.json("trace", STAYS).document["events"] if event["run_id"] == runs[-1]["run_id"]]
    assert [event["segment"] for event in old] == ["vip"]
    assert {run["run_id"] for run in runs} < {run["run_id"] for run in two_runs.json("history").document["runs"]}
    assert two_runs.json("status").segments["vip"]["last"] is not None


def test_what_a_run_that_was_stopped_left_is_told_as_it_stands(two_runs: Project) -> None:
    two_runs.want("vip", [*people(*range(10)), "p0050"])
    leave_unsettled(two_runs, 56)

    assert list_statuses(two_runs, "p0050")["vip"] == "unsettled"
    assert (
        "Perhaps in, as the last request has an unknown outcome: vip (56)."
        in two_runs.run("trace", "spec.yaml", "p0050").out
    )

    two_runs.sandbox.put_members(56, ["p0050"])  # it had arrived
    assert two_runs.run("refresh", "spec.yaml", "--yes").code == 0
    said = one_line(two_runs.run("trace", "spec.yaml", "p0050").out)
    assert "by then somebody else, or a request of unknown outcome, had added or removed the person" in said


def test_what_a_killed_run_had_acknowledged_is_told_before_the_next_one(two_runs: Project) -> None:
    two_runs.want("vip", ["p0050", *(id for id in people(*range(10)) if id not in (GONE, STAYS))])
    done = two_runs.hit("apply", "spec.yaml", at=lambda call: call.direction is Direction.ADD)
    assert done.code == -9
    [run] = two_runs.json("history", "--limit", "1").document["runs"]

    (left,) = two_runs.json("trace", STAYS, "--select", "vip").document["events"][1:]

    assert (left["direction"], left["reason"], left["run_id"]) == ("remove", "query", run["run_id"])
    assert list_events(two_runs, "p0050") == []


def test_ids_that_customerio_does_not_know_are_unmatched_and_the_words_are_explained(project: Project) -> None:
    project.want("vip", [*people(*range(10)), "stranger"])
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml", "--confirm", "--confirm-timeout", "0").code == 0

    assert list_events(project, "stranger") == [("vip", "add", "query"), ("vip", "remove", "unmatched")]
    shown = project.run("trace", "spec.yaml", "stranger").out
    assert "Sent to, and not known to Customer.io when it was read back: vip (56)." in shown
    assert "unmatched: Customer.io did not know the person" in shown


def test_the_id_can_come_from_stdin(two_runs: Project) -> None:
    assert "2 changes in 1 segment" in two_runs.run("trace", "spec.yaml", "-", stdin=f"{GONE}\n").out
    for stdin in ("", "\n", f"{GONE}\n{STAYS}\n"):
        done = two_runs.run("trace", "spec.yaml", "-", stdin=stdin)
        assert (done.code, done.out) == (64, "")
        assert GONE not in done.err


@pytest.mark.parametrize(
    "words",
    [
        [GONE, "spec.yaml"],
        [GONE, "other"],
        ["spec.yaml", GONE, "more"],
        ["spec.yaml", f"{GONE}\x07"],
        ["spec.yaml", ""],
    ],
)
def test_no_error_repeats_the_id(two_runs: Project, words: list[str]) -> None:
    done = two_runs.run("trace", *words)

    assert (done.code, done.out) == (64, "")
    assert GONE not in done.err


def test_where_there_is_no_state_there_is_nobody(project: Project) -> None:
    project.write({"vip": segment(56, "vip")})

    assert list_events(project, GONE) == []
    assert not project.state_file.exists()


def test_python_gives_the_same_as_values(two_runs: Project) -> None:
    with working_in(two_runs.folder):
        found = reconciler.trace(reconciler.load("spec.yaml", select="vip"), GONE)

    assert [(each.segment, each.direction, each.reason) for each in found.events] == [
        ("vip", "add", "query"),
        ("vip", "remove", "query"),
    ]
    assert [row.status for row in found.segments] == ["removed"]
    assert found.exit_code == 0
