"""The Track API of the sandbox: region, adds and removes, and what a test needs to change people.

Answers are the documented or observed ones: `{}` and a newline for success, whatever was ignored; errors as
`{"meta":{"errors":[…]}}`; an empty body for 401.
"""

from typing import Any

from reconciler.sandbox.http import Request, Response, answer, segment_number, track_error
from reconciler.sandbox.people import CIO_PREFIX, IdType
from reconciler.sandbox.settings import SandboxError, SegmentAnswer
from reconciler.sandbox.workspace import Direction, Segment, SegmentType, Workspace

MAX_IDS = 1000
_DONE = answer({})


def answer_track(request: Request, workspace: Workspace, url: str, apply_delay: float | None = None) -> Response:
    """Do what a Track request asks; `apply_delay` overrides the knob for this one request."""
    match request.method, request.parts[2:]:
        case "GET", ("accounts", "region"):
            return _tell_region(workspace, url)
        case "POST", ("segments", segment, "add_customers"):
            return _write(request, workspace, segment, Direction.ADD, apply_delay)
        case "POST", ("segments", segment, "remove_customers"):
            return _write(request, workspace, segment, Direction.REMOVE, apply_delay)
        case "PUT", ("customers", identifier):
            return _identify(request, workspace, identifier)
        case "DELETE", ("customers", identifier):
            workspace.delete_person(*name_of(identifier))
        case "POST", ("customers", identifier, "suppress"):
            workspace.suppress(*name_of(identifier))
        case "POST", ("customers", identifier, "unsuppress"):
            workspace.unsuppress(*name_of(identifier))
        case "POST", ("merge_customers",):
            return _merge(request, workspace)
        case _:
            return track_error(404, "not found")
    return _DONE


def name_of(identifier: str) -> tuple[IdType, str]:
    """What an identifier in a Track path stands for: `cio_…`, an email, or an id."""
    if identifier.startswith(CIO_PREFIX):
        return IdType.CIO_ID, identifier.removeprefix(CIO_PREFIX)
    return (IdType.EMAIL if "@" in identifier else IdType.ID), identifier


def _tell_region(workspace: Workspace, url: str) -> Response:
    settings = workspace.settings
    if not settings.region_endpoint:
        return track_error(404, "not found")
    return answer({"url": url, "region": settings.region, "environment_id": settings.environment_id})


def _write(
    request: Request, workspace: Workspace, segment: str, direction: Direction, apply_delay: float | None
) -> Response:
    id_type = _id_type(request)
    if id_type is None:
        return track_error(400, "id_type must be one of id, email, cio_id")
    if id_type is IdType.EMAIL and workspace.settings.id_only:
        return track_error(400, "this workspace does not use email as an identifier")
    wrong = _wrong_with_ids(request)
    if wrong:
        return track_error(400, wrong)
    number = segment_number(segment)
    if number is None:
        return track_error(400, "segment_id must be an integer")
    refusal = _refuse_segment(workspace, workspace.segment(number))
    if refusal is not None:
        return refusal
    workspace.submit(number, direction, id_type, request.ids or (), apply_delay)
    return _DONE


def _id_type(request: Request) -> IdType | None:
    try:
        return IdType(request.query.get("id_type", "id"))
    except ValueError:
        return None


def _wrong_with_ids(request: Request) -> str | None:
    try:
        payload = request.payload
    except SandboxError as error:
        return str(error)
    ids = payload.get("ids") if isinstance(payload, dict) else None
    if not isinstance(ids, list):
        return "ids must be a list"
    if not 1 <= len(ids) <= MAX_IDS:
        return f"ids must have 1 to {MAX_IDS} items"
    return None if request.ids is not None else "ids must be strings"


def _refuse_segment(workspace: Workspace, segment: Segment | None) -> Response | None:
    if segment is None:
        return _as_configured(workspace.settings.missing_segment, "segment not found")
    if segment.type is SegmentType.DYNAMIC:
        return _as_configured(workspace.settings.dynamic_segment, "segment is not a manual segment")
    return None


def _as_configured(choice: SegmentAnswer, text: str) -> Response:
    return _DONE if choice is SegmentAnswer.SILENT else track_error(int(choice), text)


def _identify(request: Request, workspace: Workspace, identifier: str) -> Response:
    try:
        attributes = request.payload if request.body else {}
    except SandboxError as error:
        return track_error(400, str(error))
    if not isinstance(attributes, dict):
        return track_error(400, "attributes must be an object")
    id, email = (_text(attributes.get(name)) for name in ("id", "email"))
    kind, value = name_of(identifier)
    if kind is IdType.CIO_ID:
        if workspace.find(kind, value) is not None:
            workspace.identify(id, email, value)
    elif kind is IdType.EMAIL:
        workspace.identify(id, value)
    else:
        workspace.identify(value, email)
    return _DONE


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _merge(request: Request, workspace: Workspace) -> Response:
    try:
        primary, secondary = (_one_name(request.payload[side]) for side in ("primary", "secondary"))
    except (SandboxError, KeyError, TypeError, ValueError):
        return track_error(400, "merge needs a primary and a secondary, each with one of id, email, cio_id")
    workspace.merge(primary, secondary)
    return _DONE


def _one_name(document: dict[str, Any]) -> tuple[str, str]:
    ((kind, value),) = document.items()
    return IdType(kind), str(value)
