"""The journal: what was asked of the sandbox, call by call, so that a test can assert what was sent and what not."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from threading import Lock
from typing import Any

from reconciler.sandbox.http import Request, segment_number
from reconciler.sandbox.workspace import Direction


class Api(StrEnum):
    """Which of the two surfaces a path belongs to; `other` is neither."""

    TRACK = "track"
    APP = "app"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it was seen, and how it ended.

    `time` is seconds on the sandbox's clock. `query` has the parameters of the URL. `ids` is what an add or a remove
    sent (None where the journal keeps no ids, or the body had no list of strings) and `id_count` their number. `status`
    is None while the request is being answered, and for good when the connection was dropped. `accepted` says that the
    handler ran and took the request, whatever was answered then. `fault` names the kind of the fault that struck.
    """

    number: int
    time: float
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
    accepted: bool = False
    fault: str | None = None

    def as_json(self, with_ids: bool = True) -> dict[str, Any]:
        """The call as JSON; ids on request only."""
        document = {name: getattr(self, name) for name in self.__dataclass_fields__}
        document["ids"] = list(self.ids) if with_ids and self.ids is not None else None
        return document


def describe(request: Request, number: int, time: float) -> Call:
    """A request as the journal and the faults see it."""
    api = {"api": Api.TRACK, "v1": Api.APP}.get(request.parts[0], Api.OTHER)
    segment_id, direction = _segment_and_direction(api, request.parts)
    call = Call(number, time, api, request.method, request.path, request.query, segment_id)
    if direction is None:
        return replace(call, id_type=request.query.get("id_type"))
    id_type, ids = request.query.get("id_type", "id"), request.ids
    return replace(call, direction=direction, id_type=id_type, ids=ids, id_count=len(ids or ()))


def _segment_and_direction(api: Api, parts: tuple[str, ...]) -> tuple[int | None, Direction | None]:
    rest = parts[2:] if api is Api.TRACK else parts[1:]
    if len(rest) < 2 or rest[0] != "segments":
        return None, None
    directions = {"add_customers": Direction.ADD, "remove_customers": Direction.REMOVE}
    direction = directions.get(rest[2]) if len(rest) == 3 and api is Api.TRACK else None
    return segment_number(rest[1]), direction


class Journal:
    """The latest calls in order of arrival, and counts of all of them. Thread-safe.

    `limit` is how many calls are kept (None: all, 0: none, only counts); `keep_ids` False drops the ids of each.
    """

    def __init__(self, limit: int | None = 10_000, keep_ids: bool = True) -> None:
        self.limit = limit
        self.keep_ids = keep_ids
        self._lock = Lock()
        self._calls: dict[int, Call] = {}
        self._totals: Counter[str] = Counter()
        self._in_flight = 0
        self._peak = 0

    def open(self, call: Call) -> None:
        """A request has arrived."""
        with self._lock:
            self._in_flight += 1
            self._peak = max(self._peak, self._in_flight)
            self._calls[call.number] = self._kept(call)
            while self.limit is not None and len(self._calls) > self.limit:
                del self._calls[next(iter(self._calls))]

    def close(self, call: Call) -> None:
        """The request is about to be answered, or its connection to be dropped."""
        with self._lock:
            self._in_flight -= 1
            self._totals[f"{call.api} {call.method} {call.status or 'dropped'}"] += 1
            if call.number in self._calls:
                self._calls[call.number] = self._kept(call)

    def calls(self, select: Callable[[Call], bool] | None = None) -> list[Call]:
        """The kept calls by their numbers: two that arrive at once may be written down the other way round."""
        with self._lock:
            kept = sorted(self._calls.values(), key=lambda call: call.number)
        return [call for call in kept if select is None or select(call)]

    def totals(self) -> dict[str, int]:
        """How many calls ended how, by `api METHOD status`; counts those that were not kept, too."""
        with self._lock:
            return dict(self._totals)

    @property
    def peak(self) -> int:
        """The most requests that were ever being answered at once."""
        return self._peak

    def clear(self) -> None:
        """Forget all calls and counts."""
        with self._lock:
            self._calls.clear()
            self._totals.clear()
            self._peak = self._in_flight

    def _kept(self, call: Call) -> Call:
        if self.keep_ids or call.ids is None:
            return call
        return replace(call, ids=None)
