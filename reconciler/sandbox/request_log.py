"""The request log: what was asked of the sandbox, so that a test can assert what was sent and what not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock

from reconciler.sandbox.http import Request, parse_number
from reconciler.sandbox.workspace import Direction

DIRECTIONS = {"add_customers": Direction.ADD, "remove_customers": Direction.REMOVE}


class Api(StrEnum):
    """Which of the two surfaces a path belongs to; `other` is neither."""

    TRACK = "track"
    APP = "app"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it was received, and how it ended.

    `query` has the parameters of the URL. `ids` is what an add or a remove sent (None where the body had no list of
    strings) and `id_count` their number. `status` is None while the request is being answered, and for good when the
    connection was dropped. `fault` names the kind of the fault that applied.
    """

    number: int
    api: Api
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    segment_id: int | None = None
    direction: Direction | None = None
    id_type: str | None = None
    ids: tuple[str, ...] | None = field(default=None, repr=False)
    id_count: int = 0
    status: int | None = None
    fault: str | None = None


def describe(request: Request, number: int) -> Call:
    """Describe a request as the log and the faults see it."""
    api = {"api": Api.TRACK, "v1": Api.APP}.get(request.parts[0], Api.OTHER)
    rest = request.parts[2:] if api is Api.TRACK else request.parts[1:]
    is_about_segment = len(rest) > 1 and rest[0] == "segments"
    segment_id = parse_number(rest[1]) if is_about_segment else None
    direction = DIRECTIONS.get(rest[2]) if is_about_segment and api is Api.TRACK and len(rest) == 3 else None
    id_type = request.query.get("id_type", None if direction is None else "id")
    ids = None if direction is None else request.ids
    return Call(
        number,
        api,
        request.method,
        request.path,
        request.query,
        segment_id,
        direction,
        id_type,
        ids,
        id_count=len(ids or ()),
    )


class RequestLog:
    """The latest calls; `limit` is how many are kept (None: all). Thread-safe."""

    def __init__(self, limit: int | None = 10_000) -> None:
        self._limit = limit
        self._lock = Lock()
        self._calls: dict[int, Call] = {}

    def begin(self, call: Call) -> None:
        """Keep a request that has arrived."""
        with self._lock:
            self._calls[call.number] = call
            while self._limit is not None and len(self._calls) > self._limit:
                del self._calls[next(iter(self._calls))]

    def end(self, call: Call) -> None:
        """Keep how a request ends: it is about to be answered, or its connection to be dropped."""
        with self._lock:
            if call.number in self._calls:
                self._calls[call.number] = call

    def calls(self) -> list[Call]:
        """Return the kept calls by their numbers: two that arrive at once may be kept the other way round."""
        with self._lock:
            return sorted(self._calls.values(), key=lambda call: call.number)

    def clear(self) -> None:
        """Forget all calls."""
        with self._lock:
            self._calls.clear()
