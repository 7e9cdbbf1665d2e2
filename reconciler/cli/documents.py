"""The output of a command: its result to stdout; progress, and what a reader of stdout does not see, to stderr."""

import shlex
import sys
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TextIO, cast

from reconciler.cli.console import Console
from reconciler.cli.defaults import DEFAULT_SPEC
from reconciler.cli.flags import LogFormat
from reconciler.cli.streams import Stream
from reconciler.errors import ReconcileError
from reconciler.models.plan import Plan
from reconciler.models.results import Drift, Refresh, Result, Run
from reconciler.models.spec import Spec
from reconciler.models.urls import DatabaseUrl
from reconciler.operations.load import Loaded
from reconciler.operations.results import PlanResult
from reconciler.render import Format, Options, render
from reconciler.render.causes import group, list_names, put_together
from reconciler.render.progress import Progress, ProgressJson, ProgressLines
from reconciler.render.sentences import count, quote


def show(console: Console, result: Result, output: Format, *, shared: Collection[str] = ()) -> None:
    """Write a result to stdout. `shared`: names of segments that several of the named specs have.

    Warnings and errors go to stderr, too, unless they have just been read on a terminal as text.
    """
    console.show(render_for(console, result, output, shared=shared), is_data=output.is_data)
    if (output is Format.TEXT and sys.stdout.isatty()) or not isinstance(result, Plan | Run | Drift | Refresh):
        return
    for warning in result.warnings:
        console.warning(warning)
    failed = [(each.target, each.error) for each in result.segments if each.error is not None]
    for several in group(failed, lambda each: each[1].cause):
        targets, (_, problem) = [target for target, _ in several], several[0]
        if len(several) == 1:
            message = f"{targets[0].label}: {problem.message}"
        else:
            problem = put_together(problem, targets)
            message = (
                f"{count(len(several), 'segment')}: {problem.message} ({list_names([each.label for each in targets])})"
            )
        console.error(ReconcileError(message, problem.hint, code=problem.code), is_one_line=len(several) > 1)


def show_sealed(
    console: Console, result: PlanResult, output: Format, out: str | None, what: str, loaded: Loaded
) -> int:
    """Write a plan to stdout, and say where it is sealed, if it is; return the exit code."""
    where = out if result.plan is None else f"the state as {result.plan}"
    sealed = f"{what} is sealed into {where} all the same"
    with console.reporting(sealed) if result.plan_id else nullcontext():
        show(console, result, output, shared=loaded.shared)
    if result.plan is not None:
        # Nothing else but JSON says it.
        console.info(f"Sealed into {where}. It can be applied once, for 24 hours.", always=output is not Format.JSON)
        console.info(
            f"Apply exactly this with: {console.program} apply {result.plan} {shlex.join(name_specs(loaded.specs))}"
        )
    elif result.plan_id:
        console.info(f"Sealed into {out}. Apply exactly this with: {console.program} apply {shlex.quote(str(out))}")
    return result.exit_code


def render_for(console: Console, result: Result, output: Format, *, shared: Collection[str] = ()) -> str:
    """Return a result as a document of a format, for the terminal there is."""
    targets = [segment.target for segment in result.segments] if isinstance(result, Plan | Run) else []
    # If the file is lost with the runner, no member can be removed any more.
    is_sqlite = any(DatabaseUrl.parse(target.spec.state.url.reveal()).dialect == "sqlite" for target in targets)
    options = Options(
        console.width,
        console.colors,
        is_terminal=sys.stdout.isatty(),
        verbose=console.verbose,
        shared_names=shared,
        sqlite_unattended=is_sqlite and not console.can_ask,
    )
    return render(result, output, options)


def name_specs(specs: Sequence[Spec]) -> list[str]:
    """Name a spec for a command that needs to know the state alone; the default one need not be named."""
    first = min(str(spec.path) for spec in specs)
    return [] if first == DEFAULT_SPEC else [first]


def name_history(specs: Sequence[Spec]) -> str:
    """Return the hint for a run that left a document which can't be shown: the command that shows it again."""
    first = min((str(spec.path) for spec in specs), default="SPEC")
    return f"what was done stands in the history: `reconcile history {quote(first)}`"


def choose_progress(console: Console) -> Progress:
    """Choose bars on a terminal, otherwise a line per segment; JSON lines on request, nothing with --quiet."""
    if console.quiet:
        return Progress()
    if console.log_format is LogFormat.JSON:
        return ProgressJson(sys.stderr, lambda: datetime.now(UTC))
    if sys.stderr.isatty():
        from reconciler.render.progress_bars import ProgressBars  # it loads Rich, which only a terminal needs

        stream = sys.stderr.drawing() if isinstance(sys.stderr, Stream) else sys.stderr
        return ProgressBars(cast(TextIO, stream))
    return ProgressLines(sys.stderr)
