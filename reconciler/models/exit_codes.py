"""From a result to its exit code."""

from collections.abc import Iterable

from reconciler.errors import PRECEDENCE, ExitCode
from reconciler.models.drift import Drift, DriftStatus
from reconciler.models.plan import Plan, PlanStatus
from reconciler.models.results import Refresh, RefreshStatus
from reconciler.models.run import Run, RunStatus

SIGNALLED = 128
"""What a shell adds to the number of the signal that stopped a command."""


def choose_first(codes: Iterable[ExitCode]) -> ExitCode:
    """Of several codes give the one that comes first in PRECEDENCE; DONE if there is none."""
    found = set(codes)
    return next((code for code in PRECEDENCE if code in found), ExitCode.DONE)


def exit_code_of_plan(plan: Plan, detailed: bool) -> ExitCode:
    """Give the exit code of `plan`; `detailed`: changes end with 2."""
    codes = {
        PlanStatus.CHANGES: ExitCode.CHANGES if detailed else ExitCode.DONE,
        PlanStatus.UNCHANGED: ExitCode.DONE,
        PlanStatus.BLOCKED: ExitCode.BLOCKED,
        PlanStatus.FAILED: ExitCode.FAILED,
    }
    return choose_first(codes[segment.status] for segment in plan.segments)


def exit_code_of_run(run: Run) -> int:
    """Give the exit code of `apply`: 128 and the signal's number if one stopped it.

    A segment that failed weighs 1 if nothing was or may have been changed in the whole run, else 6.
    """
    if run.stopped_by is not None:
        return SIGNALLED + run.stopped_by
    touched = any(segment.status is RunStatus.PARTIAL or segment.tally.touched for segment in run.segments)
    codes = {
        RunStatus.BLOCKED: ExitCode.BLOCKED,
        RunStatus.STALE: ExitCode.STALE,
        RunStatus.LOCKED: ExitCode.LOCKED,
    }
    found = []
    for segment in run.segments:
        if segment.status in (RunStatus.PARTIAL, RunStatus.FAILED) or segment.tally.rejected or segment.tally.unsettled:
            found.append(ExitCode.PARTIAL if touched else ExitCode.FAILED)
        else:
            found.append(codes.get(segment.status, ExitCode.DONE))
    return choose_first(found)


def exit_code_of_drift(drift: Drift) -> ExitCode:
    """Give the exit code of `drift`."""
    codes = {
        DriftStatus.IN_SYNC: ExitCode.DONE,
        DriftStatus.DRIFTED: ExitCode.CHANGES,
        DriftStatus.FAILED: ExitCode.FAILED,
    }
    return choose_first(codes[segment.status] for segment in drift.segments)


def exit_code_of_refresh(refresh: Refresh) -> ExitCode:
    """Give the exit code of `refresh`, which changes nothing at Customer.io: a failure is never more than 1.

    A member that was removed and is still there is unsettled from now on, as after a confirmation: something is left
    to do.
    """
    codes = {
        RefreshStatus.REFRESHED: ExitCode.DONE,
        RefreshStatus.LOCKED: ExitCode.LOCKED,
        RefreshStatus.FAILED: ExitCode.FAILED,
    }
    return choose_first(
        ExitCode.PARTIAL if segment.unsettled else codes[segment.status] for segment in refresh.segments
    )
