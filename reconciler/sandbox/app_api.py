"""The App API of the sandbox: segments, their members, counts and uses.

Errors have the observed shape `{"errors":[{"detail":…,"status":"404"}]}`, the status as a string; 429 has no body.
"""

from base64 import b64decode, b64encode
from dataclasses import asdict
from typing import Any

from reconciler.sandbox.http import Request, Response, app_error, json_response, parse_number
from reconciler.sandbox.settings import SandboxError
from reconciler.sandbox.workspace import Segment, Workspace

DEFAULT_PAGE = 1000
MAX_PAGE = 30_000

NOT_FOUND = app_error(404, "not found")
NAME_REQUIRED = app_error(400, "segment.name is required")


def answer_app(request: Request, workspace: Workspace, shift: int = 0) -> Response:
    """Do what an App request asks; `shift` moves the start of a later membership page back by that many rows."""
    match request.method, request.parts[1:]:
        case "GET", ("segments",):
            return json_response({"segments": [_segment_json(segment) for segment in workspace.segments()]})
        case "POST", ("segments",):
            try:
                wanted = request.payload["segment"]
                name, description = wanted["name"], wanted.get("description") or ""
            except (SandboxError, KeyError, TypeError, AttributeError):
                return NAME_REQUIRED
            if not (isinstance(name, str) and name and isinstance(description, str)):
                return NAME_REQUIRED
            return json_response({"segment": _segment_json(workspace.create_segment(name, description=description))})
        case "GET", ("segments", number, *rest):
            segment = workspace.segment(parse_number(number) or 0)
            try:
                return NOT_FOUND if segment is None else _answer_about(request, workspace, segment, rest, shift)
            except SandboxError:  # it was deleted meanwhile
                return NOT_FOUND
    return NOT_FOUND


def _answer_about(request: Request, workspace: Workspace, segment: Segment, rest: list[str], shift: int) -> Response:
    match rest:
        case []:
            return json_response({"segment": _segment_json(segment)})
        case ["customer_count"]:
            count = max(0, workspace.size(segment.id) + workspace.settings.count_offset)
            return json_response({"segment_id": segment.id, "count": count})
        case ["used_by"]:
            return json_response({"segment_id": segment.id, "used_by": asdict(segment.used_by)})
        case ["membership"]:
            return _page(request, workspace, segment, shift)
    return NOT_FOUND


def _segment_json(segment: Segment) -> dict[str, Any]:
    return {
        "id": segment.id,
        "deduplicate_id": f"{segment.id}:{segment.updated_at}",
        "name": segment.name,
        "description": segment.description,
        "state": segment.state,
        "progress": segment.progress,
        "type": segment.type,
        "tags": segment.tags,
        "created_at": segment.created_at,
        "updated_at": segment.updated_at,
    }


def _page(request: Request, workspace: Workspace, segment: Segment, shift: int) -> Response:
    """Answer with a page of members. The token is an offset: a writer between two pages makes a reader miss members."""
    limit = parse_number(request.query.get("limit") or str(DEFAULT_PAGE))
    if not limit:
        return app_error(400, "limit must be a positive integer")
    limit, offset = min(limit, MAX_PAGE), 0
    token = request.query.get("start")
    if token:
        try:
            number, offset = map(int, b64decode(token, validate=True).decode("ascii").split(":"))
        except ValueError:
            number = 0
        if number != segment.id or offset < 0:
            return app_error(400, "start is not a token of this segment")
    start = max(0, offset - shift)
    people, has_more = workspace.page(segment.id, start, limit)
    document = {
        "segment_id": segment.id,
        "ids": [person.id or "" for person in people],
        "identifiers": [{"email": person.email, "id": person.id, "cio_id": person.cio_id} for person in people],
    }
    if has_more:
        document["next"] = b64encode(f"{segment.id}:{start + limit}".encode()).decode()
    return json_response(document)
