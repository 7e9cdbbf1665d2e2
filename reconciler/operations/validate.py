"""`validate`: are the queries right, and are both ends reachable and as the spec says?"""

import threading
from dataclasses import dataclass

from reconciler.errors import ReconcileError, SourceError, SpecError
from reconciler.models.plan import Problem
from reconciler.models.spec import Target
from reconciler.operations.context import Context
from reconciler.operations.load import Loaded, refuse_shared
from reconciler.operations.results import as_problem
from reconciler.operations.titles import find_shared, recall, resolve
from reconciler.operations.workspace import check_environment, check_head, check_name, look_up
from reconciler.sources import check_query


@dataclass(frozen=True)
class SegmentCheck:
    """What was found of one segment: its title at Customer.io, if that is known, or why it failed.

    A segment that `apply` is to create has no number.
    """

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
        name = target.segment.source
        source = target.spec.sources.get(name)
        if source is None or not target.segment.query:
            continue  # it is retired, or a variable that is not set hides the query or its dialect
        try:
            check_query(name, source.url, target.segment)
        except SourceError as error:
            problems.append(f"{target.where}: segment {target.segment.name}: {error.message}")
    if problems:
        raise SpecError(problems, "each segment takes one query, such as a SELECT")
    spec_warnings = tuple(dict.fromkeys(text for target in loaded.targets for text in target.segment.warnings))
    if not connect:
        return Validation(spec_warnings)
    refuse_shared(loaded.specs)
    with Context(loaded.targets, stop=stop) as context:
        context.warn_of_names()
        checks = []
        shared = find_shared(context, loaded.targets)
        for at, target in enumerate(loaded.targets):
            try:
                if at in shared:
                    raise shared[at]
                checks.append(SegmentCheck(*_check_both_ends(context, target)))
            except ReconcileError as error:
                checks.append(SegmentCheck(target, error=as_problem(target, error)))
        return Validation(spec_warnings, tuple(checks), tuple(context.warnings))


def _check_both_ends(context: Context, target: Target) -> tuple[Target, str | None]:
    """Prepare the query, check the keys, and look the segment up: give it with its number, and its title."""
    snapshot = context.snapshot(target)
    target = recall(target, snapshot.listings(target.workspace))
    head = snapshot.head(target.workspace, target.segment_id)
    check_head(target, head)
    if not target.segment.retired:
        context.source(target).check(target.segment)
    found = context.preflight(target)
    check_environment(target, head.environment_id, found)
    check_name(target, context.environments(target), found)
    target = resolve(context, target)
    app = context.app(target)
    if app is None:
        context.warn("without app_api_key nobody can tell whether a segment exists and is manual")
    else:
        app.segments()  # a plan goes on where an App key is refused; a check of both ends must not
    if target.segment.segment_id is None:
        return target, None
    return target, look_up(target, app, context.warn).title
