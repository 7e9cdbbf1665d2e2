"""What a run reports while it goes on."""

import io
import json
import threading
from contextlib import closing

import pytest

from reconciler.models.events import Confirming, Finished, Planned, Postponed, Reading, Sending, Waiting
from reconciler.models.plan import Problem
from reconciler.models.results import RunStatus, Tally
from reconciler.render.progress import Progress, ProgressJson, ProgressLines
from reconciler.render.progress_bars import ProgressBars
from tests.fakes import samples

TARGET = samples.make_target()


def report_all(reporter) -> None:
    with closing(reporter):
        reporter.tell(Postponed(TARGET))
        reporter.tell(Reading(TARGET))
        reporter.tell(Planned(samples.make_plan()))
        reporter.tell(Waiting(TARGET, 9.6, "an earlier request may still arrive"))
        reporter.tell(Sending(TARGET, 0, 30))
        reporter.tell(Sending(TARGET, 30, 30))
        reporter.tell(Confirming(TARGET))
        reporter.tell(Finished(samples.make_applied()))


def test_plain_lines_tell_plans_waits_and_ends() -> None:
    stream = io.StringIO()
    report_all(ProgressLines(stream))
    assert stream.getvalue().splitlines() == [
        "production/vip_customers: another run is at work on it: it comes last",
        "production/vip_customers: 10 to remove, 20 to add",
        "production/vip_customers: waiting 10 s: an earlier request may still arrive",
        "production/vip_customers: applied: 10 removed, 20 added in 1.2 s",
    ]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Waiting(TARGET, 0.4, "not yet"), "production/vip_customers: waiting less than 1 s: not yet"),
        (Planned(samples.make_blocked()), "production/churn_risk: blocked (1,500 to remove, 0 to add)"),
        (Planned(samples.make_failed()), "production/broken: failed"),
        (Planned(samples.make_unchanged()), "production/loyal: unchanged"),
        (Finished(samples.run_of(samples.make_failed(), RunStatus.LOCKED)), "production/broken: locked"),
        (
            Finished(samples.run_of(samples.make_plan(), RunStatus.FAILED, error=Problem("declined", "no", "yes"))),
            "production/vip_customers: not confirmed",
        ),
        (
            Finished(samples.run_of(samples.make_plan(), RunStatus.PARTIAL, Tally(added=1, rejected=2, unsettled=3))),
            "production/vip_customers: partial: 0 removed, 1 added, 2 rejected, 3 unsettled in 0.0 s",
        ),
    ],
)
def test_a_plain_line_says_how_it_ended(event, line: str) -> None:
    stream = io.StringIO()
    ProgressLines(stream).tell(event)
    assert stream.getvalue() == line + "\n"


@pytest.mark.parametrize(
    ("plan", "status", "line"),
    [
        (samples.make_unchanged(), RunStatus.UNCHANGED, "production/loyal: unchanged\n"),
        (samples.make_blocked(), RunStatus.BLOCKED, "production/churn_risk: blocked (1,500 to remove, 0 to add)\n"),
        (samples.make_failed(), RunStatus.FAILED, "production/broken: failed\n"),
    ],
)
def test_an_end_that_the_plan_has_told_is_not_told_again(plan, status: RunStatus, line: str) -> None:
    stream = io.StringIO()
    reporter = ProgressLines(stream)
    reporter.tell(Planned(plan))
    reporter.tell(Finished(samples.run_of(plan, status)))
    assert stream.getvalue() == line


def test_json_lines_tell_every_event() -> None:
    stream = io.StringIO()
    report_all(ProgressJson(stream, lambda: samples.TWO_AM))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert [line["event"] for line in lines] == [
        *("postponed", "reading", "planned", "waiting", "sending", "sending", "confirming", "finished"),
    ]
    assert {line["time"] for line in lines} == {"2026-11-21T02:00:00Z"}
    assert lines[-1]["status"] == "applied"
    assert lines[-1]["added"] == 20


def test_json_lines_hold_a_hostile_name_in_ascii() -> None:
    stream = io.StringIO()
    ProgressJson(stream, lambda: samples.TWO_AM).tell(Reading(samples.make_target("\x1b[31m\u202e\n")))
    assert stream.getvalue().isascii()
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_quiet_says_nothing() -> None:
    report_all(Progress())


def test_bars_show_each_stage_and_leave_the_last_line() -> None:
    stream = io.StringIO()
    bars = ProgressBars(stream, width=120)
    report_all(bars)
    assert "production/vip_customers: applied: 10 removed, 20 added in 1.2 s" in stream.getvalue()
    assert not bars._progress.tasks


def test_bars_say_what_is_going_on() -> None:
    bars = ProgressBars(io.StringIO(), width=120)
    with closing(bars):
        seen = []
        for event in (Reading(TARGET), Waiting(TARGET, 0.4, "x"), Sending(TARGET, 10, 30), Confirming(TARGET)):
            bars.tell(event)
            seen.append(bars._progress.tasks[0].fields["doing"])
        assert seen == ["query runs", "waits less than 1 s: x", "10/30 ids", "reads back"]


def test_bars_can_be_paused_for_a_prompt_and_go_on() -> None:
    bars = ProgressBars(io.StringIO(), width=120)
    with closing(bars):
        bars.tell(Reading(TARGET))
        bars.pause()
        assert not bars._progress.live.is_started
        bars.tell(Sending(TARGET, 1, 3))
        assert bars._progress.live.is_started
    assert not bars._progress.live.is_started
    bars.tell(Sending(TARGET, 2, 3))
    assert not bars._progress.live.is_started


def test_bars_are_told_from_several_threads() -> None:
    stream = io.StringIO()
    bars = ProgressBars(stream, 120)
    plans = [samples.make_plan(f"segment{place}", place) for place in range(8)]

    def work(plan) -> None:
        for done in range(20):
            bars.tell(Sending(plan.target, done, 20))
        bars.tell(Finished(samples.run_of(plan, tally=Tally(added=1))))

    with closing(bars):
        threads = [threading.Thread(target=work, args=(plan,)) for plan in plans]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for plan in plans:
        assert plan.target.segment.name in stream.getvalue()
