"""One person in the state: what it says of an id in each segment, and taking the id out of all that is kept.

What is taken out is what the state keeps of the past: changes in the audit log, tombstones, echoes, rejections. An id
that it holds is not: then nobody would remove it any more.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row

from reconciler.clock import Clock
from reconciler.errors import StateError
from reconciler.models.batches import Direction
from reconciler.models.history import AuditEvent, Reason
from reconciler.models.id_status import LATE_SECONDS, UNSETTLED, IdStatus, Mark, write_id_status
from reconciler.models.ids import IdType, fold
from reconciler.models.members import MembersAtSource
from reconciler.models.spec import StateSettings
from reconciler.state import audit, journal, open_database, open_reader, plans
from reconciler.state.admin import keep_others_out, refuse_live_locks
from reconciler.state.at_source import MembersWriter
from reconciler.state.database import Backend, Database, execute, run
from reconciler.state.location import SqliteAddress
from reconciler.state.lock import SegmentRef, break_locks, find_row, read_holder
from reconciler.state.runtime import THIS_MACHINE, Runtime
from reconciler.state.schema import refuse_moved, select_version
from reconciler.state.store import StateStore

_SEGMENTS = """
SELECT k.segment_key, k.workspace, k.segment_id, s.name, s.id_type, s.members_generation FROM reconcile_keys k
LEFT JOIN reconcile_segments s ON s.segment_key = k.segment_key ORDER BY k.workspace, k.segment_id, k.segment_key"""

_HELD = IdStatus.STORED | UNSETTLED | IdStatus.UNMATCHED

_IN_BATCH = "replace(:end || ids || :end, :line, '') <> :end || ids || :end"
"""Whether a row of the journal has an id, by the values of `_find_line`."""

_HAS_ROWS = f"""
SELECT EXISTS (SELECT 1 FROM reconcile_members WHERE segment_key = :key AND id = :id)
OR EXISTS (SELECT 1 FROM reconcile_marks WHERE segment_key = :key AND id = :id)
OR EXISTS (SELECT 1 FROM reconcile_batches WHERE segment_key = :key AND {_IN_BATCH})"""

_NOT_RECORDED = f"""
SELECT run_id, "at", direction, CASE WHEN NOT EXISTS (SELECT 1 FROM reconcile_marks m
    WHERE m.segment_key = b.segment_key AND m.id = :id AND m.mark = '{Mark.UNMATCHED}')
    THEN coalesce(reason, '{Reason.QUERY}')
WHEN direction = '{Direction.ADD}' THEN '{Reason.RESEND}' ELSE '{Reason.UNMATCHED}' END AS reason
FROM reconcile_batches b WHERE segment_key = :key AND outcome = 'acknowledged' AND {_IN_BATCH} ORDER BY seq"""
"""Acknowledged rows of the journal with an id, with the reason that the audit log will have."""

_NAMED = 10
"""How many segments an error names."""

_LAST_NAME = """
SELECT name FROM reconcile_run_segments WHERE workspace = :workspace AND segment_id = :segment_id
ORDER BY ended_at DESC LIMIT 1"""


@dataclass(frozen=True)
class Presence:
    """What the state says of one id in one segment: a status, or 0."""

    key: int
    workspace: str
    segment_id: int
    name: str | None
    """None: the state has no segment with this key any more; what is under it was left by a run that was cut short."""
    id_type: IdType | None
    status: IdStatus
    doubtful_at: float
    """When an attempt of unknown outcome was last made, Unix seconds; 0: never, as far as it is remembered."""
    is_elsewhere: bool = False
    """Its members stand at a source, which is not asked; the status is of what the state has itself, if it has it."""


@dataclass(frozen=True)
class Person:
    """All that the state says of one id in a workspace."""

    presences: tuple[Presence, ...]
    events: tuple[AuditEvent, ...]
    forgotten: dict[int, str]
    """The last names of segments that have events and nothing else, by their numbers."""


def read(settings: StateSettings, workspace: str, id: str) -> Person:
    """Read what the state says of an id, at one moment; nothing where there is no state. Raises StateError.

    The id is compared as the id type of each segment, and of each change, has it.
    """
    reader = open_reader(settings, Clock())
    with reader.read() as connection:
        if connection is None:
            return Person((), (), {})
        found = [each for each in find(reader, connection, id, workspace) if each.name is not None]
        events = audit.find(connection, workspace, id)
        for each in found:
            if each.status:  # what was acknowledged may be in the journal yet: a run goes on, or was killed
                form = fold(id, each.id_type or IdType.ID)
                rows = execute(connection, _NOT_RECORDED, {"key": each.key, "id": form, **_find_line(form)})
                events += [
                    AuditEvent(each.segment_id, row.run_id, row.at, Direction(row.direction), Reason(row.reason))
                    for row in rows.all()
                ]
        events.sort(key=lambda event: event.at)
        forgotten = {}
        for segment_id in {event.segment_id for event in events} - {each.segment_id for each in found}:
            values = {"workspace": workspace, "segment_id": segment_id}
            if (name := execute(connection, _LAST_NAME, values).scalar()) is not None:
                forgotten[segment_id] = name
        return Person(tuple(found), tuple(events), forgotten)


def find(
    backend: Backend, connection: Connection, id: str, workspace: str | None = None, since: float = 0.0
) -> Iterator[Presence]:
    """Find what the state says of an id in each segment of one workspace, or of all, and of removals since a time."""
    of_segment = "reconcile_marks WHERE segment_key = :key AND id = :id"
    statuses = write_id_status(
        # Most rows are left out as they are, and not taken apart.
        journal='SELECT piece.value AS id, b.seq, b.direction, b.outcome, b."at", b.unknown_at '
        f"FROM {backend.pieces} WHERE b.segment_key = :key AND {_IN_BATCH} AND piece.value = :id",
        marks=f'SELECT id, mark, direction, "at" FROM {of_segment}',
        since=since,
    )
    status = f"WITH {statuses} SELECT status, decided, add_at, remove_at FROM id_status"
    is_member = "SELECT EXISTS (SELECT 1 FROM reconcile_members WHERE segment_key = :key AND id = :id)"
    for row in execute(connection, _SEGMENTS).all():
        if workspace not in (None, row.workspace):
            continue
        id_type = None if row.id_type is None else IdType(row.id_type)
        form = id if id_type is None else fold(id, id_type)
        values = {"key": row.segment_key, "id": form, **_find_line(form)}
        said = execute(connection, status, values).one_or_none()
        found = IdStatus(0 if said is None else said.status)
        if (said is None or not said.decided) and execute(connection, is_member, values).scalar_one():
            found = IdStatus.STORED
        doubtful_at = 0.0 if said is None else max(said.add_at or 0.0, said.remove_at or 0.0)
        is_elsewhere = row.members_generation is not None and not found
        place = row.workspace, row.segment_id, row.name
        yield Presence(row.segment_key, *place, id_type, found, doubtful_at, is_elsewhere)


def _find_line(id: str) -> dict[str, str]:
    return {"end": journal.ID_END, "line": f"{journal.ID_END}{id}{journal.ID_END}"}


def list_forms(id: str, id_type: IdType | None = None) -> list[str]:
    """List how an id may be written in the state; without a type as it is, and as an email."""
    types = [IdType.ID, IdType.EMAIL] if id_type is None else [id_type]
    return list(dict.fromkeys(fold(id, each) for each in types))


FindSource = Callable[[int], MembersAtSource]
"""Gives the tables that have the members of a segment, by its number. Raises StateError, SourceError."""

# --- erasing -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """What the state keeps of one id: `changes` of the audit log, and `marks`, in `segments`; and stored `plans`."""

    changes: int
    marks: int
    segments: int
    plans: int = 0
    at_source: int = 0
    """Segments with rows of it in their tables at the source, which do not count."""


@dataclass(frozen=True)
class _There:
    """The segments that have their members at a source, once the id was taken out of their tables."""

    segments: list[Row[Any]]
    kept: list[Row[Any]]
    """Those with tables that take no DELETE, and still have old rows of it."""
    number: int
    """How many had rows of it."""


@dataclass(frozen=True)
class _Traces:
    """All rows with one id: of keys under which members stand, and of the audit log."""

    recent: float
    """Unix seconds: what was sent since then may still be on its way."""
    presences: list[Presence]
    """Where there are marks, rows of the journal, or members."""
    rows: list[tuple[str, str, int, list[int]]]
    """How the id is written, workspace, segment, and the keys of rows of the audit log."""
    plans: dict[str, set[tuple[str, int]]]
    """The stored plans that have it, with the segments of each."""

    def places(self) -> set[tuple[str, int]]:
        of_log = {(workspace, segment_id) for _, workspace, segment_id, _ in self.rows}
        return of_log | {(each.workspace, each.segment_id) for each in self.presences}

    def count(self) -> Kept:
        changes = sum(len(keys) for *_, keys in self.rows)
        return Kept(changes, len(self.presences), len(self.places()), len(self.plans))


def find_kept(settings: StateSettings, id: str, find_source: FindSource | None = None) -> Kept:
    """Find what `erase` would take out. Raises StateError where it would refuse to, but for locks and members."""
    reader = open_reader(settings.model_copy(update={"must_exist": True}), Clock())
    with reader.read() as connection:
        assert connection is not None
        traces = _find_traces(reader, connection, id)
        _refuse_held(traces)
        there = _list_there(connection)
    if there and find_source is None:
        raise _lacks_source()
    found = [
        each
        for each in there
        if find_source
        and find_source(each.segment_id).generations_of(each.members_key, list_forms(id, IdType(each.id_type)))
    ]
    return replace(traces.count(), at_source=len(found))


def erase(
    settings: StateSettings, id: str, *, find_source: FindSource | None = None, runtime: Runtime = THIS_MACHINE
) -> Kept:
    """Take an id out of audit log, tombstones, echoes and rejections, in every workspace; return what it was.

    A stored plan that has the id is dropped as a whole. Where members stand at a source, the id is taken out there
    first.

    In one transaction, and then in bounded ones for the audit log: cut short, it is safe to run again. A file is
    written anew, since its free space keeps what was deleted.

    Raises LockHeld where a run works with an affected segment, or with any of a file; StateError where the state holds
    the id, or where a request with it may still arrive. Then nothing is changed.
    """
    with open_database(settings, runtime.clock, creates=False) as database:
        is_file = isinstance(database.address, SqliteAddress)
        there = _erase_there(settings, database, id, find_source, runtime)
        with database.write() as connection:
            keep_others_out(connection)
            refuse_moved(select_version(connection), database.address)  # it may have since it was opened
            _refuse_worked(connection, there)
            traces = _find_traces(database, connection, id)
            places = traces.places().union(*traces.plans.values())
            refuse_live_locks(database, connection, runtime, lambda *place: is_file or place in places)
            _refuse_held(traces)
            for segment in (SegmentRef(*place, "") for place in places):
                if read_holder(find_row(connection, segment)) is not None:  # who is suspended now finds its lock gone
                    break_locks(connection, database.now(connection), segment)
            for each in traces.presences:
                for form in list_forms(id, each.id_type):
                    _erase_rows(connection, each.key, form)
            for plan_id in traces.plans:  # whole, as what is sealed is applied as it was reviewed, or not at all
                plans.drop(connection, plan_id)
            plans.drop_expired(connection, database.now(connection))
        for form, _, _, keys in traces.rows:
            audit.erase(database, keys, form)
        try:
            database.scrub()
        except StateError as error:
            message = f"the id is erased, but free space of the file may still show it: {error.message}"
            raise StateError(message, "run it again when nothing else uses the state") from error
    if there.kept:
        raise StateError(
            f"the id is erased, but the tables at the source take no DELETE, and old rows there still have it, of "
            f"{_list_names(there.kept)}",
            "run `reconcile state copy SPEC --members local`, delete the tables with their files, and move back with "
            "`--members source`",
        )
    return replace(traces.count(), at_source=there.number)


def _erase_there(
    settings: StateSettings, database: Database, id: str, find_source: FindSource | None, runtime: Runtime
) -> _There:
    """Take an id out of the tables at the source, where it is no member of any segment, under the locks of these.

    The members there stay the same, so it may be cut short anywhere. Raises as `erase`, and SourceError.
    """
    with database.read() as connection:
        there = _list_there(connection)
        if not there:
            return _There([], [], 0)
        _refuse_held(_find_traces(database, connection, id))
    if find_source is None:
        raise _lacks_source()
    store = StateStore(database, runtime, settings=settings)
    with ExitStack() as stack:
        found = []
        for each in there:
            source = find_source(each.segment_id)
            segment = SegmentRef(each.workspace, each.segment_id, each.name)
            lock, locked = stack.enter_context(store.hold(segment, "state erase", source))
            writer = MembersWriter(source, lock, lock.write)
            _check_there(each, writer)
            locked.recover()
            locked.flush()
            found.append((each, writer, list_forms(id, IdType(each.id_type))))
        _raise_held([each for each, writer, forms in found if writer.holds(forms)])
        having = [one for one in found if one[1].source.generations_of(one[0].members_key, one[2])]
        kept = [each for each, writer, forms in having if not writer.erase(forms)]
        with database.read() as connection:
            return _There(_list_there(connection), kept, len(having))


def _check_there(row: Row[Any], writer: MembersWriter) -> None:
    """Raise StateError where the tables are not those of the segment: nothing may be written into others."""
    try:
        writer.check()
    except StateError as error:
        raise StateError(
            f"segment {row.segment_id} of workspace {row.workspace}: {error.message}; nothing was erased",
            f"{error.hint}; if its members stand at a source of another spec, move them into the state first: "
            "`reconcile state copy` with that SPEC and `--members local`",
        ) from None


def _list_there(connection: Connection) -> list[Row[Any]]:
    """List the segments that have their members at a source, each with its serial."""
    statement = (
        "SELECT workspace, segment_id, name, id_type, members_key, serial FROM reconcile_segments "
        "WHERE members_generation IS NOT NULL ORDER BY workspace, segment_id"
    )
    return list(execute(connection, statement).all())


def _refuse_worked(connection: Connection, there: _There) -> None:
    """Raise StateError where a run has worked with a segment since the id was taken out of its tables."""
    if _list_there(connection) != there.segments:
        raise StateError(
            "a run worked with a segment that has its members at a source meanwhile", "run it again", code="held"
        )


def _lacks_source() -> StateError:
    return StateError(
        "members of this state stand at a source, which was not given", "use the command `reconcile state erase`"
    )


def _find_traces(backend: Backend, connection: Connection, id: str) -> _Traces:
    recent = backend.now(connection) - LATE_SECONDS
    found = list(find(backend, connection, id, since=recent))
    presences = [
        each for each in found if any(_has_rows(connection, each.key, form) for form in list_forms(id, each.id_type))
    ]
    stored = plans.find_holding(connection, list_forms(id))
    return _Traces(recent, presences, audit.list_places(connection, id), stored)


def _refuse_held(traces: _Traces) -> None:
    """Raise StateError where the state holds the id, or where what was sent may still be on its way."""
    there = [each for each in traces.presences if each.name is not None]
    _raise_held([each for each in there if each.status & _HELD])
    late = [each for each in there if each.status or each.doubtful_at >= traces.recent]
    if late:
        raise StateError(
            f"this id was sent to {_list_names(late)} less than an hour ago, and a request may still arrive there; "
            "nothing was erased",
            "run it again an hour after the last run that sent it",
            code="held",
        )


def _raise_held(held: Sequence[Presence | Row[Any]]) -> None:
    """Raise StateError if there are segments that hold the id."""
    if held:
        raise StateError(
            f"the state still holds this id, in {_list_names(held)}; nothing was erased",
            "take the person out of what the queries return, run `reconcile apply`, and an hour later this again; "
            "where no spec lists the segment any more, list it with `retired: true` first",
            code="held",
        )


def _list_names(presences: Sequence[Presence | Row[Any]]) -> str:
    names = [f"{each.workspace}/{each.name} ({each.segment_id})" for each in presences]
    more = [f"{len(names) - _NAMED:,} more"] if len(names) > _NAMED else []
    return ", ".join(names[:_NAMED] + more)


def _has_rows(connection: Connection, key: int, id: str) -> bool:
    values = {"key": key, "id": id, **_find_line(id)}
    return bool(execute(connection, _HAS_ROWS, values).scalar_one())


def _erase_rows(connection: Connection, key: int, id: str) -> None:
    """Delete all under a key that has an id: what the journal says of it would count again without the rest."""
    for table in ("reconcile_members", "reconcile_marks"):
        run(connection, f"DELETE FROM {table} WHERE segment_key = :key AND id = :id", key=key, id=id)
    select = f"SELECT seq, ids FROM reconcile_batches WHERE segment_key = :key AND {_IN_BATCH}"
    for seq, ids in execute(connection, select, {"key": key, **_find_line(id)}).all():
        journal.keep_ids(connection, seq, [each for each in ids.split(journal.ID_END) if each != id])
