"""A past run is shown as it was when it ended; one that has not ended, as far as the state knows it."""

from dataclasses import replace

import pytest

from reconciler.models.history import HistoryRow, RunPart, RunRecord, RunState
from reconciler.models.plan import Cause, Orphan, Problem
from reconciler.models.results import Refresh, RefreshRow, RefreshStatus, Run, RunStatus, Tally
from reconciler.render import Format, Options, render
from reconciler.render import json_documents as documents
from tests.fakes import samples

ROW = HistoryRow("3f2a1c00aaaa", samples.TWO_AM, "apply", "production", samples.TWO_AM, 6)
NO_ANSWER = Cause("source", "no answer", "wait")
RETIRED = samples.make_plan("old", 70, retired=True)
RUNS = {
    "each status": samples.make_whole_run(),
    "many": samples.make_run(*(samples.run_of(each, RunStatus.UNCHANGED) for each in samples.many(30))),
    "one cause": samples.make_run(
        *(
            samples.run_of(
                plan, RunStatus.FAILED, error=Problem("source", f"specs/vip.yaml:{at}: no answer", "wait", NO_ANSWER)
            )
            for at, plan in enumerate(samples.many(12), start=1)
        )
    ),
    "retired": samples.make_run(samples.run_of(RETIRED, tally=Tally(removed=10, requests=1), forgotten=True)),
    "paused": samples.make_run(samples.run_of(samples.make_plan("held", 71, paused=True), RunStatus.PAUSED)),
    "stopped": samples.make_run(samples.run_of(samples.make_plan(), RunStatus.FAILED), stopped_by=15),
    "orphans": replace(samples.make_run(samples.make_applied()), orphans=(Orphan("production", 9, "id", 3, name="a"),)),
    "refresh": Refresh(
        "run-2",
        samples.TWO_AM,
        (
            RefreshRow(samples.make_target(), RefreshStatus.REFRESHED, 10, 4, 4, 0, 1, 0, 0, "VIP customers"),
            RefreshRow(samples.make_target("b", 2), RefreshStatus.FAILED, error=Problem("source", "no answer", "wait")),
        ),
        ("a warning",),
    ),
}


def show(result, output: Format = Format.TEXT, width: int = 120) -> str:
    return render(result, output, Options(width=width))


def record(result, row: HistoryRow = ROW) -> RunRecord:
    return RunRecord(row, "0.1.0", (), None, documents.write_json(documents.document(result)))


@pytest.mark.parametrize("output", [Format.TEXT, Format.MARKDOWN])
@pytest.mark.parametrize("name", RUNS)
def test_a_past_run_is_shown_as_it_was(name: str, output: Format) -> None:
    run = RUNS[name]
    then = show(samples.keep_figures(run) if isinstance(run, Run) else run, output).splitlines()

    now = show(record(RUNS[name]), output).splitlines()

    added = "Run 3f2a1c00, apply, 2026-11-21T02:00:00Z to 2026-11-21T02:00:00Z: partly done (6)"
    assert [line for line in now if line and added not in line] == [line for line in then if line]


def test_a_past_run_names_who_made_it_and_why() -> None:
    row = replace(ROW, actor=samples.ANN, reason="a campaign")
    shown = show(replace(record(RUNS["refresh"], row), allowed=("--allow-empty vip",), plan_id="p1"))

    assert shown.splitlines()[1:7] == [
        "By ann on laptop",
        "Commit: 0123abcd",
        "Job: https://ci.example/j/1",
        "Reason: a campaign",
        "Allowed: --allow-empty vip",
        "Plan: p1",
    ]


def test_of_a_run_that_was_killed_is_shown_what_the_state_knows() -> None:
    part = RunPart(56, "vip", "killed", added=1200, unsettled=7, title="VIP")
    row = replace(ROW, ended_at=None, exit_code=None, status=RunState.KILLED, parts=(part,))
    dead = RunRecord(row, "0.1.0", (), None, None)

    shown, document = show(dead), documents.document(dead)

    assert "Run 3f2a1c00, apply, 2026-11-21T02:00:00Z: killed" in shown
    assert "vip      56  VIP          0  +1,200          7" in shown
    assert "It was killed. This is what the state knows of it. Run it again: it goes on where it was cut." in shown
    assert document["status"] == "killed"
    assert document["segments"] == [
        {"name": "vip", "segment_id": 56, "title": "VIP", "added": 1200, "removed": 0, "unsettled": 7}
    ]
    assert "knows of nothing that it sent" in show(replace(dead, row=replace(row, parts=())))
    assert "It goes on." in show(replace(dead, row=replace(row, status=RunState.RUNNING)), Format.MARKDOWN)


def test_a_document_of_a_later_version_is_shown_as_plain_values() -> None:
    document = documents.document(RUNS["each status"])
    document["segments"][0]["status"] = "levitated"

    shown = show(RunRecord(ROW, "9.0.0", (), None, documents.write_json(document)))

    assert "levitated" in shown
    assert "vip_customers" in shown
