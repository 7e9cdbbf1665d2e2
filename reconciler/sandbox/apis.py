"""What the Track API and the App API of the sandbox answer.

The Track API answers `{}` and a newline for success, whatever was ignored, and errors as `{"meta":{"errors":[…]}}`; the
body of its 401 is not documented, so it is empty. Errors of the App API have the observed shape
`{"errors":[{"detail":…,"status":"404"}]}`, the status as a string. 429 has no body.
"""

from base64 import b64decode, b64encode
from dataclasses import asdict
from typing import Any

from reconciler.sandbox.http import Api, Call, Request, Response, json_response, parse_number
from reconciler.sandbox.settings import SandboxError, SegmentAnswer
from reconciler.sandbox.workspace import IdType, Segment, SegmentType, Workspace

MAX_IDS = 1000
DEFAULT_PAGE = 1000
MAX_PAGE = 30_000


def error_response(api: Api, status: int, text: str) -> Response:
    """Make an error in the shape of an API; the Track API's for paths of neither."""
    if api is Api.APP:
        return json_response({"errors": [{"detail": text, "status": str(status)}]}, status)
    return Response(status) if status == 401 else json_response({"meta": {"errors": [text]}}, status)


DONE = json_response({})
NOT_FOUND = error_response(Api.APP, 404, "not found")
NAME_REQUIRED = error_response(Api.APP, 400, "segment.name is required")


def answer_track(request: Request, call: Call, workspace: Workspace, url: str, delay: float | None) -> Response:
    """Do what a Track request asks; `delay` overrides the setting `apply_delay` for this one request."""
    if request.method == "GET" and request.parts[2:] == ("accounts", "region"):
        settings = workspace.settings
        return json_response({"url": url, "region": settings.region, "environment_id": settings.environment_id})
    if request.method != "POST" or call.direction is None:
        return error_response(Api.TRACK, 404, "not found")
    try:
        id_type = IdType(call.id_type or "")
    except ValueError:
        return error_response(Api.TRACK, 400, "id_type must be one of id, email, cio_id")
    try:
        payload = request.payload
    except SandboxError as error:
        return error_response(Api.TRACK, 400, str(error))
    ids = payload.get("ids") if isinstance(payload, dict) else None
    if not isinstance(ids, list):
        return error_response(Api.TRACK, 400, "ids must be a list")
    if not 1 <= len(ids) <= MAX_IDS:
        return error_response(Api.TRACK, 400, f"ids must have 1 to {MAX_IDS} items")
    if call.ids is None:
        return error_response(Api.TRACK, 400, "ids must be strings")
    if call.segment_id is None:
        return error_response(Api.TRACK, 400, "segment_id must be an integer")
    segment, settings = workspace.segment(call.segment_id), workspace.settings
    if segment is None:
        return _answer_as_set(settings.missing_segment, "segment not found")
    if segment.type is SegmentType.DYNAMIC:
        return _answer_as_set(settings.dynamic_segment, "segment is not a manual segment")
    workspace.submit(segment.id, call.direction, id_type, call.ids, delay)
    return DONE


def _answer_as_set(choice: SegmentAnswer, text: str) -> Response:
    return DONE if choice is SegmentAnswer.SILENT else error_response(Api.TRACK, int(choice), text)


def answer_app(request: Request, workspace: Workspace, shift: int) -> Response:
    """Do what an App request asks; `shift` moves the start of a later membership page back by that many rows."""
    match request.method, request.parts[1:]:
        case "GET", ("segments",):
            return json_response({"segments": [_segment_json(segment) for segment in workspace.segments()]})
        case "GET", ("campaigns",):
            numbers = sorted({number for segment in workspace.segments() for number in segment.used_by.campaigns})
            return json_response({"campaigns": [{"id": each, "name": f"Campaign {each}"} for each in numbers]})
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
            if segment is None:
                return NOT_FOUND
            try:
                match rest:
                    case []:
                        return json_response({"segment": _segment_json(segment)})
                    case ["customer_count"]:
                        count = max(0, workspace.size(segment.id) + workspace.settings.count_offset)
                        return json_response({"segment_id": segment.id, "count": count})
                    case ["used_by"]:
                        return json_response({"segment_id": segment.id, "used_by": asdict(segment.used_by)})
                    case ["membership"]:
                        return _answer_page(request, workspace, segment.id, shift)
            except SandboxError:  # it was deleted meanwhile
                return NOT_FOUND
    return NOT_FOUND


def _segment_json(segment: Segment) -> dict[str, Any]:
    document = {**asdict(segment), "deduplicate_id": f"{segment.id}:{segment.updated_at}"}
    del document["used_by"]
    return document


def _answer_page(request: Request, workspace: Workspace, segment_id: int, shift: int) -> Response:
    """Answer with a page of members. The token is an offset: a writer between two pages makes a reader miss members."""
    limit = parse_number(request.query.get("limit") or str(DEFAULT_PAGE))
    if not limit:
        return error_response(Api.APP, 400, "limit must be a positive integer")
    limit, offset = min(limit, MAX_PAGE), 0
    token = request.query.get("start")
    if token:
        try:
            number, offset = map(int, b64decode(token, validate=True).decode("ascii").split(":"))
        except ValueError:
            number = 0
        if number != segment_id or offset < 0:
            return error_response(Api.APP, 400, "start is not a token of this segment")
    start = max(0, offset - shift)
    end = start + limit
    people = workspace.members(segment_id, start, end)
    document = {
        "segment_id": segment_id,
        "ids": [person.id or "" for person in people],
        "identifiers": [{"email": person.email, "id": person.id, "cio_id": person.cio_id} for person in people],
    }
    if end < workspace.size(segment_id):
        document["next"] = b64encode(f"{segment_id}:{end}".encode()).decode()
    return json_response(document)
