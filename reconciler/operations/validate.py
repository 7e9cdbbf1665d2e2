"""`validate`: are the queries right, and are both ends reachable and as the spec says?"""

import threading
from dataclasses import replace
from datetime import UTC, datetime

from reconciler.errors import ReconcileError, SourceError, SpecError, SpecProblem, UsageError
from reconciler.models.fields import Secret
from reconciler.models.results import Finding, SegmentCheck, Validation
from reconciler.models.spec import Target
from reconciler.models.urls import UNKNOWN_URL
from reconciler.operations.context import Context
from reconciler.operations.load import Loaded, refuse_shared
from reconciler.operations.results import as_problem
from reconciler.operations.titles import find_shared, recall, resolve
from reconciler.operations.workspace import check_environment, check_head, check_name, look_up
from reconciler.sources import check_query


def validate(loaded: Loaded, *, connect: bool = False, stop: threading.Event | None = None) -> Validation:
    """Check the queries; `connect` also prepares each, and checks credentials, region and segments.

    Raises SpecError, which names every text that is seen not to be one query.
    """
    problems = []
    for target in loaded.targets:
        if not target.segment.query:
            continue  # it is retired, or the name of its file is not known
        source = target.spec.sources.get(target.segment.source)
        try:
            url = source.url if source and source.url != Secret(UNKNOWN_URL) else None  # of a profile that is not here
            check_query(target.segment.source, url, target.segment)
        except SourceError as error:
            message = f"segment {target.segment.name}: {error.message}"
            problems.append(target.problem(message, error.hint, line=target.segment.query_line))
    warnings = tuple(dict.fromkeys(each for target in loaded.targets for each in target.segment.warnings))
    if problems:
        raise SpecError(problems, warnings=warnings)
    result = Validation(
        datetime.now(UTC),
        spec_warnings=warnings,
        unset=tuple(sorted({name for spec in loaded.specs for name in spec.unset})),
        specs=len(loaded.specs),
        segments=len(loaded.targets),
    )
    if not connect:
        return result
    refuse_shared(loaded.specs)
    with Context(loaded.targets, stop=stop) as context:
        context.warn_of_names()
        checks, failures = [], []
        shared = find_shared(context, loaded.specs, loaded.targets)
        for at, target in enumerate(loaded.targets):
            try:
                if at in shared:
                    raise shared[at]
                checks.append(SegmentCheck(*_check_both_ends(context, target)))
            except ReconcileError as error:
                problem = as_problem(target, error)
                checks.append(SegmentCheck(target, error=problem))
                place = str(target.spec.path), target.segment.line
                failures.append(Finding(*place, problem.code, f"{target.label}: {problem.message}", problem.hint))
        return replace(
            result,
            problems=tuple(failures),
            connection_warnings=tuple(context.warnings),
            checks=tuple(checks),
            connected=True,
        )


def describe_refusal(error: UsageError) -> Validation:
    """Give what is wrong with specs, or with the names of them, as a result."""
    places = error.places if isinstance(error, SpecError) else (error.message,)
    findings = [
        Finding(each.file, each.line, error.code, each.message, each.hint or error.hint, bool(each.hint))
        if isinstance(each, SpecProblem)
        else Finding(None, None, error.code, each, error.hint)
        for each in places
    ]
    warnings = error.warnings if isinstance(error, SpecError) else ()
    return Validation(datetime.now(UTC), tuple(findings), warnings)


def _check_both_ends(context: Context, target: Target) -> tuple[Target, str | None]:
    """Prepare the query, check the keys, and look the segment up: give it with its number, and its title."""
    snapshot = context.snapshot(target)
    target = recall(target, snapshot.listings(target.workspace))
    head = snapshot.head(target.workspace, target.segment_id)
    check_head(target, head)
    if not target.segment.retired:
        context.source(target).check(target.segment)
    members = context.members_at_source(target)
    if members is not None:
        members.check_schema()
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
