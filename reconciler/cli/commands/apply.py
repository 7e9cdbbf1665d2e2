"""`reconcile apply`: plan, ask, send, and show the result."""

from contextlib import closing
from typing import Annotated

import typer

import reconciler
from reconciler.cli import flags
from reconciler.cli.commands import with_console
from reconciler.cli.console import Console
from reconciler.cli.documents import choose_progress, name_history, render_for, show
from reconciler.cli.signals import stopping
from reconciler.models.comparison import DEFAULT_LOOKUP_TIMEOUT, DEFAULT_PARALLEL
from reconciler.models.plan import Plan


@with_console
def apply(
    console: Console,
    specs: Annotated[
        list[str],
        typer.Argument(
            metavar="SPEC|PLANFILE",
            help="Spec files, folders of specs, or glob patterns; or one plan file; or plan:ID, and a spec that says "
            "which state has it.",
            show_default=False,
        ),
    ],
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: flags.OutputFormat = flags.Format.TEXT,
    yes: flags.Yes = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Read the members back until they are as sent (needs app_api_key).")
    ] = False,
    confirm_timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Maximum time to read back.")] = 60.0,
    allow_removals: flags.AllowRemovals = None,
    allow_additions: flags.AllowAdditions = None,
    allow_empty: flags.AllowEmpty = None,
    show_ids: flags.ShowIds = 0,
    lock_timeout: flags.LockTimeout = 0.0,
    memory_limit: flags.MemoryLimit = None,
    parallel: flags.Parallel = DEFAULT_PARALLEL,
    lookup_timeout: flags.LookupTimeout = DEFAULT_LOOKUP_TIMEOUT,
    reason: flags.Reason = None,
) -> int:
    """Make the segments equal to their queries, or send exactly the changes of a plan file."""
    loaded = reconciler.load(specs, select=select or (), exclude=exclude or ())
    with closing(choose_progress(console)) as shown, stopping(console) as stop:

        def approve(plan: Plan) -> bool:
            shown.pause()
            document = render_for(console, plan, flags.Format.TEXT, shared=loaded.shared)
            workspaces = sorted({f"workspace {each.target.workspace}" for each in plan.segments if each.has_work})
            return console.ask(f"Send these changes to Customer.io ({', '.join(workspaces)})?", stop, document=document)

        result = reconciler.apply(
            loaded,
            confirm=confirm,
            confirm_timeout=confirm_timeout,
            allow_removals=allow_removals or (),
            allow_additions=allow_additions or (),
            allow_empty=allow_empty or (),
            show_ids=show_ids,
            lock_timeout=lock_timeout,
            memory_limit=memory_limit,
            parallel=parallel,
            lookup_timeout=lookup_timeout,
            reason=reason,
            approve=approve if console.can_ask and not yes else None,
            stop=stop,
            progress=shown.tell,
        )
    with console.reporting(name_history(loaded.specs)):
        show(console, result, output, shared=loaded.shared)
    return result.exit_code
