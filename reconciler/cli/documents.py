"""Results to renderers: picks how a document is written and writes it to stdout."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.cli.console import Console
from reconciler.cli.flags import Format
from reconciler.core.drift import Drift
from reconciler.core.plan import Plan
from reconciler.core.report import History, Refresh, Status
from reconciler.core.run import Run
from reconciler.core.spec import Target

if TYPE_CHECKING:
    from reconciler.state.records import RunRecord, SegmentRecord


def show_plan(
    console: Console, plan: Plan, output: Format, *, plan_id: str | None = None, shared: Collection[str] = ()
) -> None:
    """Show a plan. `plan_id`: that of its plan file; `shared`: names of segments that several named specs have."""
    console.show(write_plan(console, plan, output, plan_id=plan_id, shared=shared))


def write_plan(
    console: Console, plan: Plan, output: Format, *, plan_id: str | None = None, shared: Collection[str] = ()
) -> str:
    """Write a plan in the format asked for."""
    from reconciler.render import json, markdown, text

    if output is Format.JSON:
        return json.plan(plan, __version__, plan_id=plan_id)
    unattended = is_unattended([segment.target for segment in plan.segments], console)
    if output is Format.MARKDOWN:
        return markdown.plan(plan, shared_names=shared, sqlite_unattended=unattended)
    return text.plan(
        plan,
        width=console.width,
        color=console.colors,
        verbose=console.verbose,
        shared_names=shared,
        sqlite_unattended=unattended,
    )


def show_run(console: Console, run: Run, output: Format, *, shared: Collection[str] = ()) -> None:
    """Show a run. `shared`: names of segments that several of the named specs have."""
    from reconciler.render import json, markdown, text

    unattended = is_unattended([segment.plan.target for segment in run.segments], console)

    if output is Format.JSON:
        console.show(json.run(run, __version__))
    elif output is Format.MARKDOWN:
        console.show(markdown.run(run, shared_names=shared, sqlite_unattended=unattended))
    else:
        console.show(
            text.run(
                run,
                width=console.width,
                color=console.colors,
                verbose=console.verbose,
                shared_names=shared,
                sqlite_unattended=unattended,
            )
        )


def show_drift(console: Console, drift: Drift, output: Format) -> None:
    """Show a drift report."""
    from reconciler.render import json, markdown, text

    if output is Format.JSON:
        console.show(json.drift(drift, __version__))
    elif output is Format.MARKDOWN:
        console.show(markdown.drift(drift))
    else:
        console.show(text.drift(drift, width=console.width, color=console.colors, verbose=console.verbose))


def show_refresh(console: Console, refresh: Refresh, output: Format) -> None:
    """Show what a refresh did."""
    from reconciler.render import json, markdown, text

    if output is Format.JSON:
        console.show(json.refresh(refresh, __version__))
    elif output is Format.MARKDOWN:
        console.show(markdown.refresh(refresh))
    else:
        console.show(text.refresh(refresh, width=console.width, color=console.colors, verbose=console.verbose))


def show_status(console: Console, status: Status, output: Format) -> None:
    """Show what the state holds."""
    from reconciler.render import json, markdown, text

    if output is Format.JSON:
        console.show(json.status(status, __version__))
    elif output is Format.MARKDOWN:
        console.show(markdown.status(status))
    else:
        console.show(text.status(status, width=console.width, color=console.colors))


def show_history(console: Console, history: History, output: Format) -> None:
    """Show past runs."""
    from reconciler.render import json, markdown, text

    if output is Format.JSON:
        console.show(json.history(history, __version__))
    elif output is Format.MARKDOWN:
        console.show(markdown.history(history))
    else:
        console.show(text.history(history, width=console.width, color=console.colors))


def show_past_run(console: Console, record: "RunRecord", output: Format) -> None:
    """Show one past run whole: the document that it left, with what the history knows beside it."""
    import json as plain_json

    from reconciler.render import json, markdown, text

    row = record.row
    around = {
        "command": row.command,
        "started_at": json.write_time(row.started_at),
        "ended_at": json.write_time(row.ended_at),
        "exit_code": row.exit_code,
        "allowed": list(record.allowed),
        "plan_id": record.plan_id,
    }
    left = plain_json.loads(record.document) if record.document else {"run_id": row.run_id, "workspace": row.workspace}
    if output is Format.JSON:
        console.show(json.past_run(left | around))
        return
    if output is Format.MARKDOWN:
        console.show(markdown.past_run(left | around))
        return
    console.show(text.past_run(left | around, width=console.width, color=console.colors))


def show_record(console: Console, record: "SegmentRecord", output: Format) -> None:
    """Show what the state holds of one segment."""
    from dataclasses import asdict
    from datetime import datetime

    from reconciler.render import json, text

    fields = {
        key: json.write_time(value) if isinstance(value, datetime) else value
        for key, value in asdict(record).items()
        if key != "last_run"
    }
    fields["last_run"] = record.last_run.run_id if record.last_run else None
    if output is Format.JSON:
        console.show(json.dump(fields))
        return
    console.show(text.past_run(fields, width=console.width, color=console.colors))


def is_unattended(targets: list[Target], console: Console) -> bool:
    """A SQLite state where nobody watches: if the file is lost with the runner, nobody can be removed any more."""
    return not console.asks and any(target.spec.state.url.reveal().startswith("sqlite") for target in targets)
