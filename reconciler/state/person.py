"""One person in the state: what it says of an id in each segment."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, text

from reconciler.clock import Clock
from reconciler.models.audit import AuditEvent
from reconciler.models.id_status import IdStatus, write_id_status
from reconciler.models.ids import IdType, fold
from reconciler.models.spec import StateSettings
from reconciler.state import audit, open_reader
from reconciler.state.database import Backend

_SEGMENTS = """
SELECT k.segment_key, k.workspace, k.segment_id, s.name, s.id_type FROM reconcile_keys k
LEFT JOIN reconcile_segments s ON s.segment_key = k.segment_key ORDER BY k.workspace, k.segment_id, k.segment_key"""

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


@dataclass(frozen=True)
class Person:
    """All that the state says of one id in a workspace."""

    presences: tuple[Presence, ...]
    events: tuple[AuditEvent, ...]
    forgotten: dict[int, str]
    """The last names of segments that have events and nothing else, by their numbers."""


def read(settings: StateSettings, workspace: str, id: str) -> Person:
    """Read what the state says of an id, at one moment; nothing where there is no state. Raises StateError.

    The id is compared as each segment's id type has it. The type of a segment that the state has forgotten is not
    known: there it may be an email, too.
    """
    reader = open_reader(settings, Clock())
    with reader.read() as connection:
        if connection is None:
            return Person((), (), {})
        found = [each for each in find(reader, connection, id) if each.name is not None and each.workspace == workspace]
        types = {each.segment_id: each.id_type for each in found}
        events = [
            event
            for form in list_forms(id)
            for event in audit.find(connection, workspace, form)
            if form in list_forms(id, types.get(event.segment_id))
        ]
        events.sort(key=lambda event: event.at)
        forgotten = {}
        for segment_id in {event.segment_id for event in events} - types.keys():
            values = {"workspace": workspace, "segment_id": segment_id}
            if (name := connection.execute(text(_LAST_NAME), values).scalar()) is not None:
                forgotten[segment_id] = name
        return Person(tuple(found), tuple(events), forgotten)


def find(backend: Backend, connection: Connection, id: str, since: float = 0.0) -> Iterator[Presence]:
    """Find what the state says of an id in each segment of each workspace; removals before `since` say nothing."""
    of_segment = "reconcile_marks WHERE segment_key = :key AND id = :id"
    statuses = write_id_status(
        # Most rows are left out as they are, and not taken apart.
        journal='SELECT piece.value AS id, b.seq, b.direction, b.outcome, b."at", b.unknown_at '
        f"FROM {backend.pieces} WHERE b.segment_key = :key AND replace(b.ids, :id, '') <> b.ids AND piece.value = :id",
        marks=f'SELECT id, mark, direction, "at" FROM {of_segment}',
        since=since,
    )
    status = text(f"WITH {statuses} SELECT status, decided, add_at, remove_at FROM id_status")
    is_member = text("SELECT EXISTS (SELECT 1 FROM reconcile_members WHERE segment_key = :key AND id = :id)")
    for row in connection.execute(text(_SEGMENTS)).all():
        id_type = None if row.id_type is None else IdType(row.id_type)
        values = {"key": row.segment_key, "id": id if id_type is None else fold(id, id_type)}
        said = connection.execute(status, values).one_or_none()
        found = IdStatus(0 if said is None else said.status)
        if (said is None or not said.decided) and connection.execute(is_member, values).scalar_one():
            found = IdStatus.STORED
        doubtful_at = 0.0 if said is None else max(said.add_at or 0.0, said.remove_at or 0.0)
        yield Presence(row.segment_key, row.workspace, row.segment_id, row.name, id_type, found, doubtful_at)


def list_forms(id: str, id_type: IdType | None = None) -> list[str]:
    """List how an id may be written in the state; without a type as it is, and as an email."""
    types = [IdType.ID, IdType.EMAIL] if id_type is None else [id_type]
    return list(dict.fromkeys(fold(id, each) for each in types))
