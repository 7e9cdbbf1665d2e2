"""`refresh`: set the snapshot to the members at Customer.io. Nobody is added or removed there."""

import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from reconciler.customerio import App
from reconciler.errors import (
    DestinationError,
    IncompleteRead,
    LockHeld,
    ReconcileError,
    SegmentError,
    StateError,
    UsageError,
    as_known,
    not_confirmed,
)
from reconciler.escaping import show_title
from reconciler.models.comparison import DriftCounts
from reconciler.models.events import Confirming, Event, ReadBack
from reconciler.models.id_status import StateCounts
from reconciler.models.results import RefreshRow, RefreshStatus, StopSignal
from reconciler.models.spec import Target
from reconciler.operations.actor import find_actor, read_reason
from reconciler.operations.context import Context
from reconciler.operations.history import RunHistory
from reconciler.operations.load import (
    Loaded,
    refuse_less,
    refuse_plan_file,
    refuse_shared,
    require_app_keys,
)
from reconciler.operations.read_back import read_back, seconds_left, wait_for_arrival, warn_of_unmatched
from reconciler.operations.results import RefreshResult, as_problem
from reconciler.operations.titles import find_shared, resolve_made
from reconciler.operations.workspace import bind, check_environment, check_name, check_pin, look_up

if TYPE_CHECKING:
    from reconciler.diff.comparison import Comparison
    from reconciler.state.locked_segment import LockedSegment

log = logging.getLogger(__name__)

Approve = Callable[[Target, DriftCounts, str | None], bool]
"""Is told what was found before the state is changed, and the segment's title; False: the state stays as it is."""


class Adopt(StrEnum):
    """Which members a refresh takes over."""

    ALL = "all"
    KNOWN = "known"
    """Only those that the state has in some way."""


def refresh(
    loaded: Loaded,
    *,
    adopt: str = Adopt.ALL,
    lock_timeout: float = 0.0,
    memory_limit: str | None = None,
    reason: str | None = None,
    approve: Approve | None = None,
    stop: threading.Event | None = None,
    progress: Callable[[Event], None] | None = None,
) -> RefreshResult:
    """Refresh every selected segment, one after another. `approve` is asked for each, in the caller's thread.

    `reason` is kept in the history.
    Raises UsageError, and SpecError where an App API key is missing.
    """
    refuse_plan_file(loaded, "refresh")
    refuse_less(0, lock_timeout=lock_timeout)
    if adopt not in set(Adopt):
        raise UsageError(f"adopt is {adopt!r}", f"give {' or '.join(Adopt)}")
    require_app_keys(loaded.targets, "refresh")
    refuse_shared(loaded.specs)
    run_id, created_at = uuid.uuid4().hex, datetime.now(UTC)
    actor, reason = find_actor(loaded.specs), read_reason(reason)
    history = RunHistory(run_id, "refresh", [f"--adopt {adopt}"], actor=actor, reason=reason)
    with Context(loaded.targets, memory_limit, lock_timeout=lock_timeout, stop=stop, progress=progress) as context:
        targets, refusals = list(loaded.targets), {}
        for at, target in enumerate(targets):
            if target.segment.segment is not None:
                try:
                    context.check_stop()
                    targets[at] = resolve_made(context, target)
                except Exception as error:  # which its row has
                    refusals[at] = as_known(error)
        refusals = {**find_shared(context, loaded.specs, targets), **refusals}
        rows = []
        for at, target in enumerate(targets):
            rows.append(_refresh_one(context, target, history, Adopt(adopt), approve, refusals.get(at)))
            context.report(ReadBack(rows[-1]))
        signal = context.stop.number if isinstance(context.stop, StopSignal) else None
        result = RefreshResult(run_id, created_at, tuple(rows), tuple(context.warnings), stopped_by=signal)
        return context.observed("refresh", history.end(result))


def _refresh_one(
    context: Context,
    target: Target,
    history: RunHistory,
    adopt: Adopt,
    approve: Approve | None,
    refusal: ReconcileError | None,
) -> RefreshRow:
    """Refresh one segment under its lock."""

    def wait(seconds: float) -> bool:
        return wait_for_arrival(target, seconds, context.report, context.stop.wait)

    try:
        context.check_stop()
        if refusal is not None:
            raise refusal
        store = context.store(target)
        target = resolve_made(context, target)
        history.begin(store, target.workspace)
        with (
            store.lock(target, history.run_id, history.command, None) as segment,
            context.sets().begin(target) as comparison,
        ):
            context.report(Confirming(target))
            app = context.app(target)
            environment_id = context.preflight(target)
            check_environment(target, store.environments().get(target.workspace), environment_id)
            check_name(target, store.environments(), environment_id)

            def ask_and_bind(counts: DriftCounts) -> None:
                if approve is not None and not approve(target, counts, _find_title(context, target)):
                    raise not_confirmed("the state is as it was", is_stopped=context.stop.is_set())
                context.check_stop()
                bind(target, store, environment_id)

            return refresh_segment(target, segment, comparison, app, adopt, context.warn, wait, ask_and_bind)
    except Exception as error:  # one segment's failure never stops the others
        log.debug("refreshing %s failed", target.label, exc_info=True)
        known = as_known(error)
        status = RefreshStatus.LOCKED if isinstance(known, LockHeld) else RefreshStatus.FAILED
        return RefreshRow(target, status, error=as_problem(target, known))


def _find_title(context: Context, target: Target) -> str | None:
    """Find what a segment is called, for a question about it; None: Customer.io does not tell."""
    try:
        found = context.list_segments(target).get(target.segment_id)
    except (DestinationError, IncompleteRead):
        return None
    return show_title(found.title) if found is not None else None


def refresh_segment(
    target: Target,
    segment: "LockedSegment",
    comparison: "Comparison",
    app: App | None,
    adopt: Adopt,
    warn: Callable[[str], None],
    wait: Callable[[float], bool],
    before_writing: Callable[[DriftCounts], None],
) -> RefreshRow:
    """Read the segment back once everything that was sent has surely taken effect, then take over what was read.

    `wait` waits some seconds, and is true once the operation is to stop. `before_writing` is told what was
    found, and raises to leave the state as it is.
    Raises ReconcileError.
    """
    head = segment.head()
    check_pin(target, head)
    is_retyped = head.id_type not in (None, target.segment.id_type)
    before = segment.count() if is_retyped else StateCounts(0, 0, 0)
    unsettled = before.unsettled
    if unsettled:  # which the ids of the old type alone settle
        raise SegmentError(
            f"{target.where}: the state holds segment {target.segment_id} by {head.id_type}, and "
            f"the outcome of {unsettled:,} ids is unknown",
            f"set id_type back to {head.id_type} and apply, which settles them; or forget the segment "
            "(`reconcile state forget SPEC NAME`)",
            code="id_type",
        )
    doubts: list[str] = []
    title = look_up(target, app, doubts.append).title
    seconds = seconds_left(segment.attempted_at(), segment, target.spec.destination.settle)
    if seconds > 0 and wait(seconds):
        raise SegmentError(f"{target.where}: stopped before it was looked at", "run it again", code="stopped")
    if target.is_at_source:
        comparison.do_without_members()
    read_back(target, comparison, app)
    for doubt in doubts:  # now, as a read-back that fails for the same reason says it
        warn(doubt)
    found = comparison.drift()
    if before.stored and found.unkeyed:  # they may be ours, and would never be removed any more
        raise SegmentError(
            f"{target.where}: {found.unkeyed:,} of the {found.remote:,} members have no {target.segment.id_type}, and "
            f"the state holds {before.stored:,} by {head.id_type}: it would forget those of them that it holds, and "
            "they would stay in the segment",
            f"set id_type back to {head.id_type}, and apply a query without the people who have no "
            f"{target.segment.id_type}; or, if all of them may stay, forget the segment (`reconcile state forget SPEC "
            "NAME`) and refresh it then",
            code="id_type",
        )

    before_writing(replace(found, stored=before.stored) if is_retyped else found)
    # The next plan of a retired segment removes everybody, and no guard stops it.
    known_only = adopt is Adopt.KNOWN or target.segment.retired
    if known_only and is_retyped:
        raise SegmentError(
            f"{target.where}: the state knows nobody by {target.segment.id_type} yet, so `--adopt known` "
            "would take over nobody",
            "give `--adopt all`, and read the next plan before you apply it",
            code="id_type",
        )
    if target.is_at_source and comparison.lost is not None:
        if known_only:
            raise StateError(
                f"{target.where}: {comparison.lost.message}; so the state knows nobody to take over",
                "give `--adopt all`, and read the next plan before you apply it",
            )
        warn(f"{target.label}: {comparison.lost.message}; all who are in the segment were taken over")
    segment.replace_snapshot(comparison.adoption(known_only))
    segment.keep_listing(head, title)
    held = segment.count()
    warn_of_unmatched(target, held.unmatched, held.held, warn)
    return RefreshRow(
        target,
        RefreshStatus.REFRESHED,
        stored=held.stored,
        strangers=found.strangers,
        adopted=0 if known_only else found.strangers,
        unsettled=held.unsettled,
        unmatched=held.unmatched,
        lingering=found.lingering,
        unkeyed=found.unkeyed,
        title=title,
    )
