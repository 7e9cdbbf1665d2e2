"""Results to renderers: picks how a document is written and writes it to stdout."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, assert_never

from reconciler.cli.console import Console
from reconciler.cli.flags import Format
from reconciler.errors import ReconcileError
from reconciler.models.drift import Drift
from reconciler.models.plan import Plan, Problem
from reconciler.models.results import History, Refresh, RunRecord, SegmentRecord, Status
from reconciler.models.run import Run
from reconciler.models.spec import Target


def show_plan(console: Console, plan: Plan, output: Format, *, shared: Collection[str] = ()) -> None:
    """Show a plan. `shared`: names of segments that several named specs have."""
    document = write_plan(console, plan, output, shared=shared)
    console.show(document, is_data=output is Format.JSON)
    _tell(console, output, plan.warnings, [(segment.target, segment.error) for segment in plan.segments])


def write_plan(console: Console, plan: Plan, output: Format, *, shared: Collection[str] = ()) -> str:
    """Write a plan in the format asked for."""
    from reconciler.render import json, markdown, text

    unattended = is_unattended([segment.target for segment in plan.segments], console)
    more: dict[str, Any] = {"shared_names": shared, "sqlite_unattended": unattended}
    return _write(
        output,
        lambda: json.dump(json.document(plan)),
        lambda: markdown.plan(plan, **more),
        lambda: text.plan(plan, console.width, console.colors, verbose=console.verbose, **more),
    )


def show_run(console: Console, run: Run, output: Format, *, shared: Collection[str] = ()) -> None:
    """Show a run. `shared`: names of segments that several of the named specs have."""
    from reconciler.render import json, markdown, text

    unattended = is_unattended([segment.plan.target for segment in run.segments], console)
    more: dict[str, Any] = {"shared_names": shared, "sqlite_unattended": unattended}
    document = _write(
        output,
        lambda: json.dump(json.document(run)),
        lambda: markdown.run(run, **more),
        lambda: text.run(run, console.width, console.colors, verbose=console.verbose, **more),
    )
    console.show(document, is_data=output is Format.JSON)
    _tell(console, output, run.warnings, [(segment.plan.target, segment.error) for segment in run.segments])


def show_drift(console: Console, drift: Drift, output: Format) -> None:
    """Show a drift report."""
    from reconciler.render import json, markdown, text

    document = _write(
        output,
        lambda: json.dump(json.document(drift)),
        lambda: markdown.drift(drift),
        lambda: text.drift(drift, console.width, console.colors, verbose=console.verbose),
    )
    console.show(document, is_data=output is Format.JSON)
    _tell(console, output, drift.warnings, [(segment.target, segment.error) for segment in drift.segments])


def show_refresh(console: Console, refresh: Refresh, output: Format) -> None:
    """Show what a refresh did."""
    from reconciler.render import json, markdown, text

    document = _write(
        output,
        lambda: json.dump(json.document(refresh)),
        lambda: markdown.refresh(refresh),
        lambda: text.refresh(refresh, console.width, console.colors, verbose=console.verbose),
    )
    console.show(document, is_data=output is Format.JSON)
    _tell(console, output, refresh.warnings, [(row.target, row.error) for row in refresh.segments])


def show_status(console: Console, status: Status, output: Format) -> None:
    """Show what the state holds."""
    from reconciler.render import json, markdown, text

    document = _write(
        output,
        lambda: json.dump(json.document(status)),
        lambda: markdown.status(status),
        lambda: text.status(status, console.width, console.colors),
    )
    console.show(document, is_data=output is Format.JSON)


def show_history(console: Console, history: History, output: Format) -> None:
    """Show past runs."""
    from reconciler.render import json, markdown, text

    document = _write(
        output,
        lambda: json.dump(json.document(history)),
        lambda: markdown.history(history),
        lambda: text.history(history, console.width, console.colors),
    )
    console.show(document, is_data=output is Format.JSON)


def show_record(console: Console, record: RunRecord | SegmentRecord, output: Format) -> None:
    """Show one past run whole (the document that it left, with what the history knows), or one segment of the state."""
    from reconciler.render import json, markdown, text

    fields = json.document(record)
    document = _write(
        output,
        lambda: json.dump(fields),
        lambda: markdown.past_run(fields),
        lambda: text.past_run(fields, console.width, console.colors),
    )
    console.show(document, is_data=output is Format.JSON)


def show_members(
    console: Console, workspace: str, segment_id: int, members: Iterable[list[str]], output: Format
) -> None:
    """Stream the stored ids of a segment: one a line, or as one JSON document. Raises UsageError for Markdown."""
    from reconciler.errors import UsageError
    from reconciler.render import json
    from reconciler.render.escaping import escape_data

    match output:
        case Format.TEXT:
            pieces: Iterable[str] = (escape_data("".join(f"{member}\n" for member in ids)) for ids in members)
        case Format.JSON:
            pieces = json.members(workspace, segment_id, members)
        case Format.MARKDOWN:
            raise UsageError("ids are not written as Markdown", "give --format text or json")
        case _:
            assert_never(output)
    console.stream(pieces, is_data=True)


def find_document(targets: Sequence[Target]) -> str:
    """Say where the document of a run stands, for whoever does not get to see it."""
    from reconciler.render.sentences import quote

    specs = sorted({str(target.spec.path) for target in targets})
    return f"what was done stands in the history: `reconcile history {quote(specs[0])}`"


def _tell(
    console: Console, output: Format, warnings: Iterable[str], problems: Iterable[tuple[Target, Problem | None]]
) -> None:
    """Say warnings and errors on stderr; not again to somebody who has just read them in the text."""
    if output is Format.TEXT and console.is_read:
        return
    for warning in warnings:
        console.warn(warning)
    for target, problem in problems:
        if problem is not None:
            console.complain(ReconcileError(f"{target.label}: {problem.message}", problem.hint, code=problem.code))


def _write(output: Format, json: Callable[[], str], markdown: Callable[[], str], text: Callable[[], str]) -> str:
    """Write a document in the format asked for."""
    match output:
        case Format.JSON:
            return json()
        case Format.MARKDOWN:
            return markdown()
        case Format.TEXT:
            return text()
        case _:
            assert_never(output)


def is_unattended(targets: list[Target], console: Console) -> bool:
    """A SQLite state where nobody watches: if the file is lost with the runner, nobody can be removed any more."""
    return not console.asks and any(target.spec.state.url.reveal().startswith("sqlite") for target in targets)
