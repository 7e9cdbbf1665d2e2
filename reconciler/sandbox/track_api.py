"""The Track API of the sandbox: region, adds and removes.

Answers are the documented or observed ones: `{}` and a newline for success, whatever was ignored; errors as
`{"meta":{"errors":[…]}}`; an empty body for 401.
"""

from reconciler.sandbox.http import Request, Response, json_response, parse_number, track_error
from reconciler.sandbox.people import IdType
from reconciler.sandbox.request_log import DIRECTIONS
from reconciler.sandbox.settings import SandboxError, SegmentAnswer
from reconciler.sandbox.workspace import Direction, SegmentType, Workspace

MAX_IDS = 1000
DONE = json_response({})


def answer_track(request: Request, workspace: Workspace, url: str, apply_delay: float | None = None) -> Response:
    """Do what a Track request asks; `apply_delay` overrides the setting for this one request."""
    match request.method, request.parts[2:]:
        case "GET", ("accounts", "region"):
            settings = workspace.settings
            return json_response({"url": url, "region": settings.region, "environment_id": settings.environment_id})
        case "POST", ("segments", segment, action) if action in DIRECTIONS:
            return _write(request, workspace, segment, DIRECTIONS[action], apply_delay)
    return track_error(404, "not found")


def _write(
    request: Request, workspace: Workspace, segment_text: str, direction: Direction, apply_delay: float | None
) -> Response:
    try:
        id_type = IdType(request.query.get("id_type", "id"))
    except ValueError:
        return track_error(400, "id_type must be one of id, email, cio_id")
    try:
        payload = request.payload
    except SandboxError as error:
        return track_error(400, str(error))
    ids = payload.get("ids") if isinstance(payload, dict) else None
    if not isinstance(ids, list):
        return track_error(400, "ids must be a list")
    if not 1 <= len(ids) <= MAX_IDS:
        return track_error(400, f"ids must have 1 to {MAX_IDS} items")
    if request.ids is None:
        return track_error(400, "ids must be strings")
    number = parse_number(segment_text)
    if number is None:
        return track_error(400, "segment_id must be an integer")
    segment = workspace.segment(number)
    if segment is None:
        return _answer_as_set(workspace.settings.missing_segment, "segment not found")
    if segment.type is SegmentType.DYNAMIC:
        return _answer_as_set(workspace.settings.dynamic_segment, "segment is not a manual segment")
    workspace.submit(number, direction, id_type, request.ids, apply_delay)
    return DONE


def _answer_as_set(choice: SegmentAnswer, text: str) -> Response:
    return DONE if choice is SegmentAnswer.SILENT else track_error(int(choice), text)
