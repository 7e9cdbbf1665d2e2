"""`plan`: run each query, compare it with the snapshot, judge the guards. Sends nothing."""

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.customerio import App
from reconciler.errors import DestinationError, UsageError, as_known
from reconciler.files import OutputFile
from reconciler.ids_file import IdsDraft, drafting_ids, ids_output
from reconciler.models.batches import Direction
from reconciler.models.comparison import DEFAULT_LOOKUP_TIMEOUT, DEFAULT_PARALLEL, Counts
from reconciler.models.events import Event, Planned, Reading
from reconciler.models.guards import Guard, judge, judge_freshness
from reconciler.models.plan import Examples, Head, PlanStatus, RemoteFacts, SegmentPlan
from reconciler.models.spec import Ownership, Target
from reconciler.operations.context import Context
from reconciler.operations.load import (
    Loaded,
    Names,
    find_server_state,
    refuse_less,
    refuse_plan_file,
    refuse_shared,
    refuse_stdin,
    resolve_allowed,
)
from reconciler.operations.lookups import Lookups
from reconciler.operations.orphans import find_orphans
from reconciler.operations.plan_checks import bind_new
from reconciler.operations.read_back import read_back, warn_of_unmatched
from reconciler.operations.results import PlanResult, as_failed_plan
from reconciler.operations.retirement import check_retirement
from reconciler.operations.rivals import warn_of_rivals
from reconciler.operations.titles import find_shared, resolve, warn_of_former_numbers
from reconciler.operations.workspace import check_environment, check_head, look_up, tell_cause
from reconciler.plan_file import STATE, STORED, Draft, drafting, plan_output, seal
from reconciler.state import store_plan

if TYPE_CHECKING:
    from reconciler.diff.changes import Changes
    from reconciler.diff.comparison import Comparison

log = logging.getLogger(__name__)

Compare = Callable[["Comparison"], "Changes"]
"""Finds the changes: `Comparison.compare` from the query, or those of a plan file. May raise ReconcileError."""


@dataclass(frozen=True)
class PlanOptions:
    """How to plan. `allowed` has the guards that may be passed, by `workspace/name`; `show_ids`: number of examples.

    `is_undo`: the changes reverse a run, and are sent to a paused segment, too. `looks_up`: with an App key the segment
    is looked up though nothing changes.
    """

    allowed: Mapping[str, frozenset[Guard]] = field(default_factory=dict)
    show_ids: int = 0
    is_undo: bool = False
    looks_up: bool = False


def plan(
    loaded: Loaded,
    *,
    out: str | Path | None = None,
    ids: str | Path | None = None,
    detailed_exitcode: bool = False,
    allow_removals: Names = (),
    allow_additions: Names = (),
    allow_empty: Names = (),
    show_ids: int = 0,
    memory_limit: str | None = None,
    parallel: int = DEFAULT_PARALLEL,
    lookup_timeout: float = DEFAULT_LOOKUP_TIMEOUT,
    stop: threading.Event | None = None,
    progress: Callable[[Event], None] | None = None,
) -> PlanResult:
    """Plan every selected segment; `out` seals the plan into a file, unless a segment is blocked or failed.

    With `state:` the state keeps it: see `plan` of the result. `ids` writes every change into a CSV, of blocked and
    paused segments, too.

    How many members segments have, and what uses them, is asked for during at most `lookup_timeout` seconds. Raises
    UsageError before anything is read.
    """
    refuse_plan_file(loaded, "plan")
    refuse_less(0, show_ids=show_ids, lookup_timeout=lookup_timeout)
    if out is not None:
        refuse_stdin(loaded)
    state = find_server_state(loaded) if out == STATE else None
    refuse_shared(loaded.specs)
    allowed = resolve_allowed(loaded.targets, allow_removals, allow_additions, allow_empty)
    options = PlanOptions(allowed, show_ids, looks_up=True)
    created_at = datetime.now(UTC)
    with Context(loaded.targets, memory_limit, parallel, reads_only=True, stop=stop, progress=progress) as context:
        # An older plan file is deleted before anything is read, whether or not this plan is sealed.
        output = None if state or out is None else plan_output(str(out))
        listed = None if ids is None else ids_output(str(ids))
        check_outputs(output, listed)
        rows = None if listed is None else context.enter_context(drafting_ids(listed))
        draft = None if out is None else context.enter_context(drafting(output))
        context.warn_of_specs()
        context.warn_of_names()
        lookups = context.enter_context(closing(Lookups(lookup_timeout)))
        segments = context.for_each(
            range(len(loaded.targets)), lambda index: _plan_one(context, index, options, draft, rows, lookups), "plan"
        )
        segments = lookups.fill(segments, context.warn, context.stop)
        shared = find_shared(context, loaded.specs, [each.target for each in segments])
        segments = [
            as_failed_plan(each.target, shared[at]) if at in shared and each.error is None else each
            for at, each in enumerate(segments)
        ]
        warn_of_former_numbers(context, loaded.specs, [each.target for each in segments])
        warn_of_rivals(context, loaded.specs, [each.target for each in segments])
        if draft is not None:
            segments = [_bind(context, segment) for segment in segments]
        if rows is not None and not context.stop.is_set():
            rows.write([at for at, each in enumerate(segments) if each.error is None])
            if rows.formulas:
                context.warn(
                    f"{ids}: {rows.formulas:,} ids begin with =, +, - or @, which a spreadsheet takes for a formula; "
                    "import the column as text"
                )
        made = PlanResult(
            created_at,
            tuple(segments),
            tuple(context.warnings),
            detailed_exitcode=detailed_exitcode,
            orphans=find_orphans(loaded.specs, context.open_snapshot),
        )
        failures = made.of_status(PlanStatus.BLOCKED) + made.of_status(PlanStatus.FAILED)
        if draft is not None and not failures and not context.stop.is_set():
            plan_id = uuid.uuid4().hex
            sealed = seal(made, plan_id, __version__, Path.cwd())
            if state is None:
                draft.seal(sealed)
            else:
                store_plan(state, plan_id, sealed.expires_at, draft.lines(sealed))
            made = replace(made, plan_id=plan_id, plan=None if state is None else f"{STORED}{plan_id}")
        return context.observed("plan", made)


def check_outputs(output: OutputFile | None, listed: OutputFile | None) -> None:
    """Raise UsageError unless both files may be written, before an older one of either is deleted."""
    for each in (output, listed):
        if each is not None:
            each.check()
    if output is not None and listed is not None and output.path == listed.path:
        raise UsageError(f"--out and --ids name one file: {listed.named}", "name another one after --ids")


def _plan_one(
    context: Context,
    index: int,
    options: PlanOptions,
    draft: Draft | None,
    rows: IdsDraft | None,
    lookups: Lookups,
) -> SegmentPlan:
    """Plan one of the segments; its ids go into the drafts that there are."""

    def plan_one(target: Target) -> SegmentPlan:
        head = context.snapshot(target).head(target.workspace, target.segment_id)
        with context.sets().begin(target) as comparison:
            app = context.checked_app(target, head)
            made, changes = plan_segment(target, head, comparison, app, options, context.warn)
            lookups.ask(made, app)
            counts = changes.counts
            warn_of_unmatched(target, counts.unmatched, counts.held_by_state, context.warn)
            if draft is not None and made.status not in (PlanStatus.BLOCKED, PlanStatus.PAUSED):
                spool(draft, index, changes)
            if rows is not None:
                for direction in (Direction.REMOVE, Direction.ADD):
                    rows.spool(index, target.workspace, target.segment.name, changes.batches(direction))
        return made

    return plan_target(context, context.targets[index], plan_one)


def plan_target(context: Context, target: Target, plan_one: Callable[[Target], SegmentPlan]) -> SegmentPlan:
    """Plan one target, once it is known which segment it is. What goes wrong is in the result, and stops no other."""
    context.report(Reading(target))
    try:
        context.check_stop()
        context.check_name(target)
        target = resolve(context, target)
        made = plan_one(target)
    except Exception as error:
        log.debug("planning %s failed", target.label, exc_info=True)
        made = as_failed_plan(target, as_known(error))
    context.report(Planned(made))
    return made


def spool(draft: Draft, index: int, changes: "Changes") -> None:
    """Write the ids of one segment into the draft."""
    for direction in (Direction.REMOVE, Direction.ADD):
        draft.spool(index, changes.batches(direction))


def _bind(context: Context, segment: SegmentPlan) -> SegmentPlan:
    """Bind a segment of a plan file to its environment and to the state that it was planned from."""
    head = bind_new(segment.head, segment.target, context.snapshot(segment.target))
    return bind_to_environment(context, replace(segment, head=head))


def bind_to_environment(context: Context, segment: SegmentPlan) -> SegmentPlan:
    """Ask Customer.io for an environment that the state does not know yet: a plan file is bound to it."""
    target, bound = segment.target, segment.head.environment_id
    if bound is not None or not segment.has_work:
        return segment
    found = context.ask_environment(target)
    try:
        check_environment(target, bound, found)
    except DestinationError as error:
        return as_failed_plan(target, error)
    if found is None:
        unbound = (
            f"the plan file is bound to no environment of workspace {target.workspace}: Customer.io did not tell it"
        )
        context.warn(tell_cause(unbound, target, context.find_closed(target)))
    return replace(segment, head=replace(segment.head, environment_id=found))


# --- one segment --------------------------------------------------------------------------------------------------


def plan_segment(
    target: Target,
    head: Head,
    comparison: "Comparison",
    app: App | None,
    options: PlanOptions,
    warn: Callable[[str], None],
    compare: Compare | None = None,
) -> tuple[SegmentPlan, "Changes"]:
    """Plan one segment, from its query or by `compare`. `head` is what the state says beforehand.

    Raises ReconcileError.
    """
    segment = target.segment
    if head.restored:  # first, so that it is said of a segment that fails, too
        warn(warn_of_restored(target))
    check_head(target, head)
    if segment.retired:
        check_retirement(target, head, warn)
    there = read_back(target, comparison, app) if segment.reads_members else None
    changes = compare(comparison) if compare else comparison.compare()
    counts = changes.counts
    remote = RemoteFacts()
    asks = (options.looks_up or head.is_new) and not segment.retired
    if asks or counts.is_changed or counts.resend:  # else it is not worth a request
        remote = RemoteFacts(members=0) if segment.segment_id is None else look_up(target, app, warn)
    if there and head.is_new:
        remote = replace(remote, members=there.people)

    head = changes.head
    check_head(target, head)
    allowed = options.allowed.get(target.label, frozenset())
    verdicts = () if segment.retired else judge(segment.guards, counts, head.completed, allowed)
    if not segment.retired:
        _warn_of_unjudged(target, counts, warn)
    freshness = segment.guards.freshness
    if freshness is not None and compare is None and not segment.retired:  # a plan file was judged when it was made
        assert changes.data_time is not None, "it was asked with the query"
        verdicts += (judge_freshness(freshness, changes.data_time, datetime.now(UTC)),)
    if segment.paused and not options.is_undo:
        status = PlanStatus.PAUSED
    elif any(verdict.blocks for verdict in verdicts):
        status = PlanStatus.BLOCKED
    else:
        is_changed = counts.is_changed or (segment.segment_id is None and not segment.retired)  # then it is created
        status = PlanStatus.CHANGES if is_changed else PlanStatus.UNCHANGED
    examples = Examples()
    if options.show_ids > 0:
        examples = Examples(
            add=changes.examples(Direction.ADD, options.show_ids),
            remove=changes.examples(Direction.REMOVE, options.show_ids),
        )
    made = SegmentPlan(
        target, status, head, counts, verdicts, remote=remote, examples=examples, engine=changes.engine, allowed=allowed
    )
    return made, changes


def _warn_of_unjudged(target: Target, counts: Counts, warn: Callable[[str], None]) -> None:
    """Warn of removals that are too many for `max_removals` only together with those that it does not judge."""
    limit = target.segment.guards.max_removals
    judged = counts.remove - counts.exempt_removes
    if limit.is_exceeded(counts.remove, counts.held) and not limit.is_exceeded(judged, counts.held):
        warn(
            f"{target.label}: max_removals ({limit}) does not judge {counts.exempt_removes:,} of the {counts.remove:,} "
            "removals: they repeat a removal, or are of ids that were not in the segment when it was last read, and "
            "may be by now; to have these judged, run `reconcile refresh` first"
        )


def as_undone(target: Target) -> Target:
    """Give a target as an undo works on it: its real members are not read, nobody is adopted, no stray removed."""
    return target.changed(ownership=Ownership.TRACKED)


def warn_of_restored(target: Target) -> str:
    """Say that a segment's state comes from a backup, or has lost writes in a failover."""
    return (
        f"{target.label}: its state was restored from a backup, or has lost writes in a failover, and does not know "
        f"what was sent after that; run `reconcile refresh {target.spec.path}`"
    )
