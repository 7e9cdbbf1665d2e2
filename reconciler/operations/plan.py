"""Planning: compare, judge, and say it, one segment at a time. What fails becomes a value, so the others go on."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.customerio.base import App
from reconciler.diff.base import Comparison
from reconciler.errors import (
    DestinationError,
    IncompleteRead,
    PlanFileError,
    ReconcileError,
    SegmentError,
    SourceError,
    fill_hint,
)
from reconciler.errors import unexpected as unexpected
from reconciler.models.batches import Direction
from reconciler.models.counts import Counts
from reconciler.models.guards import Guard, judge
from reconciler.models.plan import Examples, Head, PlanStatus, Problem, RemoteFacts, SegmentPlan
from reconciler.models.spec import Ownership, Target
from reconciler.operations.read_back import read_back

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlanOptions:
    """How to plan. `allowed` holds the guards let past, by `workspace/name`; `show_ids` is a number of example ids."""

    allowed: Mapping[str, frozenset[Guard]] = field(default_factory=dict)
    show_ids: int = 0

    def allowed_for(self, target: Target) -> frozenset[Guard]:
        return self.allowed.get(target.label, frozenset())


def plan_segment(
    target: Target,
    head: Head,
    comparison: Comparison,
    app: App | None,
    options: PlanOptions,
    warn: Callable[[str], None],
) -> SegmentPlan:
    """Plan one segment from its query. `head` is what the state says before the query is run."""

    def compare() -> tuple[Counts, RemoteFacts]:
        check_head(target, head)
        exclusive = target.segment.ownership is Ownership.EXCLUSIVE
        there = read_back(target, comparison, require_app(target, app)) if exclusive else None
        counts = comparison.compare()
        facts = look_up_if_needed(target, head, counts, app, warn)
        return counts, replace(facts, members=there.people) if there and head.is_new else facts

    return describe(target, compare, comparison, app, options, warn)


def describe(
    target: Target,
    compare: Callable[[], tuple[Counts, RemoteFacts]],
    comparison: Comparison,
    app: App | None,
    options: PlanOptions,
    warn: Callable[[str], None],
) -> SegmentPlan:
    """Make a plan of what `compare` finds, or of how it failed. Raises PlanFileError alone."""
    try:
        counts, facts = compare()
        plan = judge_segment(target, comparison, counts, facts, options)
        if comparison.head.restored:
            warn(warn_of_restored(target))
        return replace(plan, remote=look_up_usage(plan, app, warn))
    except PlanFileError:
        raise  # it is about the whole file, and so for the caller
    except ReconcileError as error:
        return fail(target, error)
    except Exception as error:  # one segment's failure never stops the others
        log.debug("planning %s failed", target.label, exc_info=True)
        return fail(target, unexpected(error))


def judge_segment(
    target: Target, comparison: Comparison, counts: Counts, facts: RemoteFacts, options: PlanOptions
) -> SegmentPlan:
    """Judge the guards over what a comparison found."""
    head, allowed = comparison.head, options.allowed_for(target)
    check_head(target, head)
    verdicts = judge(target.segment.guards, counts, head.completed, allowed)
    if any(verdict.blocks for verdict in verdicts):
        status = PlanStatus.BLOCKED
    else:
        status = PlanStatus.CHANGES if counts.is_changed else PlanStatus.UNCHANGED
    examples = show_examples(comparison, options.show_ids)
    return SegmentPlan(
        target, status, head, counts, verdicts, None, facts, examples, comparison.engine, allowed=allowed
    )


def warn_of_restored(target: Target) -> str:
    """What is to be said of a segment whose state comes from a backup, or has lost writes in a failover."""
    return (
        f"{target.label}: its state was restored from a backup, or has lost writes in a failover, and does not know "
        f"what was sent after that; run `reconcile refresh {target.spec.path}`"
    )


def show_examples(comparison: Comparison, number: int) -> Examples:
    """Give up to `number` ids of each change; none unless asked for."""
    if number <= 0:
        return Examples()
    return Examples(comparison.examples(Direction.ADD, number), comparison.examples(Direction.REMOVE, number))


def check_head(target: Target, head: Head) -> None:
    """Refuse a segment whose id type, or a workspace whose environment, is not what the state has."""
    segment = target.segment
    if head.id_type is not None and head.id_type != segment.id_type:
        raise SegmentError(
            f"{target.where}: the state holds segment {segment.segment_id} by {head.id_type}, the spec says "
            f"{segment.id_type}",
            f"set id_type back to {head.id_type}; or take the members over by {segment.id_type} (`reconcile refresh "
            "SPEC --select NAME`); or forget the segment (`reconcile state forget SPEC NAME`)",
            code="id_type",
        )
    check_environment(target, head)


def check_environment(target: Target, head: Head) -> None:
    """Refuse a workspace that is bound to another environment than the spec pins."""
    destination = target.spec.destination
    pinned = destination.workspace_id
    if pinned is not None and head.environment_id is not None and pinned != head.environment_id:
        raise DestinationError(
            f"{target.spec.path}: workspace {target.workspace!r} is bound to environment {head.environment_id} at "
            f"Customer.io, and the spec's workspace_id is {pinned}",
            "correct workspace_id; a second workspace needs a `workspace:` name of its own",
            code="environment",
        )


def environment_mismatch(target: Target, bound: int, found: int) -> DestinationError:
    """The workspace's name is bound to one environment, and another was found."""
    return DestinationError(
        f"{target.spec.path}: workspace {target.workspace!r} is bound to environment {bound} at Customer.io, "
        f"but this is environment {found}",
        "check site_id and api_key; a second workspace needs a `workspace:` name of its own",
        code="environment",
    )


def require_app(target: Target, app: App | None) -> App:
    """Give the App API, or say that its key is missing."""
    if app is None:
        raise DestinationError(
            f"{target.where}: reading the segment back needs destination.app_api_key",
            "create an App API key in Customer.io (Settings, API credentials) and set app_api_key",
            code="app_api_key",
        )
    return app


def look_up_if_needed(
    target: Target, head: Head, counts: Counts, app: App | None, warn: Callable[[str], None]
) -> RemoteFacts:
    """As `look_up`, but a segment with nothing to send is not worth a request, unless the state has never met it.

    How many are there already is part of what a first fill says.
    """
    idle = not (counts.is_changed or counts.resend or head.is_new)
    return RemoteFacts() if idle else look_up(target, head, app, warn)


def look_up(target: Target, head: Head, app: App | None, warn: Callable[[str], None]) -> RemoteFacts:
    """Ask the App API whether the segment is there and manual, and for its name; no key, no answer.

    An App API that can't be asked is a warning: nothing of a tracked plan depends on it.
    """
    if app is None:
        return RemoteFacts()
    try:
        segment = app.segments().get(target.segment.segment_id)
    except (DestinationError, IncompleteRead) as error:
        put_up_with(target, error, warn, f"{target.spec.path}: the names of the segments are not known")
        return RemoteFacts()
    if segment is None:
        raise no_such_segment(target)
    if not segment.manual:
        raise DestinationError(
            f"{target.where}: segment {target.segment.segment_id} is data-driven; only manual segments can be changed",
            "create a manual segment in Customer.io and put its id here",
            code="not_manual",
        )
    return RemoteFacts(title=segment.title, members=count_strangers(target, app, warn) if head.is_new else None)


def count_strangers(target: Target, app: App, warn: Callable[[str], None]) -> int | None:
    """Ask how many members a segment has that the state does not know yet."""
    try:
        return app.count(target.segment.segment_id)
    except (DestinationError, IncompleteRead) as error:
        put_up_with(target, error, warn, f"{target.where}: how many members there are is not known")
        return None


def put_up_with(target: Target, error: ReconcileError, warn: Callable[[str], None], words: str) -> None:
    """Turn an error of the App API into a warning; raise it where a plan depends on what is really there, and where
    another environment was asked."""
    if target.segment.ownership is Ownership.EXCLUSIVE or error.code == "environment":
        raise error
    warn(f"{words}: {error.message}")


def no_such_segment(target: Target) -> DestinationError:
    """The workspace has no segment of this id."""
    return DestinationError(
        f"{target.where}: there is no segment {target.segment.segment_id} in workspace {target.workspace!r}",
        "check segment_id, and that the keys are those of the right workspace",
        code="no_such_segment",
    )


def look_up_usage(plan: SegmentPlan, app: App | None, warn: Callable[[str], None]) -> RemoteFacts:
    """Ask what a change could set off; only for segments that change."""
    changes = plan.counts is not None and plan.counts.is_changed
    if app is None or not changes or plan.remote.title is None:
        return plan.remote
    try:
        return replace(plan.remote, used_by=app.used_by(plan.target.segment.segment_id))
    except (DestinationError, IncompleteRead) as error:
        warn(f"{plan.target.label}: what uses the segment is not known: {error.message}")
        return plan.remote


def fail(target: Target, error: ReconcileError) -> SegmentPlan:
    """Turn an error into the plan of a segment that failed; what a source says does not tell where its query stands."""
    problem = as_problem(target, error)
    if isinstance(error, SourceError):
        problem = replace(problem, message=f"{target.where}: {problem.message}")
    return SegmentPlan(target, PlanStatus.FAILED, error=problem)


def as_problem(target: Target, error: ReconcileError) -> Problem:
    """Turn an error into a value; its hint names the segment and its spec."""
    hint = fill_hint(error.hint, {"SPEC": [str(target.spec.path)], "NAME": [target.segment.name]})
    return Problem(error.code, error.message, hint)


def as_known(error: BaseException) -> ReconcileError:
    """The error itself, or `unexpected` where nobody foresaw it."""
    return error if isinstance(error, ReconcileError) else unexpected(error)
