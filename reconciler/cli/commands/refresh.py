"""`reconcile refresh`: the snapshot becomes what is really there."""

import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import flags

if TYPE_CHECKING:
    from reconciler.cli.console import Console
    from reconciler.cli.wiring import Wiring
    from reconciler.models.results import Refresh, RefreshRow
    from reconciler.models.spec import Target
    from reconciler.operations.drift import Takeover


def refresh(
    specs: flags.Specs,
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: flags.OutputFormat = flags.Format.TEXT,
    adopt: Annotated[
        flags.Adopt,
        typer.Option("--adopt", help="all: take over everybody who is there; known: leave strangers alone."),
    ] = flags.Adopt.ALL,
    yes: flags.Yes = False,
    lock_timeout: flags.LockTimeout = 0.0,
    memory_limit: flags.MemoryLimit = flags.DEFAULT_MEMORY_LIMIT,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Make the snapshot equal to the real membership: for an existing segment, or after a lost state.

    Nobody is added or removed at Customer.io. It says how many people the state did not know: the next plan removes
    those of them whom the query does not return. It asks on a terminal; elsewhere it needs --yes.
    """
    from datetime import UTC, datetime

    from reconciler.cli.console import Console
    from reconciler.cli.documents import name_history, show
    from reconciler.cli.signals import cut_short
    from reconciler.cli.wiring import wired
    from reconciler.models.exit_codes import exit_code_of_refresh
    from reconciler.models.results import Refresh
    from reconciler.operations.load import load, require_app_keys

    console = Console(verbose, quiet, log_format)
    console.set_up_logging()
    loaded = load(specs, select, exclude)
    require_app_keys(loaded.targets, "refresh")
    run_id, created_at = uuid.uuid4().hex, datetime.now(UTC)
    if not (yes or console.asks):
        raise refuse_unasked()
    asks = not yes
    with (
        wired(console, loaded.targets, memory_limit=memory_limit, lock_timeout=lock_timeout) as wiring,
        cut_short(wiring),
    ):
        begun: set[object] = set()
        rows = tuple(refresh_one(console, wiring, target, run_id, adopt, asks, begun) for target in loaded.targets)
        done = Refresh(run_id, created_at, rows, tuple(wiring.warnings))
        record(wiring, done)
    with console.after_the_work(name_history(loaded.targets)):
        show(console, done, output)
    return exit_code_of_refresh(done)


def refresh_one(
    console: "Console",
    wiring: "Wiring",
    target: "Target",
    run_id: str,
    adopt: flags.Adopt,
    asks: bool,
    begun: set[object],
) -> "RefreshRow":
    """Look, say what would change, ask, take over. `begun` has the histories that know of this run."""
    from reconciler.errors import LockHeld, ReconcileError, unexpected
    from reconciler.models.results import RefreshStatus
    from reconciler.operations.apply import bind
    from reconciler.operations.drift import Takeover, fail_refresh

    def wait(seconds: float) -> bool:
        console.note(f"{target.label}: waiting {seconds:.0f} s: an earlier request may still arrive")
        return wiring.stop.wait(seconds)

    try:
        with ExitStack() as stack:
            ledger = wiring.ledger(target)
            if (place := (id(ledger), target.workspace)) not in begun:
                ledger.begin(run_id, target.workspace, "refresh", [f"--adopt {adopt}"], None)
                begun.add(place)
            held = stack.enter_context(ledger.lock(target, run_id, None))
            comparison = stack.enter_context(wiring.sets().open(target))
            takeover = Takeover(target, held, comparison, wiring.app(target))
            environment_id = check_environment(wiring, target)
            takeover.look(wiring.warn, wait)
            announce(console, takeover, adopt)
            question = f"Take over what is there into the state of {target.label}?"
            if asks and not console.ask(question, wiring.stop):
                raise ReconcileError("not confirmed; the state is as it was", "answer yes, or give --yes")
            if environment_id is not None:
                bind(target, ledger, environment_id)
            return takeover.take(adopt is flags.Adopt.KNOWN)
    except LockHeld as error:
        return fail_refresh(target, error, RefreshStatus.LOCKED)
    except ReconcileError as error:
        return fail_refresh(target, error)
    except Exception as error:  # one segment's failure never stops the others
        console.trace(error)
        return fail_refresh(target, unexpected(error))


def refuse_unasked() -> Exception:
    """No guard holds a refresh back, so somebody must have said yes to it."""
    from reconciler.errors import UsageError

    return UsageError("refresh asks before it changes the state, and there is no terminal to ask on", "give --yes")


def record(wiring: "Wiring", done: "Refresh") -> None:
    """Close the entry in the history of each state; a state that can't take it has failed its segments already."""
    from contextlib import suppress

    from reconciler.errors import ReconcileError
    from reconciler.models.exit_codes import exit_code_of_refresh
    from reconciler.models.run import Run
    from reconciler.render import json

    code, document = exit_code_of_refresh(done), json.dump(json.document(done))
    for target in {(row.target.spec.state, row.target.workspace): row.target for row in done.segments}.values():
        with suppress(ReconcileError):
            nothing_sent = Run(done.run_id, done.created_at, ())
            wiring.ledger(target).end(done.run_id, target.workspace, code, document, nothing_sent)


def announce(console: "Console", takeover: "Takeover", adopt: flags.Adopt) -> None:
    """Say what will change before it does."""
    counts = takeover.counts
    assert counts is not None
    strangers = counts.strangers
    fate = "left alone" if adopt is flags.Adopt.KNOWN else "taken over: the next plan removes those the query drops"
    said = [
        f"{counts.remote:,} members are there, the state has {counts.stored:,}",
        f"not there of the state's: {counts.missing:,}" if counts.missing else "",
        f"not known to the state, and {fate}: {strangers:,}" if strangers else "",
    ]
    console.note(f"{takeover.target.label}: {'; '.join(filter(None, said))}")


def check_environment(wiring: "Wiring", target: "Target") -> int | None:
    """Give the environment that the Track API reports for these keys. Raises DestinationError for another than the one
    that the workspace's name is bound to."""
    from reconciler.operations.plan import environment_mismatch

    found, bound = wiring.track(target).preflight(), wiring.ledger(target).environment(target.workspace)
    if found is not None and bound is not None and found != bound:
        raise environment_mismatch(target, bound, found)
    return found
