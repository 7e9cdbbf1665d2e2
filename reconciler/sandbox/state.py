"""A workspace as one JSON document and back: people, segments with members, suppressed identifiers, pending writes.

`people` are lists of id (or null), email (or null) and cio_id; a segment's `members` are cio_ids; `due_in` is seconds:

    {
        "format": 1,
        "people": [["1", "a@example.com", "a3000001"]],
        "segments": [{"id": 56, "name": "vip", "type": "manual", "members": ["a3000001"]}],
        "suppressed": [["id", "9"]],
        "pending": [{"due_in": 1.5, "segment_id": 56, "direction": "add", "id_type": "id", "ids": ["1"]}]
    }
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from reconciler.sandbox.people import IdType
from reconciler.sandbox.settings import NEVER, SandboxError, parse_seconds
from reconciler.sandbox.workspace import Direction, Segment, UsedBy, Workspace

FORMAT = 1


def dump_state(workspace: Workspace, now: float) -> dict[str, Any]:
    """The whole workspace; `now` is the time on its clock, from which `due_in` is reckoned."""
    return {
        "format": FORMAT,
        "people": [[person.id, person.email, person.cio_id] for person in workspace.people()],
        "segments": [_dump_segment(workspace, segment) for segment in workspace.segments()],
        "suppressed": [list(identifier) for identifier in workspace.suppressed()],
        "pending": [
            {
                "due_in": "never" if write.due == NEVER else max(0.0, write.due - now),
                "segment_id": write.segment_id,
                "direction": write.direction,
                "id_type": write.id_type,
                "ids": list(write.ids),
            }
            for write in workspace.pending()
        ],
    }


def load_state(workspace: Workspace, document: Mapping[str, Any]) -> None:
    """Fill an empty workspace from a document; raises `SandboxError` when it is none of ours."""
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise SandboxError(f"not a sandbox state of format {FORMAT}")
    try:
        _load(workspace, document)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, SandboxError):
            raise
        raise SandboxError(f"the sandbox state is damaged ({type(error).__name__})") from None


def _dump_segment(workspace: Workspace, segment: Segment) -> dict[str, Any]:
    return {**asdict(segment), "members": [person.cio_id for person in workspace.members(segment.id)]}


def _load(workspace: Workspace, document: Mapping[str, Any]) -> None:
    for id, email, cio_id in document["people"]:
        workspace.identify(id, email, cio_id)
    for fields in document["segments"]:
        fields = dict(fields)
        members = fields.pop("members")
        tags, use = fields.pop("tags", None), fields.pop("used_by", {})
        workspace.create_segment(
            **fields,
            tags=None if tags is None else tuple(tags),
            used_by=UsedBy(**{name: tuple(numbers) for name, numbers in use.items()}),
        )
        workspace.set_members(fields["id"], members, IdType.CIO_ID)
    for id_type, value in document.get("suppressed", ()):
        workspace.suppress(id_type, value)
    for write in document.get("pending", ()):
        direction, id_type = Direction(write["direction"]), IdType(write["id_type"])
        due_in = parse_seconds("due_in", write["due_in"])
        workspace.submit(write["segment_id"], direction, id_type, write["ids"], due_in)
