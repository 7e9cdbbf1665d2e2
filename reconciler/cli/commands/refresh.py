"""`reconcile refresh`: set the snapshot to the members at Customer.io."""

from typing import Annotated

import typer

import reconciler
from reconciler.cli import flags
from reconciler.cli.commands import with_console
from reconciler.cli.console import Console
from reconciler.cli.documents import name_history, show
from reconciler.cli.signals import cut_short
from reconciler.escaping import clean
from reconciler.models.comparison import DriftCounts
from reconciler.models.events import Event, Waiting
from reconciler.models.spec import Target
from reconciler.operations.load import load_segments, require_app_keys
from reconciler.operations.refresh import Adopt
from reconciler.render.progress import describe_wait
from reconciler.render.sentences import name_segment


@with_console
def refresh(
    console: Console,
    specs: flags.Specs,
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: flags.OutputFormat = flags.Format.TEXT,
    adopt: Annotated[
        Adopt,
        typer.Option(
            help="all: take over every member that is there; known: leave out those that the state does not know."
        ),
    ] = Adopt.ALL,
    yes: flags.Yes = False,
    lock_timeout: flags.LockTimeout = 0.0,
    memory_limit: flags.MemoryLimit = None,
    reason: flags.Reason = None,
) -> int:
    """Set the snapshot to the members at Customer.io: for an existing segment, or after a lost state.

    Nobody is added or removed at Customer.io. It shows how many members the state did not know: the next plan removes
    those that the query does not return. It asks on a terminal; elsewhere it needs --yes.
    """
    console.require_consent("refresh", yes)
    loaded = load_segments(specs, select or (), exclude or ())
    require_app_keys(loaded.targets, "refresh")

    def tell(event: Event) -> None:
        if isinstance(event, Waiting):
            console.info(f"{event.target.label}: waiting {describe_wait(event)}")

    with cut_short(console) as stop:

        def approve(target: Target, found: DriftCounts, title: str | None) -> bool:
            fate = "left alone"
            if adopt is Adopt.ALL and not target.segment.retired:
                fate = "taken over; of these, the next plan removes those that the query does not return"
            parts = [
                f"{target.label}: {found.remote:,} members are there, the state has {found.stored:,}",
                f"not there of the state's: {found.missing:,}" if found.missing else "",
                f"{found.strangers:,} that the state does not know are {fate}" if found.strangers else "",
            ]
            known = "; ".join(filter(None, parts))
            if yes:
                console.info(known)
                return True
            named = name_segment(target.label, target.segment_id, title, found.remote)
            return console.ask(f"Take over what is there into the state of {named}?", stop, document=clean(known))

        result = reconciler.refresh(
            loaded,
            adopt=adopt,
            lock_timeout=lock_timeout,
            memory_limit=memory_limit,
            reason=reason,
            approve=approve,
            stop=stop,
            progress=tell,
        )
    with console.reporting(name_history(loaded.specs)):
        show(console, result, output)
    return result.exit_code
