"""The control endpoint: what a tester does by hand, over HTTP, for processes that cannot hold a `Sandbox`.

All bodies and answers are JSON; errors are `{"error": "…"}` with 400, 403 or 404. There are no keys, since the sandbox
listens on loopback only; requests from a browser (an Origin header, or a Host that is not loopback) get 403.

    GET    /sandbox                        what is there: url, people, segments with sizes, pending
    POST   /sandbox/people                 {"people": [{"id": "1", "email": "a@example.com"}, …]}
    POST   /sandbox/segments               {"id": 56, "name": "vip", "type": "manual", "used_by": {…}}, or "56:vip"
    PATCH  /sandbox/segments/56            {"name": …, "type": …, "tags": …, "used_by": …}: as someone in the UI might
    DELETE /sandbox/segments/56            whatever its type
    GET    /sandbox/segments/56/members    ?as=id (default), email or cio_id: {"members": [… or null], "size": 2}
    PUT    /sandbox/segments/56/members    {"members": ["1", "2"], "id_type": "id"}: exactly these
    PATCH  /sandbox/segments/56/members    {"add": [...], "remove": [...], "id_type": "id"}
    POST   /sandbox/faults                 {"faults": ["status=503,times=2", "drop"]}, or one of those
    DELETE /sandbox/faults                 remove all of them
    GET    /sandbox/calls                  the request log
    DELETE /sandbox/calls                  empty it
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from reconciler.sandbox.faults import FaultPlan, parse_fault
from reconciler.sandbox.http import Request, RequestLog, Response, json_response
from reconciler.sandbox.settings import SandboxError
from reconciler.sandbox.storage import parse_segment
from reconciler.sandbox.workspace import IdType, Segment, UsedBy, Workspace

CHANGEABLE = frozenset({"name", "description", "type", "state", "progress", "tags", "used_by"})


def answer_control(request: Request, workspace: Workspace, faults: FaultPlan, log: RequestLog, url: str) -> Response:
    """Do what a request below `/sandbox` asks; what is wrong with it becomes an answer, too."""
    if "origin" in request.headers or not _is_loopback(request.headers.get("host", "")):
        return json_response({"error": "the sandbox takes no requests from browsers or other hosts"}, 403)
    try:
        document = _answer(request, workspace, faults, log, url)
    except SandboxError as error:
        return json_response({"error": str(error)}, 404 if str(error).startswith("there is no segment") else 400)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return json_response({"error": f"the body does not have the expected form ({type(error).__name__})"}, 400)
    if document is None:
        return json_response({"error": "no such place or method below /sandbox"}, 404)
    return json_response(document)


def _answer(
    request: Request, workspace: Workspace, faults: FaultPlan, log: RequestLog, url: str
) -> dict[str, Any] | None:
    """Return the document that answers a request; None: there is no such place or method."""
    match request.method, request.parts[1:]:
        case "GET", ():
            segments = [{**_summary(each), "size": workspace.size(each.id)} for each in workspace.segments()]
            people, pending = len(workspace.people()), len(workspace.pending())
            return {"url": url, "people": people, "segments": segments, "pending": pending}
        case "POST", ("people",):
            rows = [(person.get("id"), person.get("email")) for person in request.payload["people"]]
            _check_strings([value for row in rows for value in row if value is not None])
            return {"people": workspace.add_people(rows)}
        case _, ("segments", *rest):
            return _answer_segments(request, workspace, rest)
        case "POST", ("faults",):
            wanted = request.payload
            texts = wanted["faults"] if isinstance(wanted, dict) else [wanted]
            faults.add(*[parse_fault(text) for text in texts])
            return {}
        case "DELETE", ("faults",):
            faults.clear()
            return {}
        case "GET", ("calls",):
            return {"calls": [asdict(call) for call in log.calls()]}
        case "DELETE", ("calls",):
            log.clear()
            return {}
    return None


def _answer_segments(request: Request, workspace: Workspace, rest: list[str]) -> dict[str, Any] | None:
    match request.method, rest:
        case "POST", []:
            wanted = request.payload
            if isinstance(wanted, str):
                wanted = parse_segment(wanted)
            fields = _segment_fields({name: value for name, value in wanted.items() if name != "id"})
            return _summary(workspace.create_segment(id=wanted.get("id"), **fields))
        case "PATCH", [number]:
            return _summary(workspace.change_segment(int(number), **_segment_fields(request.payload)))
        case "DELETE", [number]:
            workspace.delete_segment(int(number))
            return {}
        case "GET", [number, "members"]:
            kind = IdType(request.query.get("as", "id"))
            members = [getattr(person, kind) for person in workspace.members(int(number))]
            return {"members": members, "size": len(members)}
        case "PUT" | "PATCH", [number, "members"]:
            payload, segment_id = request.payload, int(number)
            id_type = IdType(payload.get("id_type", "id"))
            if request.method == "PUT":
                workspace.set_members(segment_id, _check_strings(payload["members"]), id_type)
            else:
                add, remove = (_check_strings(payload.get(name, [])) for name in ("add", "remove"))
                workspace.edit_members(segment_id, add=add, remove=remove, id_type=id_type)
            return {"size": workspace.size(segment_id)}
    return None


def _is_loopback(authority: str) -> bool:
    """Return whether a Host header names this machine; a browser lured by DNS would send another name."""
    try:
        host = urlsplit(f"//{authority}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _summary(segment: Segment) -> dict[str, Any]:
    return {"id": segment.id, "name": segment.name, "type": segment.type}


def _segment_fields(wanted: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(wanted) - CHANGEABLE)
    if unknown:
        raise SandboxError(f"segment: unknown {unknown}; the fields are {sorted(CHANGEABLE)}")
    fields = dict(wanted)
    if fields.get("tags") is not None:
        fields["tags"] = tuple(fields["tags"])
    if "used_by" in fields:
        fields["used_by"] = UsedBy(**{name: tuple(numbers) for name, numbers in fields["used_by"].items()})
    return fields


def _check_strings(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise SandboxError("identifiers must be a list of strings")
    return values
