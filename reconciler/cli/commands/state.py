"""`reconcile state`: looks at and mends the state database."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import flags
from reconciler.cli.console import names_its_spec

if TYPE_CHECKING:
    from reconciler.cli.console import Console
    from reconciler.models.spec import Spec

state = typer.Typer(
    help="Inspect and repair the state database.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The segment; `id:56` where no spec lists it any more.", show_default=False),
]


@state.command("show", short_help="what the state holds of one segment")
@names_its_spec
def show(
    spec: flags.OneSpec,
    name: Name,
    members: Annotated[bool, typer.Option("--members", help="Stream the stored ids, one a line.")] = False,
    output: flags.OutputFormat = flags.Format.TEXT,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Show what the state holds of one segment; with --members, every stored id: one a line, or as JSON."""
    from reconciler.cli.documents import show as show_document
    from reconciler.cli.documents import show_members
    from reconciler.errors import ExitCode
    from reconciler.state.history import open_records

    console = open_console(verbose, quiet, log_format)
    found, segment_id = find(spec, name)
    records = open_records(found.state)
    if members:
        workspace = found.destination.workspace
        show_members(console, workspace, segment_id, records.members(workspace, segment_id), output)
        return ExitCode.DONE
    record = records.segment(found.destination.workspace, segment_id)
    if record is None:
        raise unknown(found, segment_id)
    show_document(console, record, output)
    return ExitCode.DONE


@state.command("forget", short_help="drop all that the state knows of a segment")
@names_its_spec
def forget(
    spec: flags.OneSpec,
    name: Name,
    yes: flags.Yes = False,
    lock_timeout: flags.LockTimeout = 0.0,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Drop all that the state knows of one segment. Nobody is removed at Customer.io: its members stay for ever."""
    from reconciler.errors import ExitCode
    from reconciler.state.admin import forget as forget_segment

    console = open_console(verbose, quiet, log_format)
    found, segment_id = find(spec, name)
    workspace = found.destination.workspace
    question = f"Forget segment {segment_id} of workspace {workspace}? Its members stay at Customer.io."
    if console.asks and not yes and not console.ask(question):
        raise declined()
    if not forget_segment(found.state, workspace, segment_id, lock_timeout=lock_timeout):
        raise unknown(found, segment_id)
    console.report(
        f"Forgotten: segment {segment_id} of workspace {workspace}. Nobody was removed at Customer.io.",
        f"To manage it again, take it over first: reconcile refresh {shlex.quote(spec)}",
    )
    return ExitCode.DONE


@state.command("unlock", short_help="break the lock of a run that is surely dead")
@names_its_spec
def unlock(
    spec: flags.OneSpec,
    name: Name,
    yes: flags.Yes = False,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Break the lock on one segment. A run that died on this host needs no unlock: its lock is taken over at once."""
    from reconciler.errors import ExitCode
    from reconciler.state.admin import unlock as break_lock

    console = open_console(verbose, quiet, log_format)
    found, segment_id = find(spec, name)
    question = f"Break the lock on segment {segment_id}? Do so only if its run is surely dead."
    if console.asks and not yes and not console.ask(question):
        raise declined()
    holder = break_lock(found.state, found.destination.workspace, segment_id)
    console.report(f"Unlocked. It was held by {holder}." if holder else "Nobody held that lock.")
    return ExitCode.DONE


@state.command("upgrade", short_help="bring an older state up to this version")
@names_its_spec
def upgrade(
    spec: flags.OneSpec,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Bring the tables of an older state up to this version; a SQLite file is copied first."""
    from reconciler.errors import ExitCode
    from reconciler.state.admin import upgrade as upgrade_state

    console = open_console(verbose, quiet, log_format)
    copy = upgrade_state(load_one(spec).state)
    console.report(f"Upgraded. The state as it was: {copy}" if copy else "The state is up to date.")
    return ExitCode.DONE


@state.command("backup", short_help="copy the state into a new SQLite file")
@names_its_spec
def backup(
    spec: flags.OneSpec,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FILE", help="Where to; replaces nothing but an empty file."),
    ] = None,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Copy the state, as it is at one moment, into a new SQLite file that only you can read."""
    from datetime import UTC, datetime

    from reconciler.errors import ExitCode
    from reconciler.state.admin import backup as back_up
    from reconciler.state.admin import backup_output

    console = open_console(verbose, quiet, log_format)
    path = f"reconcile-state-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.db" if to is None else to
    back_up(load_one(spec).state, backup_output(path))
    console.report(f"Copied to {path}. To restore it: reconcile state restore {spec} {path}")
    return ExitCode.DONE


@state.command("restore", short_help="put a backup in the place of a SQLite state")
def restore(
    spec: flags.OneSpec,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `state backup` made.", show_default=False)],
    yes: flags.Yes = False,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Put a backup in the place of the state. What was sent after it was made is not in it: run `refresh` then."""
    from reconciler.errors import ExitCode, UsageError
    from reconciler.state import restore

    console = open_console(verbose, quiet, log_format)
    if not (yes or console.asks):
        raise UsageError("state restore asks first, and there is no terminal to ask on", "give --yes")
    settings = load_one(spec).state
    address = restore.find_place(settings, file)
    if not yes:
        there = restore.look(settings) or "none, or one that can't be read"
        if not console.ask(f"Replace the state {address} ({there}) with {file}?"):
            raise declined()
    restored = restore.restore(settings, file)
    if restored.aside is not None:
        console.warn(f"the old state could not be read; a copy of it is in {restored.aside}")
    console.report(
        f"Restored: {restored.contents}. It does not know what was sent after the backup was made, and plan files from "
        f"before are stale.\nNow read what is really there: reconcile refresh {spec}"
    )
    return ExitCode.DONE


@state.command("copy", short_help="move to another database, lineage and all")
@names_its_spec
def copy(
    spec: flags.OneSpec,
    to: Annotated[str, typer.Option("--to", metavar="URL", help="A SQLAlchemy URL: sqlite:/// or postgresql://.")],
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Copy the whole state into a database that holds none, for example from SQLite to a team's PostgreSQL."""
    from reconciler.errors import ExitCode
    from reconciler.spec import read_state_url
    from reconciler.state.admin import copy_to

    console = open_console(verbose, quiet, log_format)
    copy_to(load_one(spec).state, read_state_url(to, Path.cwd()))
    console.report(
        "Copied. Now set state.url in the spec to that URL. The old state is closed: every command on it says where it "
        "is now. Keep it until a plan shows no change."
    )
    return ExitCode.DONE


def open_console(verbose: bool, quiet: bool, log_format: flags.LogFormat) -> "Console":
    """The console of one of these commands."""
    from reconciler.cli.console import Console

    console = Console(verbose, quiet, log_format)
    console.set_up_logging()
    return console


def load_one(name: str) -> "Spec":
    """Load the one spec that was named. Raises UsageError."""
    from reconciler.errors import UsageError
    from reconciler.operations.load import load_specs

    found = load_specs([name])
    if len(found) > 1:
        raise UsageError(f"{name} is {len(found)} specs; this command works on one", "name one spec file")
    return found[0]


def find(spec_name: str, name: str) -> "tuple[Spec, int]":
    """Find a segment by its name in the spec, or by `id:56`. Raises UsageError."""
    from reconciler.errors import UsageError

    spec = load_one(spec_name)
    front, _, number = name.partition(":")
    if front == "id" and number.isascii() and number.isdigit():
        return spec, int(number)
    for segment in spec.segments:
        if name in (segment.name, f"{spec.destination.workspace}/{segment.name}"):
            return spec, segment.segment_id
    raise UsageError(
        f"{spec.path} has no segment {name!r}", "`reconcile status SPEC` lists them; `id:56` names one by its id"
    )


def unknown(spec: "Spec", segment_id: int) -> Exception:
    """The state has never met this segment."""
    from reconciler.errors import StateError

    workspace = spec.destination.workspace
    return StateError(
        f"the state knows no segment {segment_id} in workspace {workspace}; nothing was changed",
        "`reconcile status SPEC` shows which segments it knows",
    )


def declined() -> Exception:
    """Whoever was asked said no."""
    from reconciler.errors import ReconcileError

    return ReconcileError("not confirmed; nothing was changed", "answer yes, or give --yes", code="declined")
