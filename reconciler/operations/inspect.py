"""The commands that only read: `status`, `history`, `validate` and `drift`."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, overload

from reconciler.customerio import App
from reconciler.errors import ReconcileError, SourceError, SpecError, StateError, UsageError, as_known
from reconciler.models.comparison import DEFAULT_MEMORY_LIMIT, DEFAULT_PARALLEL
from reconciler.models.events import Event
from reconciler.models.plan import Head, Problem
from reconciler.models.results import DriftStatus, OrphanRow, SegmentDrift, StatusRow, judge_drift
from reconciler.models.spec import Target
from reconciler.operations.context import Context
from reconciler.operations.load import Loaded, refuse_plan_file, require_app_keys
from reconciler.operations.plan import as_problem, warn_of_restored
from reconciler.operations.remote import check_environment, check_head, look_up, read_back
from reconciler.operations.results import DriftResult, HistoryResult, PastRun, StatusResult
from reconciler.sources import check_query
from reconciler.state import open_records

if TYPE_CHECKING:
    from reconciler.diff.comparison import Comparison

log = logging.getLogger(__name__)


# --- status and history -------------------------------------------------------------------------------------------


def status(loaded: Loaded) -> StatusResult:
    """Read what the state holds of every selected segment, and which segments it knows that no named spec lists."""
    refuse_plan_file(loaded, "status")
    rows = []
    for target in loaded.targets:
        try:
            records = open_records(target.spec.state)
            found = records.segment(target.workspace, target.segment.segment_id)
            holder = records.holder(target.workspace, target.segment.segment_id)
        except StateError as error:
            rows.append(StatusRow(target, known=False, error=as_problem(target, error)))
            continue
        both = ("members", "unsettled", "unmatched", "rejected", "last_run", "restored")
        numbers = {name: getattr(found, name) for name in both} if found else {}
        rows.append(StatusRow(target, known=found is not None, holder=holder, **numbers))

    listed: dict[str, set[int]] = {}
    for spec in loaded.specs:
        listed.setdefault(spec.destination.workspace, set()).update(each.segment_id for each in spec.segments)
    orphans: dict[OrphanRow, None] = {}  # each once, also where two URLs lead to one database
    for state, workspace in dict.fromkeys((spec.state, spec.destination.workspace) for spec in loaded.specs):
        try:
            unlisted = open_records(state).orphans(workspace, listed[workspace])
        except StateError:
            continue  # its segments have the error
        for each in unlisted:
            orphan = OrphanRow(workspace, each.segment_id, each.id_type, each.members, each.unsettled, each.unmatched)
            orphans[orphan] = None
    warnings = tuple(warn_of_restored(row.target) for row in rows if row.restored)
    return StatusResult(datetime.now(UTC), tuple(rows), tuple(orphans), warnings)


@overload
def history(loaded: Loaded, run_id: None = None, *, limit: int = 20) -> HistoryResult: ...
@overload
def history(loaded: Loaded, run_id: str, *, limit: int = 20) -> PastRun: ...
def history(loaded: Loaded, run_id: str | None = None, *, limit: int = 20) -> HistoryResult | PastRun:
    """List the past runs, newest first; or give one of them in full. Raises UsageError, StateError."""
    refuse_plan_file(loaded, "history")
    if run_id is not None:
        for state in {spec.state for spec in loaded.specs}:
            for found in open_records(state).run(run_id):
                return PastRun(found.row, found.tool_version, found.allowed, found.plan_id, found.document)
        raise UsageError(f"there is no run {run_id!r} in this state", "`reconcile history SPEC` lists them")
    places = {(spec.state, spec.destination.workspace) for spec in loaded.specs}
    runs = [row for state, workspace in places for row in open_records(state).runs(workspace, limit)]
    runs.sort(key=lambda row: row.started_at, reverse=True)
    return HistoryResult(datetime.now(UTC), tuple(runs[:limit]))


# --- validate -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SegmentCheck:
    """What was found of one segment: its title at Customer.io, if that is known, or why it failed."""

    target: Target
    title: str | None = None
    error: Problem | None = None


@dataclass(frozen=True)
class Validation:
    """What was found of valid specs. `checks` is empty where nothing was connected to."""

    spec_warnings: tuple[str, ...]
    checks: tuple[SegmentCheck, ...] = ()
    connection_warnings: tuple[str, ...] = ()


def validate(loaded: Loaded, *, connect: bool = False, stop: threading.Event | None = None) -> Validation:
    """Check the queries; `connect` also prepares each, and checks credentials, region and segments.

    Raises SpecError, which names every text that is seen not to be one query.
    """
    problems = []
    for target in loaded.targets:
        try:
            name = target.segment.source
            check_query(name, target.spec.sources[name].url, target.segment)
        except SourceError as error:
            problems.append(f"{target.where}: segment {target.segment.name}: {error.message}")
    if problems:
        raise SpecError(problems, "each segment takes one query, such as a SELECT")
    with Context(loaded.targets, stop=stop) as context:
        context.warn_of_specs()
        spec_warnings = tuple(context.warnings)
        checks = []
        for target in loaded.targets if connect else ():
            try:
                checks.append(SegmentCheck(target, _check_both_ends(context, target)))
            except ReconcileError as error:
                checks.append(SegmentCheck(target, error=as_problem(target, error)))
        return Validation(spec_warnings, tuple(checks), tuple(context.warnings[len(spec_warnings) :]))


def _check_both_ends(context: Context, target: Target) -> str | None:
    """Prepare the query, check the keys, and look the segment up: give its title."""
    head = context.snapshot(target).head(target.workspace, target.segment.segment_id)
    check_head(target, head)
    context.source(target).check(target.segment)
    check_environment(target, head.environment_id, context.preflight(target))
    app = context.app(target)
    if app is None:
        context.warn("without app_api_key nobody can tell whether a segment exists and is manual")
    else:
        app.segments()  # a plan goes on where an App key is refused; a check of both ends must not
    return look_up(target, head, app, context.warn).title


# --- drift --------------------------------------------------------------------------------------------------------


def drift(
    loaded: Loaded,
    *,
    ignore_foreign: bool = False,
    memory_limit: str = DEFAULT_MEMORY_LIMIT,
    parallel: int = DEFAULT_PARALLEL,
    stop: threading.Event | None = None,
    progress: Callable[[Event], None] | None = None,
) -> DriftResult:
    """Compare the members of every selected segment with the snapshot. `ignore_foreign`: others may add members.

    Raises UsageError, and SpecError where an App API key is missing.
    """
    refuse_plan_file(loaded, "drift")
    require_app_keys(loaded.targets, "drift")
    created_at = datetime.now(UTC)
    with Context(loaded.targets, memory_limit, parallel, reads_only=True, stop=stop, progress=progress) as context:
        segments = context.for_each(
            loaded.targets, lambda target: _drift_of_one(context, target, ignore_foreign), "drift"
        )
        return DriftResult(created_at, tuple(segments), tuple(context.warnings))


def _drift_of_one(context: Context, target: Target, ignore_foreign: bool) -> SegmentDrift:
    """Compare one segment. One that fails has the numbers that the state holds, where that can be read."""
    workspace, segment_id = target.workspace, target.segment.segment_id
    try:
        context.check_stop()
        head = context.snapshot(target).head(workspace, segment_id)
        with context.sets(target).begin(target) as comparison:
            app = context.checked_app(target, head)
            return compare_segment(target, head, comparison, app, ignore_foreign, context.warn)
    except Exception as error:  # one segment's failure never stops the others
        log.debug("the drift of %s failed", target.label, exc_info=True)
        failed = SegmentDrift(target, DriftStatus.FAILED, error=as_problem(target, as_known(error)))
    try:
        known = open_records(target.spec.state).segment(workspace, segment_id)
    except StateError:
        return failed
    return replace(failed, stored=known.members if known else 0, unmatched=known.unmatched if known else 0)


def compare_segment(
    target: Target,
    head: Head,
    comparison: "Comparison",
    app: App | None,
    ignore_foreign: bool,
    warn: Callable[[str], None],
) -> SegmentDrift:
    """Read the segment back and compare it with the snapshot. Raises ReconcileError."""
    check_head(target, head)
    title = look_up(target, head, app, warn).title
    read_back(target, comparison, app)
    counts = comparison.drift()
    return SegmentDrift(target, judge_drift(counts, ignore_foreign), counts, title)
