"""`undo`: seal the reverse of what one run sent, as far as the state holds it and no later run has sent it again.

It sends nothing, and takes no lock: `apply FILE` does, as for any plan file.
"""

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.clock import Clock
from reconciler.errors import LockHeld, ReconcileError, SegmentError, StaleError, UsageError
from reconciler.models.comparison import DEFAULT_LOOKUP_TIMEOUT, DEFAULT_PARALLEL, Counts
from reconciler.models.events import Event
from reconciler.models.history import RunState, shorten
from reconciler.models.plan import Head, PlanStatus, SegmentPlan
from reconciler.models.spec import StateSettings, Target
from reconciler.operations.actor import read_reason
from reconciler.operations.context import Context
from reconciler.operations.history import find_run
from reconciler.operations.load import (
    Loaded,
    Names,
    list_targets,
    refuse_less,
    refuse_plan_file,
    refuse_shared,
    refuse_stdin,
    resolve_allowed,
)
from reconciler.operations.lookups import Lookups
from reconciler.operations.plan import PlanOptions, as_undone, bind_to_environment, plan_segment, plan_target, spool
from reconciler.operations.results import PlanResult, as_failed_plan
from reconciler.operations.titles import find_shared, recall
from reconciler.plan_file import STATE, Draft, drafting, plan_output, seal
from reconciler.state import open_reader
from reconciler.state.database import Reader
from reconciler.state.past_run import PastRun, find_past_run, reading_sent

if TYPE_CHECKING:
    from reconciler.diff.changes import Changes
    from reconciler.diff.comparison import Comparison

PastRuns = Mapping[tuple[StateSettings, str], PastRun]
"""What is kept of one run, by state and workspace."""

REPEATED = (
    "the next `apply` of these segments does again what that run did, unless the query is mended or the segment has "
    "`paused: true`; an undo is sent to a paused segment, too"
)


def undo(
    loaded: Loaded,
    run: str,
    *,
    out: str | Path,
    allow_removals: Names = (),
    allow_additions: Names = (),
    allow_empty: Names = (),
    reason: str | None = None,
    show_ids: int = 0,
    memory_limit: str | None = None,
    parallel: int = DEFAULT_PARALLEL,
    lookup_timeout: float = DEFAULT_LOOKUP_TIMEOUT,
    stop: threading.Event | None = None,
    progress: Callable[[Event], None] | None = None,
) -> PlanResult:
    """Plan the reverse of one run, for every selected segment, and seal it, unless a segment is blocked or failed.

    The ids that the run added and that the state still holds are to be removed, those that it removed and that are not
    stored to be added, but none that a later run has sent. Raises UsageError, and ReconcileError where nothing is kept
    of that run.
    """
    refuse_plan_file(loaded, "undo")
    refuse_less(0, show_ids=show_ids, lookup_timeout=lookup_timeout)
    refuse_stdin(loaded)
    if out == STATE:
        raise UsageError("an undo is sealed into a file, and not into a state", "name a file after --out")
    refuse_shared(loaded.specs)
    reason = read_reason(reason)
    allowed = resolve_allowed(loaded.targets, allow_removals, allow_additions, allow_empty)
    options = PlanOptions(allowed, show_ids, is_undo=True)
    targets = [target for target in loaded.targets if not target.segment.retired]
    run_id = find_run_id(loaded, run)
    created_at = datetime.now(UTC)
    with Context(targets, memory_limit, parallel, stop=stop, progress=progress) as context:
        draft = context.enter_context(drafting(plan_output(str(out))))
        readers = {state: open_reader(state, Clock()) for state in dict.fromkeys(each.state for each in loaded.specs)}
        if isinstance(run_id, ReconcileError):  # only now, as no older file may be left
            raise run_id
        past_runs = find_past_runs(loaded, run_id, readers)
        context.warn_of_names()
        for target in loaded.targets:
            if target.segment.retired:
                context.warn(f"{target.label} is retired: the undo leaves it out")
        warn_of_unlisted(loaded, context, past_runs)
        lookups = context.enter_context(closing(Lookups(lookup_timeout)))
        segments = context.for_each(
            range(len(targets)),
            lambda index: _plan_one(context, index, run_id, past_runs, readers, options, draft, lookups),
            "undo",
        )
        segments = lookups.fill(segments, context.warn, context.stop)
        for at, error in find_shared(context, loaded.specs, [each.target for each in segments]).items():
            if segments[at].error is None:
                segments[at] = as_failed_plan(segments[at].target, error)
        segments = [bind_to_environment(context, segment) for segment in segments]
        if any(segment.has_work for segment in segments):
            context.warn(REPEATED)
        made = PlanResult(created_at, tuple(segments), tuple(context.warnings), undo_of=run_id)
        failures = made.of_status(PlanStatus.BLOCKED) + made.of_status(PlanStatus.FAILED)
        if not failures and not context.stop.is_set():
            plan_id = uuid.uuid4().hex
            # What it leaves as it is stays out of the file: it must not make the undo stale.
            changed = [index for index, segment in enumerate(segments) if segment.has_work]
            sent = replace(made, segments=tuple(segments[index] for index in changed))
            draft.seal(seal(sent, plan_id, __version__, Path.cwd(), reason), changed)
            made = replace(made, plan_id=plan_id)
    return made


def find_run_id(loaded: Loaded, run: str) -> str | ReconcileError:
    """Find the run that is meant, or say that the state knows none, or that it goes on.

    Raises UsageError where it may be several.
    """
    try:
        row = find_run(loaded, run).row
    except UsageError as error:
        if error.code != "no_run":
            raise
        return ReconcileError(f"{error.message}, and so nothing to undo", error.hint, code="audit")
    if row.status is RunState.RUNNING:
        return LockHeld(
            f"run {shorten(row.run_id)} is still at work", "end it, or wait until it has ended; then undo what it sent"
        )
    return row.run_id


def find_past_runs(loaded: Loaded, run_id: str, readers: Mapping[StateSettings, Reader]) -> PastRuns:
    """Find what is kept of a run, by state and workspace. Raises ReconcileError where no audit is kept at all."""
    found: dict[tuple[StateSettings, str], PastRun] = {}
    for spec in loaded.specs:
        past = find_past_run(readers[spec.state], spec.destination.workspace, run_id)
        if past is None:
            continue
        if spec.state.audit is None:
            raise ReconcileError(
                f"{spec.path}: the spec says `audit: off`; what run {shorten(run_id)} changed is not kept and "
                "can't be undone",
                "give `state.audit` a time, such as 90d, for the runs to come",
                code="audit",
            )
        found[spec.state, spec.destination.workspace] = past
    return found


def warn_of_unlisted(loaded: Loaded, context: Context, past_runs: PastRuns) -> None:
    """Say which segments the run has changed that their spec does not list any more."""
    for (state, workspace), past in past_runs.items():
        listed = set()
        for target in list_targets(loaded.specs):
            if (target.spec.state, target.workspace) == (state, workspace):
                listed.add(recall(target, context.open_snapshot(state).listings(workspace)).segment.segment_id)
        for segment_id in sorted(past.kept.keys() - listed):
            name = past.names.get(segment_id)
            context.warn(
                f"the run changed segment {segment_id}{f' ({name})' if name else ''} of workspace {workspace}, too, "
                "which no named spec lists: the undo leaves it out"
            )


# --- one segment --------------------------------------------------------------------------------------------------


def _plan_one(
    context: Context,
    index: int,
    run_id: str,
    past_runs: PastRuns,
    readers: Mapping[StateSettings, Reader],
    options: PlanOptions,
    draft: Draft,
    lookups: Lookups,
) -> SegmentPlan:
    """Plan the undo of one segment; its ids go into the draft."""

    def plan_one(target: Target) -> SegmentPlan:
        past = past_runs.get((target.spec.state, target.workspace))
        if past is not None:
            check_kept(target, past, run_id, context.warn)
        if past is None or target.segment_id not in past.kept:
            return _leave(context, target)
        check_types(target, past, run_id)
        if target.segment_id in past.retired:
            context.warn(
                f"{target.label}: the run emptied it as a retired segment, and the undo leaves that as it is; the next "
                "apply adds the ids that its query returns"
            )

        reader = readers[target.spec.state]
        compare = partial(_reverse, target=target, past=past, run_id=run_id, reader=reader)
        head = context.snapshot(target).head(target.workspace, target.segment_id)
        app = context.checked_app(target, head)
        undone = as_undone(target)
        with context.sets().begin(undone) as comparison:
            made, changes = plan_segment(undone, head, comparison, app, options, context.warn, compare)
            made = replace(made, target=target)
            lookups.ask(made, app)
            if made.status is not PlanStatus.BLOCKED:
                spool(draft, index, changes)
        return made

    return plan_target(context, context.targets[index], plan_one)


def _leave(context: Context, target: Target) -> SegmentPlan:
    """Plan nothing for a segment that the run did not change."""
    with context.snapshot(target).read_segment(target.workspace, target.segment_id) as stored:
        numbers, head = stored.count(), stored.head
    counts = Counts(
        desired=None,
        stored=numbers.stored,
        unchanged=numbers.stored,
        unsettled=numbers.unsettled,
        unmatched=numbers.unmatched,
        held=numbers.held,
        sent_since=0,
    )
    return SegmentPlan(target, PlanStatus.UNCHANGED, head, counts)


def _reverse(comparison: "Comparison", target: Target, past: PastRun, run_id: str, reader: Reader) -> "Changes":
    """Find what reverses the run. Raises SegmentError where that is not certain."""
    with reading_sent(reader, target.workspace, target.segment_id, run_id) as sent:
        changes = comparison.undo(sent.rows)
    if sent.head.version != changes.head.version:
        raise StaleError(f"{target.where}: the state changed while it was read", "run it again when no run is at work")
    if changes.counts.is_changed or changes.counts.resend:
        check_certain(target, past, run_id, changes.head)
    return changes


def check_kept(target: Target, past: PastRun, run_id: str, warn: Callable[[str], None]) -> None:
    """Raise SegmentError where a run changed a segment and the audit log has nothing of it; warn where it has less."""
    audit = target.spec.state.audit
    assert audit is not None
    reported, kept = past.reported.get(target.segment_id, 0), past.kept.get(target.segment_id, 0)
    if kept + past.resent.get(target.segment_id, 0) >= reported:
        return
    if kept:
        warn(
            f"{target.label}: of the {reported:,} ids that the run changed the audit log has {kept:,}; the others were "
            "pruned or erased, and stay as they are"
        )
        return
    is_pruned = past.started_at < time.time() - float(audit.seconds)
    why = f"`state.audit` keeps changes for {audit}" if is_pruned else "`state.audit` was off, or it was erased"
    raise SegmentError(
        f"{target.where}: what run {shorten(run_id)} changed is not kept any more, and can't be undone: {why}",
        "mend the query, and apply it",
        code="audit",
    )


def check_certain(target: Target, past: PastRun, run_id: str, head: Head) -> None:
    """Raise SegmentError where ids of the run may have been changed by others since in a way not known."""
    segment_id, run = target.segment_id, shorten(run_id)
    if head.is_new:
        raise SegmentError(
            f"{target.where}: the state has forgotten the segment since run {run}; who is in it is not known",
            "take over its members: `reconcile refresh SPEC --select NAME`",
            code="audit",
        )
    if head.restored:
        raise SegmentError(
            f"{target.where}: the state was restored from a backup, or has lost writes: what was sent since is not "
            "known, and the undo could bring back what a later run removed",
            "mend the query, and apply it; first take over its members: `reconcile refresh SPEC --select NAME`",
            code="audit",
        )
    if segment_id in past.unknown_since:
        raise SegmentError(
            f"{target.where}: a run after {run} changed the segment, and which ids is not kept: the undo could "
            "bring back what that one removed",
            "mend the query, and apply it",
            code="audit",
        )


def check_types(target: Target, past: PastRun, run_id: str) -> None:
    """Raise SegmentError where ids of the run, or of one after it, are of another type."""
    id_type, run = target.segment.id_type, shorten(run_id)
    if others := past.id_types.get(target.segment_id, frozenset()) - {id_type.value}:
        raise SegmentError(
            f"{target.where}: ids of run {run}, or of one after it, are of type {', '.join(sorted(others))}, and the "
            f"segment has {id_type} now",
            "mend the query, and apply it",
            code="id_type",
        )
