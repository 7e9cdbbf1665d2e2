"""`reconcile state`: inspects and repairs the state database."""

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import quote as quote_url

import typer

from reconciler.cli import flags
from reconciler.cli.commands import SHARED_OPTIONS, declare, with_console
from reconciler.cli.commands.records import MemberId, read_id
from reconciler.cli.console import Console
from reconciler.cli.documents import show as show_document
from reconciler.errors import StateError, UsageError, not_confirmed
from reconciler.escaping import clean, clean_block, escape_data
from reconciler.files import refuse_url
from reconciler.models.fields import Secret
from reconciler.models.members import MembersAtSource
from reconciler.models.results import SegmentRecord
from reconciler.models.spec import MembersAt, Spec, Target
from reconciler.operations.load import load_segments
from reconciler.operations.members import move, open_each
from reconciler.operations.titles import read_number, recall
from reconciler.operations.trace import check_id
from reconciler.render import json_documents
from reconciler.render.sentences import count, join, list_numbers, name_segment, quote
from reconciler.spec import Needed, read_state_url
from reconciler.state import admin, open_records, open_snapshot, person
from reconciler.state import rename as renaming
from reconciler.state import restore as restoring
from reconciler.state.location import SqliteAddress, parse
from reconciler.state.moves import drop_at_source

MOST_NAMED = 10
"""How many segments a question names."""

state = typer.Typer(
    help="Inspect and repair the state database.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
state.callback()(declare(*SHARED_OPTIONS))

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The segment's name; `id:56` for one that no spec lists any more.", show_default=False
    ),
]


@state.command("show", short_help="show what the state holds of one segment")
@with_console
def show(
    console: Console,
    spec: flags.OneSpec,
    name: Name,
    members: Annotated[bool, typer.Option("--members", help="Stream the stored ids, one per line.")] = False,
    output: flags.OutputFormat = flags.Format.TEXT,
) -> None:
    """Show what the state holds of one segment; with --members every stored id, one per line or as JSON."""
    found, segment_id = find_segment(spec, name)
    workspace, records = found.destination.workspace, open_records(found.state)
    if members:
        with members_at_source(spec, found, segment_id) as source:
            stored = records.members(workspace, segment_id, source)
            show_members(console, workspace, segment_id, stored, output)
        return
    record = records.segment(workspace, segment_id)
    if record is None:
        raise unknown_segment(found, segment_id)
    show_document(console, record, output)


@contextmanager
def members_at_source(name: str, spec: Spec, segment_id: int) -> Iterator[MembersAtSource | None]:
    """Open the tables of a segment's members, if they stand at a source; None: they are in the state."""
    if not open_snapshot(spec.state).head(spec.destination.workspace, segment_id).at_source:
        yield None
        return
    (whole,) = load_segments([name]).specs
    with open_each(lambda: whole) as find_source:
        yield find_source(segment_id)


def show_members(
    console: Console, workspace: str, segment_id: int, stored: Iterator[list[str]], output: flags.Format
) -> None:
    match output:
        case flags.Format.JSON:
            pieces = json_documents.members(workspace, segment_id, stored)
        case flags.Format.TEXT:
            pieces = (escape_data("".join(f"{member}\n" for member in ids)) for ids in stored)
        case flags.Format.MARKDOWN | flags.Format.HTML:
            raise UsageError(f"ids are not written as {output}", "give --format text or json")
    console.stream(pieces, is_data=True)


@state.command("forget", short_help="delete all that the state knows of a segment")
@with_console
def forget(
    console: Console, spec: flags.OneSpec, name: Name, yes: flags.Yes = False, lock_timeout: flags.LockTimeout = 0.0
) -> None:
    """Delete all that the state knows of one segment. Nobody is removed at Customer.io: its members stay for ever.

    It asks on a terminal; elsewhere it needs --yes.
    """
    console.require_consent("state forget", yes)
    found, segment_id = find_segment(spec, name)
    workspace = found.destination.workspace
    record = open_records(found.state.model_copy(update={"must_exist": True})).segment(workspace, segment_id)
    if record is None:
        forget_note(console, found, segment_id, yes, lock_timeout)
        return
    confirm(console, f"Forget {describe(record)}? They stay at Customer.io, and no later run removes them.", yes)
    with members_at_source(spec, found, segment_id) as source:

        def drop(key: str) -> None:
            if source is not None:
                drop_at_source(source, key, console.warning)

        if not admin.forget(found.state, workspace, segment_id, lock_timeout=lock_timeout, drop=drop):
            raise unknown_segment(found, segment_id)
    refresh = f"{console.program} refresh {shlex.quote(spec)} --select {quote(record.name)}"
    console.report(
        f"Forgotten: {describe(record)}. Nobody was removed at Customer.io.",
        f"To manage it again, take it over first: {refresh}",
    )


def forget_note(console: Console, spec: Spec, segment_id: int, yes: bool, lock_timeout: float) -> None:
    """Forget that a segment was created, where the state knows no more of it than that. Raises StateError."""
    workspace = spec.destination.workspace
    note = next((each for each in open_snapshot(spec.state).listings(workspace) if each.segment_id == segment_id), None)
    if note is None:
        raise unknown_segment(spec, segment_id)
    made = f'{workspace}: segment {segment_id}, "{clean(note.title or "")}", was created, and nobody was sent to it'
    confirm(console, f"{made}. Forget it? With `create: true` the next apply makes another one of that title.", yes)
    if not admin.forget(spec.state, workspace, segment_id, lock_timeout=lock_timeout):
        raise unknown_segment(spec, segment_id)
    console.report(f"Forgotten: segment {segment_id} of {workspace}.", "Nothing was changed at Customer.io.")


@state.command("unlock", short_help="break the lock of a run that is dead for certain")
@with_console
def unlock(
    console: Console,
    spec: flags.OneSpec,
    name: Name,
    yes: flags.Yes = False,
    force: Annotated[
        bool, typer.Option("--force", help="Break also the lock of a run that is or may be alive.")
    ] = False,
) -> None:
    """Break the lock on one segment. A run that died on this host needs no unlock: its lock is taken over at once.

    It refuses while the run that holds the lock is alive, or its lease has not ended. It asks on a terminal; elsewhere
    it needs --yes.
    """
    console.require_consent("state unlock", yes)
    found, segment_id = find_segment(spec, name)
    workspace = found.destination.workspace
    lock = admin.find_lock(found.state, workspace, segment_id)
    record = open_records(found.state).segment(workspace, segment_id)
    known = describe(record) if record else f"{workspace}/{name.removeprefix(f'{workspace}/')} (nothing stored yet)"
    if lock is None:
        console.report(f"Nobody holds the lock on {known}.")
        return
    if lock.life and not force:
        raise StateError(
            f"{known} stays locked: {lock.life}: {lock.holder}",
            "wait until it ends (a run with `--lock-timeout SECONDS` does); if it is dead for certain, or "
            "is to stop, give `--force`",
            code="holder_alive",
        )
    held = f"; {lock.life}, and starts no further request then" if lock.life else ""
    confirm(console, f"Break the lock on {known}? It is held by {lock.holder}{held}.", yes)
    holder = admin.unlock(found.state, workspace, segment_id, found=lock)
    console.report(f"Unlocked {known}. It was held by {holder or lock.holder}.")


@state.command("upgrade", short_help="upgrade an older state to this version")
@with_console
def upgrade(console: Console, spec: flags.OneSpec) -> None:
    """Upgrade the tables of an older state to this version; a SQLite file is copied first."""
    copy = admin.upgrade(load_one(spec).state)
    console.report(f"Upgraded. The state as it was: {copy}" if copy else "The state is up to date.")


@state.command("backup", short_help="copy the state to a new SQLite file")
@with_console
def backup(
    console: Console,
    spec: flags.OneSpec,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="File to write; only an empty file is replaced. Left out: next to a SQLite state."
        ),
    ] = None,
) -> None:
    """Copy the state, as of one moment, to a new SQLite file that only you can read."""
    settings = load_one(spec).state
    path = admin.name_backup(settings, datetime.now(UTC)) if to is None else to
    admin.backup(settings, path)
    shown = os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
    copied = f"Copied to {shown}. It holds the ids of all members. To put it back"
    if isinstance(parse(settings.url), SqliteAddress):
        lines = [f"{copied}:", f"  {console.program} state restore {shlex.quote(spec)} {shlex.quote(shown)}"]
    else:
        url = f"sqlite:///{quote_url(os.path.realpath(path), errors='surrogateescape')}"
        copy = f"  {console.program} state copy {shlex.quote(spec)} --to URL"
        lines = [f"{copied} into an empty database, set `state.url` to {url} for this command:", copy]
    console.report(*lines)


@state.command("restore", short_help="replace a SQLite state by a backup")
@with_console
def restore(
    console: Console,
    spec: flags.OneSpec,
    named: Annotated[str, typer.Argument(metavar="FILE", help="A file of `state backup`.", show_default=False)],
    yes: flags.Yes = False,
) -> None:
    """Replace the state by a backup. It does not contain what was sent after it was made: run `refresh` then.

    It asks on a terminal; elsewhere it needs --yes.
    """
    refuse_url(named, "FILE")
    file = Path(named)
    console.require_consent("state restore", yes)
    settings = load_one(spec).state
    address = restoring.find_target(settings, file)
    if not yes:
        there = [f"The state {address} holds:", *list_contents(address)]
        if backup := restoring.list_segments(SqliteAddress(file)):
            members = count(sum(each.members for each in backup), "member")
            there.append(f"The backup {file} holds {count(len(backup), 'segment')}, {members}.")
        question = f"Replace it with {file}? What was sent after that backup was made is not known any more then."
        confirm(console, question, yes, clean_block(there))
    restored = restoring.restore(settings, file)
    if restored.aside is not None:
        console.warning(f"the old state could not be read; a copy of it is in {restored.aside}")
    console.report(
        f"Restored: {restored.contents}. It does not know what was sent after the backup was made, and plan files from "
        "before are stale. Before the next apply, read what is really there:",
        f"  {console.program} refresh {shlex.quote(spec)}",
    )


@state.command("copy", short_help="copy the state, or move its members to the source and back")
@with_console
def copy(
    console: Console,
    spec: flags.OneSpec,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A SQLAlchemy URL: sqlite:/// (relative to the working folder) or postgresql://.",
        ),
    ] = None,
    members: Annotated[
        MembersAt | None,
        typer.Option("--members", help="Move the members of the spec's segments to their source, or into the state."),
    ] = None,
    lock_timeout: flags.LockTimeout = 0.0,
) -> None:
    """Copy the whole state to a database that holds none, for example from SQLite to a team's PostgreSQL.

    With --members instead, move the members of the spec's segments; nothing is sent to Customer.io.
    """
    if (to is None) == (members is None):
        raise UsageError("it is not clear what is to be copied where", "give either `--to URL` or `--members`")
    if members is not None:
        move_members(console, spec, members, lock_timeout)
        return
    assert to is not None
    place = read_state_url(to, Path.cwd())
    admin.copy_to(load_one(spec).state, place)
    is_file = isinstance(parse(place), SqliteAddress)
    console.report(
        f"Copied. Now set `state.url` in the spec to {'this URL:' if is_file else 'the URL that you gave to `--to`.'}",
        *([f"  {write_for_spec(place)}"] if is_file else []),
        "The old state is closed: every command on it says where it is now. Keep it until a plan shows no change.",
    )


def write_for_spec(url: Secret) -> str:
    """Write the URL of a SQLite file so that it is one plain value in a spec, a variable or a shell: odd signs as %XX.

    It must be absolute: a relative file is relative to the spec there.
    """
    return re.sub(r"[^\w/:.,+=@~%?&-]", lambda sign: quote_url(sign[0], errors="surrogateescape"), url.reveal())


def move_members(console: Console, name: str, to: MembersAt, lock_timeout: float) -> None:
    place = "at the source" if to is MembersAt.SOURCE else "in the state"
    for each in move(load_segments([name]), to, warn=console.warning, lock_timeout=lock_timeout):
        if each.moved is not None:
            console.report(f"Moved: {each.target.label}, {count(each.moved, 'member')}.")
    console.report(
        f"All members of this spec that the state knows are {place} now. Nothing was sent. Set `members: {to}` under "
        "`state` in the spec."
    )


@state.command("erase", short_help="take one person out of all that is kept of the past")
@with_console
def erase(console: Console, spec: flags.OneSpec, id: MemberId, yes: flags.Yes = False) -> None:
    """Take one id out of all that the state keeps of the past: audit log, tombstones, marks; in every workspace.

    A stored plan that has it is dropped as a whole; with `members: source` its rows there are deleted, too.
    It refuses while the id is in a segment, or was removed less than an hour ago. Nobody is removed at Customer.io;
    backups and plan files stay as they are. It asks on a terminal; elsewhere it needs --yes.
    """
    console.require_consent("state erase", yes)
    member = read_id(id, spec)
    check_id(member)
    settings = load_one(spec).state
    address = parse(settings.url)
    with open_each(lambda: load_segments([spec]).specs[0]) as find_source:
        if not yes:
            kept = person.find_kept(settings, member, find_source)
            if kept != person.Kept(0, 0, 0):
                confirm(console, f"Erase what the state {address} keeps of this id: {describe_kept(kept)}?", yes)
        erased = person.erase(settings, member, find_source=find_source)
    if erased != person.Kept(0, 0, 0):
        console.report(f"Erased: {describe_kept(erased)}. The state keeps nothing of this id any more.")
    else:
        console.report("The state keeps nothing of this id. Was it the right one? An id is compared as it is written.")
    copies = [os.path.relpath(each) for each in admin.list_copies(address)]
    found = f" (here: {', '.join(copies)})" if copies else ""
    rows = (
        ""
        if isinstance(address, SqliteAddress)
        else "deleted rows that PostgreSQL has not vacuumed, its archived WAL, "
    )
    console.report(
        f"What can still hold it: {rows}backups and copies of the state{found}, plan files, lists of ids, the "
        "warehouse and Customer.io. docs/personal-data.md tells how to go through them."
    )


def describe_kept(kept: person.Kept) -> str:
    """`3 changes in the audit log, tombstones or marks in 1 segment and 1 stored plan, whole`."""
    changes = [f"{count(kept.changes, 'change')} in the audit log"] if kept.changes else []
    marks = [f"tombstones or marks in {count(kept.marks, 'segment')}"] if kept.marks else []
    stored = [f"{count(kept.plans, 'stored plan')}, whole"] if kept.plans else []
    there = [f"old rows at the source of {count(kept.at_source, 'segment')}"] if kept.at_source else []
    return join([*changes, *marks, *stored, *there])


@state.command("rename", short_help="give a workspace another name")
@with_console
def rename(
    console: Console,
    spec: flags.OneSpec,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The workspace's name in the state.", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name to give it.", show_default=False)],
    lock_timeout: flags.LockTimeout = 0.0,
) -> None:
    """Rename a workspace in the state of SPEC. Two names of one workspace become one. Nothing is sent."""
    segments = renaming.rename(load_one(spec).state, old, new, lock_timeout=lock_timeout)
    console.report(
        f"Renamed: workspace {old} is {new} now, with {segments} segment{'' if segments == 1 else 's'}.",
        f"Set `workspace: {new}` in every spec that says {old}. Plan files made under {old} are stale.",
    )


def load_one(name: str) -> Spec:
    """Load the one spec of this name. Raises UsageError, SpecError."""
    found = load_segments([name], needed=Needed.STATE).specs
    if len(found) > 1:
        raise UsageError(f"{name} is {len(found)} specs; this command works on one", "name one spec file")
    return found[0]


def find_segment(spec_name: str, name: str) -> tuple[Spec, int]:
    """Find the id of a segment by its name in the spec, or by `id:56`. Raises UsageError, SpecError."""
    spec = load_one(spec_name)
    if (number := read_number(name)) is not None:
        return spec, number
    for segment in spec.segments:
        if name in (segment.name, f"{spec.destination.workspace}/{segment.name}"):
            target = Target(spec, segment)
            if segment.segment is not None:
                target = recall(target, open_snapshot(spec.state).listings(target.workspace))
            return spec, target.segment_id
    raise UsageError(
        f"{spec.path} has no segment {name!r}", "`reconcile status SPEC` lists them; `id:56` names one by its id"
    )


def unknown_segment(spec: Spec, segment_id: int) -> StateError:
    """Return the error for a segment that the state does not know."""
    called = f"segment {segment_id}" if segment_id >= 0 else "segment of this title"
    return StateError(
        f"the state knows no {called} in workspace {spec.destination.workspace}; nothing was changed",
        "`reconcile status SPEC` shows which segments it knows",
    )


def describe(record: SegmentRecord) -> str:
    """Name a segment of the state for a question about it."""
    label = f"{record.workspace}/{record.name}"
    more = list_numbers((record.unsettled, "unsettled"), (record.unmatched, "unmatched"))
    return name_segment(label, record.segment_id, record.title, record.members, *more)


def list_contents(address: SqliteAddress) -> list[str]:
    """Name the segments of the state that a restore would replace, the first ten of them, each on a line."""
    there = restoring.list_segments(address)
    if not there:
        return ["  nothing" if there is not None else "  nothing that this version can read"]
    left = len(there) - MOST_NAMED
    return [*(f"  {describe(each)}" for each in there[:MOST_NAMED]), *([f"  and {left:,} more"] if left > 0 else [])]


def confirm(console: Console, question: str, yes: bool, document: str = "") -> None:
    """Ask, after the document that the question is about, unless --yes was given. Raises ReconcileError for a no."""
    if not yes and not console.ask(question, document=document):
        raise not_confirmed("nothing was changed")
