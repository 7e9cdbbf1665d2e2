"""The control endpoint: what the hand of a tester does, over HTTP, for processes that cannot hold a `Sandbox`.

All bodies and answers are JSON; errors are `{"error": "…"}` with 400, 403 or 404. There are no keys, since the sandbox
listens on loopback only; requests from a browser (an Origin header, or a Host that is not loopback) get 403.

    GET    /sandbox                        what is there: url, people, segments with sizes, pending, totals
    POST   /sandbox/people                 {"people": [{"id": "1", "email": "a@example.com"}, …]}
    POST   /sandbox/segments               {"id": 56, "name": "vip", "type": "manual", "used_by": {…}}, or "56:vip"
    PATCH  /sandbox/segments/56            {"name": …, "type": …, "tags": …, "used_by": …}: as someone in the UI might
    DELETE /sandbox/segments/56            whatever its type
    GET    /sandbox/segments/56/members    ?as=id (default), email or cio_id: {"members": [… or null], "size": 2}
    PUT    /sandbox/segments/56/members    {"members": ["1", "2"], "id_type": "id"}: exactly these
    PATCH  /sandbox/segments/56/members    {"add": [...], "remove": [...], "id_type": "id"}
    GET    /sandbox/faults                 each fault and how often it has `struck`
    POST   /sandbox/faults                 {"faults": ["status=503,times=2", {"kind": "drop", …}]}, or one of those
    DELETE /sandbox/faults                 let nothing go wrong any more
    GET    /sandbox/calls                  the journal; ?ids=0 leaves the ids out
    DELETE /sandbox/calls                  forget it
    GET    /sandbox/settings               the knobs
    PATCH  /sandbox/settings               {"apply_delay": 2, …}: turn some
    POST   /sandbox/settle                 apply pending writes now: {"applied": 3}
    GET    /sandbox/state                  the whole workspace, as `state` describes
    PUT    /sandbox/state                  replace it by another
"""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from reconciler.sandbox.faults import FaultPlan, fault_from_json
from reconciler.sandbox.http import Request, Response, answer
from reconciler.sandbox.people import IdType
from reconciler.sandbox.request_log import Journal
from reconciler.sandbox.settings import SandboxError
from reconciler.sandbox.storage import dump_state, load_state, parse_segment
from reconciler.sandbox.workspace import Segment, UsedBy, Workspace

_CHANGEABLE = frozenset({"name", "description", "type", "state", "progress", "tags", "used_by"})


class Control:
    """Answers requests below `/sandbox`."""

    def __init__(
        self, workspace: Workspace, faults: FaultPlan, journal: Journal, clock: Callable[[], float], url: str = ""
    ) -> None:
        self.url = url
        self._workspace = workspace
        self._faults = faults
        self._journal = journal
        self._clock = clock

    def answer(self, request: Request) -> Response:
        """Do what the request asks; whatever is wrong with it becomes an answer, too."""
        if "origin" in request.headers or not is_loopback_authority(request.headers.get("host", "")):
            return answer({"error": "the sandbox takes no requests from browsers or other hosts"}, 403)
        try:
            return self._answer(request)
        except SandboxError as error:
            return answer({"error": str(error)}, 404 if str(error).startswith("there is no segment") else 400)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return answer({"error": f"the body does not have the expected form ({type(error).__name__})"}, 400)

    def _answer(self, request: Request) -> Response:
        match request.method, request.parts[1:]:
            case "GET", ():
                return answer(self._summary())
            case "POST", ("people",):
                rows = [(person.get("id"), person.get("email")) for person in request.payload["people"]]
                _check_strings(value for row in rows for value in row if value is not None)
                return answer({"people": self._workspace.add_people(rows)})
            case _, ("segments", *rest):
                return self._segments(request, rest)
            case _, ("faults",):
                return self._answer_faults(request)
            case "GET", ("calls",):
                with_ids = request.query.get("ids", "1") != "0"
                calls = [call.as_json(with_ids) for call in self._journal.calls()]
                return answer({"calls": calls, "totals": self._journal.totals(), "peak": self._journal.peak})
            case "DELETE", ("calls",):
                self._journal.clear()
                return answer({})
            case "GET", ("settings",):
                return answer(self._workspace.settings.as_json())
            case "PATCH", ("settings",):
                return answer(self._workspace.change_settings(**request.payload).as_json())
            case "POST", ("settle",):
                return answer({"applied": self._workspace.settle()})
            case "GET", ("state",):
                return answer(dump_state(self._workspace, self._clock()))
            case "PUT", ("state",):
                self._replace_state(request.payload)
                return answer({})
            case _:
                return answer({"error": "no such place or method below /sandbox"}, 404)

    def _summary(self) -> dict[str, Any]:
        segments = [
            {"id": segment.id, "name": segment.name, "type": segment.type, "size": self._workspace.size(segment.id)}
            for segment in self._workspace.segments()
        ]
        return {
            "url": self.url,
            "people": self._workspace.people_count(),
            "segments": segments,
            "pending": len(self._workspace.pending()),
            "totals": self._journal.totals(),
        }

    def _segments(self, request: Request, rest: list[str]) -> Response:
        match request.method, rest:
            case "POST", []:
                return answer(_segment_json(self._create_segment(request.payload)))
            case "PATCH", [number]:
                changes = _segment_fields(request.payload)
                return answer(_segment_json(self._workspace.change_segment(int(number), **changes)))
            case "DELETE", [number]:
                if not self._workspace.delete_segment(int(number)):
                    raise SandboxError(f"there is no segment {number}")
                return answer({})
            case method, [number, "members"]:
                return self._members(request, method, int(number))
            case _:
                return answer({"error": "no such place or method below /sandbox"}, 404)

    def _create_segment(self, wish: Mapping[str, Any] | str) -> Segment:
        if isinstance(wish, str):
            seed = parse_segment(wish)
            return self._workspace.create_segment(seed.name, id=seed.id, type=seed.type)
        fields = _segment_fields({name: value for name, value in wish.items() if name != "id"})
        return self._workspace.create_segment(id=wish.get("id"), **fields)

    def _members(self, request: Request, method: str, segment_id: int) -> Response:
        if method == "GET":
            kind = IdType(request.query.get("as", "id"))
            members = [person.value(kind) for person in self._workspace.members(segment_id)]
            return answer({"members": members, "size": len(members)})
        id_type = IdType(request.payload.get("id_type", "id"))
        if method == "PUT":
            self._workspace.set_members(segment_id, _check_strings(request.payload["members"]), id_type)
        elif method == "PATCH":
            add, remove = (_check_strings(request.payload.get(name, ())) for name in ("add", "remove"))
            self._workspace.add_members(segment_id, add, id_type)
            self._workspace.remove_members(segment_id, remove, id_type)
        else:
            return answer({"error": "members know GET, PUT and PATCH"}, 404)
        return answer({"size": self._workspace.size(segment_id)})

    def _answer_faults(self, request: Request) -> Response:
        if request.method == "POST":
            wish = request.payload
            several = wish["faults"] if isinstance(wish, dict) and "faults" in wish else [wish]
            self._faults.add(*[fault_from_json(fault) for fault in several])
        elif request.method == "DELETE":
            self._faults.clear()
        elif request.method != "GET":
            return answer({"error": "faults know GET, POST and DELETE"}, 404)
        return answer({"faults": [{**fault.as_json(), "struck": struck} for fault, struck in self._faults.listed()]})

    def _replace_state(self, document: Any) -> None:
        # Loaded aside first: a damaged document must not leave half a workspace behind.
        fresh = Workspace(self._workspace.settings, self._clock, lambda: 0)
        load_state(fresh, document)
        self._workspace.adopt(fresh)


def is_loopback_authority(authority: str) -> bool:
    """Whether a Host header names this machine; a browser lured by DNS would send another name."""
    try:
        return is_loopback(urlsplit(f"//{authority}").hostname or "")
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _segment_fields(wish: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(wish) - _CHANGEABLE)
    if unknown:
        raise SandboxError(f"segment: unknown {unknown}; the fields are {sorted(_CHANGEABLE)}")
    fields = dict(wish)
    if fields.get("tags") is not None:
        fields["tags"] = tuple(fields["tags"])
    if "used_by" in fields:
        fields["used_by"] = UsedBy(**{name: tuple(numbers) for name, numbers in fields["used_by"].items()})
    return fields


def _segment_json(segment: Segment) -> dict[str, Any]:
    return {"id": segment.id, "name": segment.name, "type": segment.type}


def _check_strings(values: Any) -> list[str]:
    listed = list(values)
    if isinstance(values, str) or not all(isinstance(value, str) for value in listed):
        raise SandboxError("identifiers must be a list of strings")
    return listed
