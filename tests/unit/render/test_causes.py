"""One cause is told once, with the names of all that failed for it."""

from dataclasses import replace

import pytest

from reconciler.errors import DestinationError, LockHeld, ReconcileError, SourceError, StateError
from reconciler.models.history import HistoryRow, RunRecord
from reconciler.models.plan import Plan, PlanStatus
from reconciler.models.results import (
    Drift,
    DriftStatus,
    RunStatus,
    SegmentDrift,
    Status,
    StatusRow,
    Tally,
)
from reconciler.operations.results import as_failed_plan, as_problem
from reconciler.operations.workspace import look_up
from reconciler.render import Format, Options, render
from reconciler.render.causes import list_names
from tests.fakes import samples
from tests.fakes.parts import FakeApp

KEYS = DestinationError("the Track API does not accept the credentials (401)", "check the keys")


def failed_plan(name: str, number: int, error: ReconcileError, **more):
    return as_failed_plan(samples.make_target(name, number, **more), error)


def failed_run(name: str, number: int, error: ReconcileError, status=RunStatus.FAILED, tally=None, **more):
    plan = samples.make_plan(name, number, **more)
    return samples.run_of(plan, status, tally, error=as_problem(plan.target, error))


def write(result, output: Format = Format.TEXT, width: int = 80, **more) -> str:
    return render(result, output, Options(width, **more))


def show(*segments, **more) -> str:
    return write(Plan(samples.TWO_AM, segments), **more)


def test_forty_segments_without_their_warehouse_fit_a_phone() -> None:
    error = SourceError("source warehouse: connection refused", "Check the host.")
    shown = show(*(failed_plan(f"s{number:02}", number, error) for number in range(1, 41)), width=48)

    assert (
        shown
        == """\
specs/vip.yaml · workspace production

Status    Segment
────────────────────────────────
✗ failed  40 segments, see below

✗ 40 segments failed: specs/vip.yaml: source
  warehouse: connection refused
    s01, s02, s03, s04, s05, s06, s07, s08, s09,
    s10 and 30 more
    Check the host.

Plan: nothing to send; 40 failed.
"""
    )


@pytest.mark.parametrize("output", [Format.TEXT, Format.MARKDOWN])
def test_what_was_found_on_the_way_does_not_push_the_cause_off_the_screen(output: Format) -> None:
    runs = [failed_run(f"s{number:02}", number, KEYS, owner="crm") for number in range(1, 41)]
    assert "owner" not in write(samples.make_run(*runs), output)
    assert "duplicate" not in write(samples.make_run(*runs), output)
    assert "duplicate" not in write(samples.make_run(*runs[:5]), output)
    assert write(samples.make_run(*runs[:1]), output).count("duplicate") == 1


def test_verbose_lists_each_in_the_table() -> None:
    plans = [failed_plan(f"s{number:02}", number, KEYS) for number in range(1, 41)]
    shown = show(*plans, verbose=True)
    assert shown.count("✗ failed") == 40
    assert shown.count("does not accept the credentials") == 1


def test_other_failures_and_what_is_unchanged_keep_their_lines() -> None:
    plans = [failed_plan(f"s{number:02}", number, KEYS) for number in range(1, 25)]
    other = failed_plan("odd", 90, SourceError("no such table: odd", "Check the names."))
    shown = show(samples.make_plan(), *plans, other, *samples.many(30))

    table = shown.split("\n\n")[1]
    assert "24 segments, see below" in table
    assert "= 30 unchanged" in " ".join(table.split())
    assert table.count("✗ failed") == 2
    assert "✗ odd failed: specs/vip.yaml:12: no such table: odd" in shown
    assert "✗ 24 segments failed: the Track API does not accept the credentials (401)" in shown


def test_two_are_told_together_and_their_table_stays() -> None:
    shown = show(failed_plan("a", 1, KEYS), failed_plan("b", 2, KEYS))
    assert "✗ 2 segments failed: the Track API" in shown
    assert "\n    a and b\n    check the keys\n" in shown
    assert shown.count("✗ failed") == 2


def test_those_that_were_begun_are_told_with_those_that_were_not() -> None:
    begun = failed_run("begun", 1, KEYS, RunStatus.PARTIAL, Tally(added=5, unsettled=10, requests=2))
    others = [failed_run(f"s{number}", number, KEYS) for number in range(2, 30)]
    shown = write(samples.make_run(begun, *others))

    assert "✗ 29 segments (1 is partly done, 28 failed): the Track API does not accept" in shown
    assert shown.count("the Track API") == 1
    table = shown.split("\n\n")[1]
    assert "✗ partial" in table  # with its numbers
    assert "28 segments, see below" in table


def test_what_is_said_of_the_spec_names_its_line_for_one_and_its_file_for_several() -> None:
    def refuse(name: str, number: int, path: str):
        target = samples.make_target(name, number, path=path)
        return as_failed_plan(target, ReconcileError(f"{target.where}: the state changed", "`reconcile plan SPEC`"))

    assert "a failed: one.yaml:12: the state changed" in show(refuse("a", 1, "one.yaml"))
    shown = show(refuse("a", 1, "one.yaml"), refuse("b", 2, "one.yaml"))
    assert "2 segments failed: one.yaml: the state changed" in shown
    assert "`reconcile plan one.yaml`" in shown
    shown = show(refuse("a", 1, "one.yaml"), refuse("b", 2, "two.yaml"))
    assert "2 segments failed: the state changed" in shown
    assert "`reconcile plan SPEC`" in shown


def test_the_command_of_a_shared_next_step_names_no_single_segment() -> None:
    held = LockHeld("locked by pid 7", "`reconcile state unlock SPEC NAME`")
    runs = [failed_run(name, at, held, RunStatus.LOCKED) for at, name in enumerate(("a", "b"), start=1)]
    shown = write(samples.make_run(*runs))
    assert "✗ 2 segments are locked; nothing was sent for them: locked by pid 7" in shown
    assert "`reconcile state unlock specs/vip.yaml NAME`" in shown


def test_what_is_said_with_numbers_of_each_is_told_without_them() -> None:
    runs = []
    for at, name in enumerate(("a", "b"), start=1):
        held = LockHeld(f"locked by pid 7 since 02:00:0{at}", "wait", shared="locked by pid 7")
        runs.append(failed_run(name, at, held, RunStatus.LOCKED))
    shown = write(samples.make_run(*runs))
    assert "✗ 2 segments are locked; nothing was sent for them: locked by pid 7\n" in shown
    assert "since 02:00:01" in write(samples.make_run(*runs), Format.JSON)
    assert "✗ a is locked; nothing was sent for it: locked by pid 7 since 02:00:01" in write(samples.make_run(runs[0]))


def test_segments_of_another_workspace_are_told_together_and_one_by_its_number() -> None:
    def fail(number: int):
        target = samples.make_target(f"s{number}", number, path="one.yaml")
        with pytest.raises(DestinationError) as caught:
            look_up(target, FakeApp(), [].append)
        return as_failed_plan(target, caught.value)

    assert "s1 failed: one.yaml:12: there is no segment 1 in workspace 'production'" in show(fail(1), width=120)
    shown = show(fail(1), fail(2), width=120)
    assert "✗ 2 segments failed: one.yaml: workspace 'production' has no segments of their numbers" in shown


@pytest.mark.parametrize("output", [Format.TEXT, Format.MARKDOWN])
def test_blocked_segments_stay_apart(output: Format) -> None:
    shown = show(samples.make_blocked("a", 1), samples.make_blocked("b", 2), output=output)
    assert shown.count("max_removals: 1,500 removals of 2,000 members") == 2


def test_a_stop_is_told_once() -> None:
    runs = [samples.run_of(samples.make_plan(name, at), RunStatus.FAILED) for at, name in enumerate("abc", start=1)]
    assert "✗ 3 segments were stopped before anything was sent.\n    a, b and c\n" in write(samples.make_run(*runs))


def test_rejections_have_numbers_of_their_own() -> None:
    runs = [
        samples.run_of(samples.make_plan(name, at), RunStatus.PARTIAL, Tally(added=1, rejected=2))
        for at, name in enumerate("ab", start=1)
    ]
    shown = write(samples.make_run(*runs))
    assert "✗ a is partly done: 2 ids rejected." in shown
    assert "✗ b is partly done: 2 ids rejected." in shown


def test_markdown_tells_it_once_too() -> None:
    plans = [failed_plan(f"s{number:02}", number, KEYS, workspace=f"w{number % 2}") for number in range(1, 41)]
    written = show(*plans, output=Format.MARKDOWN)
    assert written.count("does not accept the credentials") == 1
    assert "- **40 segments** failed: the Track API" in written
    assert "\n  - s01, s02, s03, s04, s05, s06, s07, s08, s09, s10 and 30 more\n  - check the keys\n" in written
    assert written.count("| ✗ failed |") == 1
    assert len({row.count("|") for row in written.splitlines() if row.startswith("|")}) == 1


def test_the_document_has_it_for_every_segment() -> None:
    plans = [failed_plan(name, at, SourceError("no table", "look")) for at, name in enumerate("abc", start=1)]
    assert show(*plans, output=Format.JSON).count('"message": "specs/vip.yaml:12: no table"') == 3


def test_a_run_of_the_history_tells_it_once() -> None:
    runs = [failed_run(f"s{number:02}", number, SourceError("no host", "look")) for number in range(1, 13)]
    placed = [replace(each, error=failed_plan("x", 1, SourceError("no host", "look")).error) for each in runs]
    document = write(samples.make_run(*placed), Format.JSON)
    shown = write(RunRecord(HistoryRow("run-1", samples.TWO_AM, "apply", "production"), "0.1.0", (), None, document))
    assert shown.count("no host") == 1
    assert "✗ 12 segments failed: specs/vip.yaml: no host\n    s01, s02, " in shown


def test_drift_and_status_share_causes() -> None:
    lost = StateError("the state's database can't be reached", "check `state.url`")
    targets = [samples.make_target(name, at) for at, name in enumerate("abc", start=1)]
    rows = [SegmentDrift(target, DriftStatus.FAILED, error=as_problem(target, lost)) for target in targets]
    assert "✗ 3 segments failed: the state's database can't be reached" in write(Drift(samples.TWO_AM, tuple(rows)))
    read = [StatusRow(target, False, error=as_problem(target, lost)) for target in targets]
    shown = write(Status(samples.TWO_AM, tuple(read), ()))
    assert "✗ 3 segments can't be read: the state's database can't be reached" in shown


def test_of_a_shared_name_the_workspace_is_told() -> None:
    plans = [failed_plan("vip", number, KEYS, workspace=workspace) for number, workspace in enumerate(("eu", "us"))]
    assert "\n    eu/vip and us/vip\n" in show(*plans)


def test_equal_words_with_another_code_or_next_step_are_another_cause() -> None:
    plans = [
        failed_plan("a", 1, DestinationError("no", "one")),
        failed_plan("b", 2, DestinationError("no", "two")),
        failed_plan("c", 3, DestinationError("no", "one", code="refused")),
    ]
    assert [each.status for each in plans] == [PlanStatus.FAILED] * 3
    assert show(*plans).count("failed: no") == 3


def test_problems_are_equal_whatever_they_share() -> None:
    problem = as_problem(samples.make_target(), KEYS)
    assert problem == replace(problem, own_cause=None)


@pytest.mark.parametrize(
    ("number", "told"), [(1, "n0"), (2, "n0 and n1"), (10, "n8 and n9"), (11, "n9 and 1 more"), (1011, "1,001 more")]
)
def test_the_first_ten_are_named(number: int, told: str) -> None:
    assert list_names([f"n{at}" for at in range(number)]).endswith(told)
