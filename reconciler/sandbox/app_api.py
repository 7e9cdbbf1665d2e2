"""The App API of the sandbox: segments, their members, and the look-ups that a reconciler uses.

Errors have the observed shape `{"errors":[{"detail":…,"status":"404"}]}`, the status as a string; 429 has no body.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from reconciler.sandbox.http import Request, Response, answer, app_error, segment_number
from reconciler.sandbox.people import IdType, Person
from reconciler.sandbox.settings import BigLimit, LastPage, SandboxError
from reconciler.sandbox.workspace import Segment, SegmentType, Workspace

DEFAULT_PAGE = 1000
MAX_PAGE = 30_000
MAX_LOOKUP = 100


def answer_app(request: Request, workspace: Workspace, shift: int = 0) -> Response:
    """Do what an App request asks; `shift` moves the start of a later membership page back by so many rows."""
    match request.method, request.parts[1:]:
        case "GET", ("segments",):
            return _list_segments(workspace)
        case "POST", ("segments",):
            return _create_segment(request, workspace)
        case "POST", ("customers", "attributes"):
            return _look_up(request, workspace)
        case "GET", ("customers", identifier, "segments"):
            return _segments_of(request, workspace, identifier)
        case method, ("segments", number, *rest):
            segment = workspace.segment(segment_number(number) or 0)
            if segment is None:
                return _NOT_FOUND
            return _about_segment(request, workspace, segment, (method, *rest), shift)
        case _:
            return _NOT_FOUND


_NOT_FOUND = app_error(404, "not found")


def _about_segment(
    request: Request, workspace: Workspace, segment: Segment, wish: tuple[str, ...], shift: int
) -> Response:
    match wish:
        case ("GET",):
            return answer({"segment": _segment_json(workspace, segment)})
        case ("DELETE",):
            return _delete_segment(workspace, segment)
        case ("GET", "customer_count"):
            return answer({"segment_id": segment.id, "count": workspace.reported_count(segment.id)})
        case ("GET", "used_by"):
            return _tell_use(workspace, segment)
        case ("GET", "membership"):
            return _tell_members(request, workspace, segment, shift)
        case _:
            return _NOT_FOUND


def _list_segments(workspace: Workspace) -> Response:
    listed = [_segment_json(workspace, segment) for segment in workspace.segments()]
    return answer({"segments": _listed(workspace, listed)})


def _create_segment(request: Request, workspace: Workspace) -> Response:
    try:
        wish = request.payload["segment"]
        name, description = wish["name"], wish.get("description") or ""
    except (SandboxError, KeyError, TypeError, AttributeError):
        return app_error(400, "segment.name is required")
    if not (isinstance(name, str) and name and isinstance(description, str)):
        return app_error(400, "segment.name is required")
    if workspace.settings.unique_names and any(name == segment.name for segment in workspace.segments()):
        return app_error(400, "segment.name is taken")
    return answer({"segment": _segment_json(workspace, workspace.create_segment(name, description=description))})


def _delete_segment(workspace: Workspace, segment: Segment) -> Response:
    if segment.type is not SegmentType.MANUAL:
        return app_error(400, "only manual segments can be deleted")
    if segment.used_by and workspace.settings.protect_used:
        return app_error(409, "segment is in use")
    workspace.delete_segment(segment.id)
    return Response(204)


def _tell_use(workspace: Workspace, segment: Segment) -> Response:
    use = segment.used_by
    names = ("campaigns", "sent_newsletters", "draft_newsletters")
    return answer(
        {"segment_id": segment.id, "used_by": {name: _listed(workspace, list(getattr(use, name))) for name in names}}
    )


def _tell_members(request: Request, workspace: Workspace, segment: Segment, shift: int) -> Response:
    try:
        limit = _page_limit(request, workspace)
        offset = _page_offset(request, segment)
    except ValueError as error:
        return app_error(400, str(error))
    start = max(0, offset - shift)
    try:
        people, more = workspace.page(segment.id, start, limit)
    except SandboxError:
        return _NOT_FOUND
    document: dict[str, Any] = {
        "segment_id": segment.id,
        "ids": _listed(workspace, [person.id or "" for person in people]),
        "identifiers": _listed(workspace, _identifiers(workspace, people)),
    }
    if more:
        document["next"] = _token(segment, start + limit)
    elif workspace.settings.last_page is not LastPage.OMITTED:
        document["next"] = "" if workspace.settings.last_page is LastPage.EMPTY else None
    return answer(document)


def _page_limit(request: Request, workspace: Workspace) -> int:
    try:
        limit = int(request.query.get("limit") or DEFAULT_PAGE)
    except ValueError:
        limit = 0
    if limit < 1:
        raise SandboxError("limit must be a positive integer")
    if limit > MAX_PAGE and workspace.settings.big_limit is BigLimit.REFUSE:
        raise SandboxError(f"limit must be at most {MAX_PAGE}")
    return min(limit, MAX_PAGE)


def _page_offset(request: Request, segment: Segment) -> int:
    token = request.query.get("start")
    if not token:
        return 0
    try:
        number, offset = b64decode(token, validate=True).decode("ascii").split(":")
        if int(number) == segment.id and int(offset) >= 0:
            return int(offset)
    except ValueError:
        pass
    raise SandboxError("start is not a token of this segment")


def _token(segment: Segment, offset: int) -> str:
    return b64encode(f"{segment.id}:{offset}".encode()).decode()


def _look_up(request: Request, workspace: Workspace) -> Response:
    try:
        id_type, ids = _kind(request, workspace), request.payload["ids"]
    except (ValueError, KeyError, TypeError) as error:
        return app_error(400, str(error) if isinstance(error, SandboxError) else "ids are required")
    if not isinstance(ids, list) or not all(isinstance(value, str) for value in ids):
        return app_error(400, "ids must be a list of strings")
    if not 1 <= len(ids) <= MAX_LOOKUP:
        return app_error(400, f"ids must have 1 to {MAX_LOOKUP} items")
    people = workspace.find_many(id_type, dict.fromkeys(ids))
    return answer({"customers": _listed(workspace, [_customer(workspace, person) for person in people])})


def _customer(workspace: Workspace, person: Person) -> dict[str, Any]:
    (identifiers,) = _identifiers(workspace, [person])
    attributes = {"id": person.id, "email": person.email, "cio_id": person.cio_id}
    return {"customer": {"id": person.id or "", "identifiers": identifiers, "attributes": attributes}}


def _segments_of(request: Request, workspace: Workspace, identifier: str) -> Response:
    try:
        id_type = _kind(request, workspace)
    except SandboxError as error:
        return app_error(400, str(error))
    segments = workspace.segments_of(id_type, identifier)
    if segments is None:
        return _NOT_FOUND
    listed = [{"id": segment.id, "name": segment.name, "description": segment.description} for segment in segments]
    return answer({"segments": _listed(workspace, listed)})


def _kind(request: Request, workspace: Workspace) -> IdType:
    try:
        kind = IdType(request.query.get("id_type", "id"))
    except ValueError:
        raise SandboxError("id_type must be one of id, email, cio_id") from None
    if kind is IdType.EMAIL and workspace.settings.id_only:
        raise SandboxError("this workspace does not use email as an identifier")
    return kind


def _segment_json(workspace: Workspace, segment: Segment) -> dict[str, Any]:
    tags = _listed(workspace, list(segment.tags)) if segment.tags is not None else None
    return {
        "id": segment.id,
        "deduplicate_id": f"{segment.id}:{segment.updated_at}",
        "name": segment.name,
        "description": segment.description,
        "state": segment.state,
        "progress": segment.progress,
        "type": segment.type,
        "tags": tags,
        "created_at": segment.created_at,
        "updated_at": segment.updated_at,
    }


def _identifiers(workspace: Workspace, people: Sequence[Person]) -> list[dict[str, str | None]]:
    if workspace.settings.id_only:
        return [{"id": person.id, "cio_id": person.cio_id} for person in people]
    return [{"email": person.email, "id": person.id, "cio_id": person.cio_id} for person in people]


def _listed(workspace: Workspace, items: list[Any]) -> list[Any] | None:
    """A list, or null for an empty one where the workspace is set to do so."""
    return None if workspace.settings.null_lists and not items else items
