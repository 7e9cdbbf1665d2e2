"""`reconcile validate`: is the spec right, and (with --connect) are both ends?"""

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import flags

if TYPE_CHECKING:
    from reconciler.cli.wiring import Wiring
    from reconciler.models.spec import Target


def validate(
    specs: flags.Specs,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also prepare each query, and check credentials, region and segments.")
    ] = False,
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Check every rule of the spec; with --connect also the databases and Customer.io. Changes nothing."""
    from reconciler.cli.console import Console
    from reconciler.cli.signals import cut_short
    from reconciler.cli.wiring import wired
    from reconciler.errors import ExitCode
    from reconciler.operations.load import load

    console = Console(verbose, quiet, log_format)
    console.set_up_logging()
    loaded = load(specs, select, exclude)
    check_queries(loaded.targets)
    segments = "segment" if len(loaded.targets) == 1 else "segments"
    files = "spec" if len(loaded.specs) == 1 else "specs"
    summary = f"{len(loaded.specs)} {files}, {len(loaded.targets)} {segments}"
    with wired(console, loaded.targets) as wiring, cut_short(wiring):
        wiring.warn_of_specs()
        of_specs = len(wiring.warnings)
        lines, failures = check_both_ends(wiring, loaded.targets) if connect else ([], 0)
    said = f"{failures} of them failed." if failures else "Both ends are reachable and right."
    if len(wiring.warnings) > of_specs and not failures:
        said = "What could be checked is right; see the warnings for the rest."
    summary = f"{summary}. {said}" if connect else f"Valid: {summary}."
    console.say(*lines, *(f"warning: {text}" for text in wiring.warnings), summary)
    return ExitCode.FAILED if failures else ExitCode.DONE


def check_queries(targets: "tuple[Target, ...]") -> None:
    """Refuse what can be seen not to be one query. Raises SpecError, which tells all of them."""
    from reconciler.errors import SourceError, SpecError
    from reconciler.sources import check_query

    problems = []
    for target in targets:
        try:
            name = target.segment.source
            check_query(name, target.spec.sources[name].url, target.segment)
        except SourceError as error:
            problems.append(f"{target.where}: segment {target.segment.name}: {error.message}")
    if problems:
        raise SpecError(problems, "each segment takes one query, such as a SELECT")


def check_both_ends(wiring: "Wiring", targets: "tuple[Target, ...]") -> tuple[list[str], int]:
    """Check each segment; give a line for each, and the number of failures."""
    from reconciler.errors import ReconcileError
    from reconciler.operations.plan import as_problem

    lines, failures = [], 0
    for target in targets:
        try:
            title = check_target(wiring, target)
            lines.append(f"ok      {target.label} (segment {target.segment.segment_id}{title})")
        except ReconcileError as error:
            failures += 1
            problem = as_problem(target, error)
            lines.append(f"failed  {target.label}: {problem.message}")
            if problem.hint:
                lines.append(f"        next: {problem.hint}")
    return lines, failures


def check_target(wiring: "Wiring", target: "Target") -> str:
    """Prepare the query, check the keys, and look the segment up; give its name at Customer.io if that is known."""
    from reconciler.operations.plan import check_head, environment_mismatch, look_up

    head = wiring.snapshot(target).head(target.workspace, target.segment.segment_id)
    check_head(target, head)
    wiring.source(target).check(target.segment)
    found = wiring.track(target).preflight()
    if found is not None and head.environment_id is not None and found != head.environment_id:
        raise environment_mismatch(target, head.environment_id, found)
    app = wiring.app(target)
    if app is None:
        wiring.warn("without app_api_key nobody can tell whether a segment exists and is manual")
    else:
        app.segments()  # a plan puts up with an App key that is refused; a check of both ends must not
    facts = look_up(target, head, app, wiring.warn)
    return f", {facts.title}" if facts.title else ""
