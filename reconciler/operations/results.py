"""What the operations give back: frozen values that renderers print, with an exit code and a JSON document."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, cast

from reconciler.errors import PRECEDENCE, SIGNALLED, ExitCode, ReconcileError, SourceError, fill_hint
from reconciler.models.history import History, RunRecord, Trace
from reconciler.models.plan import Cause, Plan, PlanStatus, Problem, SegmentPlan
from reconciler.models.results import (
    Drift,
    DriftStatus,
    Refresh,
    RefreshStatus,
    Result,
    Run,
    RunStatus,
    Segments,
    Status,
)
from reconciler.models.spec import Target
from reconciler.render import json_documents

_CODES: dict[StrEnum, ExitCode] = {
    **dict.fromkeys((PlanStatus.UNCHANGED, PlanStatus.PAUSED, RunStatus.APPLIED), ExitCode.DONE),
    **dict.fromkeys((DriftStatus.IN_SYNC, RefreshStatus.REFRESHED), ExitCode.DONE),
    PlanStatus.CHANGES: ExitCode.CHANGES,
    DriftStatus.DRIFTED: ExitCode.CHANGES,
    RunStatus.BLOCKED: ExitCode.BLOCKED,
    RunStatus.STALE: ExitCode.STALE,
    RunStatus.LOCKED: ExitCode.LOCKED,
    RunStatus.PARTIAL: ExitCode.PARTIAL,
    RunStatus.FAILED: ExitCode.FAILED,
}
"""By the status of a segment, one line for each word (see RunStatus)."""


def _choose_code(statuses: Iterable[StrEnum]) -> ExitCode:
    codes = (_CODES[status] for status in statuses)
    return min(codes, key=PRECEDENCE.index, default=ExitCode.DONE)


class WithDocument:
    """What all results have."""

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON document, as `--format json` prints it."""
        return json_documents.document(cast(Result, self))


@dataclass(frozen=True)
class PlanResult(Plan, WithDocument):
    """What `plan` found. `detailed_exitcode`: changes end with 2."""

    detailed_exitcode: bool = False

    @property
    def exit_code(self) -> int:
        ignored = () if self.detailed_exitcode else (PlanStatus.CHANGES,)
        return _choose_code(segment.status for segment in self.segments if segment.status not in ignored)


@dataclass(frozen=True)
class RunResult(Run, WithDocument):
    """What `apply` sent, and what became of it."""

    @property
    def exit_code(self) -> int:
        """Give 128 and the number of the signal that stopped the run, if one did.

        A segment that failed weighs 1 if nothing was or may have been changed in the whole run, else 6.
        """
        if self.stopped_by is not None:
            return SIGNALLED + self.stopped_by
        touched = any(segment.status is RunStatus.PARTIAL or segment.tally.touched for segment in self.segments)
        statuses: list[RunStatus] = []
        for segment in self.segments:
            is_whole = not (segment.tally.rejected or segment.tally.unsettled)
            if is_whole and segment.status not in (RunStatus.PARTIAL, RunStatus.FAILED):
                statuses.append(segment.status)
            else:
                statuses.append(RunStatus.PARTIAL if touched else RunStatus.FAILED)
        return _choose_code(statuses)


@dataclass(frozen=True)
class DriftResult(Drift, WithDocument):
    """What `drift` found."""

    @property
    def exit_code(self) -> int:
        return _choose_code(segment.status for segment in self.segments)


@dataclass(frozen=True)
class RefreshResult(Refresh, WithDocument):
    """What `refresh` took over. `stopped_by`: the signal that stopped it, or None."""

    stopped_by: int | None = None

    @property
    def exit_code(self) -> int:
        """Give at most 1 for a failure, as nothing is changed at Customer.io; for a signal 128 and its number.

        A member that was removed and is still there is unsettled from now on, as after a confirmation: something is
        left to do.
        """
        if self.stopped_by is not None:
            return SIGNALLED + self.stopped_by
        return _choose_code(RunStatus.PARTIAL if each.unsettled else each.status for each in self.segments)


@dataclass(frozen=True)
class StatusResult(Status, WithDocument):
    """What the state holds."""

    @property
    def exit_code(self) -> int:
        return ExitCode.FAILED if any(row.error for row in self.segments) else ExitCode.DONE


@dataclass(frozen=True)
class HistoryResult(History, WithDocument):
    """Past runs, newest first."""

    exit_code = ExitCode.DONE


@dataclass(frozen=True)
class TraceResult(Trace, WithDocument):
    """When and why one id entered and left segments."""

    exit_code = ExitCode.DONE


@dataclass(frozen=True)
class SegmentsResult(Segments, WithDocument):
    """The segments of the workspaces of some specs."""

    exit_code = ExitCode.DONE


@dataclass(frozen=True)
class PastRun(RunRecord, WithDocument):
    """One past run in full: the document that it left, with what the history knows of it."""

    exit_code = ExitCode.DONE


# --- failures as values -------------------------------------------------------------------------------------------


def as_problem(target: Target, error: ReconcileError) -> Problem:
    """Turn an error into a value; its hint names the segment and its spec."""
    hint = fill_hint(error.hint, {"SPEC": [str(target.spec.path)], "NAME": [target.segment.name]})
    cause = Cause(error.code, error.shared or error.message.removeprefix(f"{target.where}: "), error.hint)
    return Problem(error.code, error.message, hint, cause)


def as_failed_plan(target: Target, error: ReconcileError) -> SegmentPlan:
    """Turn an error into the plan of a segment that failed; a source's error gets the place of its query."""
    problem = as_problem(target, error)
    if isinstance(error, SourceError):
        problem = replace(problem, message=f"{target.where}: {problem.message}")
    return SegmentPlan(target, PlanStatus.FAILED, error=problem)
