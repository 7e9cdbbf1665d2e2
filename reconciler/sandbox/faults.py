"""Faults: what goes wrong, with which requests, how often.

A fault is a value; `FaultPlan` holds a list of them and says, for each request, which one strikes: the first in order
that concerns the request, has let `skip` requests pass, has strikes left and wins its throw of the dice.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from threading import Lock
from typing import Any

from reconciler.sandbox.calls import Api, Call
from reconciler.sandbox.settings import NEVER
from reconciler.sandbox.workspace import Direction


class Kind(StrEnum):
    """What goes wrong."""

    STATUS = "status"
    DROP = "drop"
    HANG = "hang"
    LATE = "late"
    POISON = "poison"
    SHIFT = "shift"


class Moment(StrEnum):
    """Whether it goes wrong before or after the request took effect."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. The constructors below and `parse_fault` are the easy ways to one.

    `seconds` is the length of a hang, `apply_delay` (seconds) puts off the change, `rows` shifts a page. `body` and
    `content_type` replace the answer of a `status` fault. `times` None is for ever.
    """

    kind: Kind
    moment: Moment = Moment.BEFORE
    status: int = 500
    body: str | None = None
    content_type: str = "application/json; charset=utf-8"
    retry_after: str | None = None
    seconds: float = 0.0
    apply_delay: float | None = None
    rows: int = 0
    ids: frozenset[str] = field(default=frozenset(), repr=False)
    api: Api | None = None
    method: str | None = None
    path: str | None = None
    segment_id: int | None = None
    direction: Direction | None = None
    times: int | None = 1
    skip: int = 0
    probability: float = 1.0

    def concerns(self, call: Call) -> bool:
        """Whether this request is one that the fault is about."""
        return (
            (self.api is None or self.api is call.api)
            and (self.method is None or self.method == call.method)
            and (self.segment_id is None or self.segment_id == call.segment_id)
            and (self.direction is None or self.direction is call.direction)
            and (self.path is None or fnmatchcase(call.path, self.path) or fnmatchcase(call.path, f"*/{self.path}"))
            and (self.kind is not Kind.POISON or not self.ids.isdisjoint(call.ids or ()))
            and (self.kind is not Kind.SHIFT or bool(call.path.endswith("/membership") and call.query.get("start")))
        )

    def as_json(self) -> dict[str, Any]:
        """Every field that is not at its default."""
        document = {
            item.name: getattr(self, item.name) for item in fields(self) if getattr(self, item.name) != item.default
        }
        document["times"] = self.times
        if self.apply_delay == NEVER:
            document["apply_delay"] = "never"
        if self.ids:
            document["ids"] = sorted(self.ids)
        else:
            document.pop("ids", None)
        return document


def answers(status: int, after_change: bool = False, **more: Any) -> Fault:
    """Answer with a status; `more` are fields of `Fault`, such as `times=2`, `retry_after="1"`, `path=…`."""
    return Fault(Kind.STATUS, _moment(after_change), status=status, **more)


def drops(after_change: bool = False, **more: Any) -> Fault:
    """Close the connection without an answer."""
    return Fault(Kind.DROP, _moment(after_change), **more)


def hangs(seconds: float, after_change: bool = False, **more: Any) -> Fault:
    """Let the client wait. A client that gives up meanwhile does not stop the change."""
    return Fault(Kind.HANG, _moment(after_change), seconds=seconds, **more)


def late(seconds: float = NEVER, **more: Any) -> Fault:
    """Acknowledge a write and apply it so many seconds later, or never (but see `Workspace.settle`)."""
    return Fault(Kind.LATE, apply_delay=seconds, **more)


def poison(*ids: str, **more: Any) -> Fault:
    """Refuse each batch that contains one of the ids with 400; for ever unless told otherwise."""
    return Fault(Kind.POISON, ids=frozenset(ids), **{"times": None, **more})


def shifts(rows: int = 1, **more: Any) -> Fault:
    """Start a later membership page `rows` early (rows repeat), or, below 0, late (rows are missing)."""
    return Fault(Kind.SHIFT, rows=rows, **more)


def _moment(after_change: bool) -> Moment:
    return Moment.AFTER if after_change else Moment.BEFORE


@dataclass(slots=True)
class _Entry:
    fault: Fault
    seen: int = 0
    struck: int = 0


class FaultPlan:
    """The faults of a sandbox, in order, and how often each has struck. Thread-safe."""

    def __init__(self, faults: Iterable[Fault] = (), rng: random.Random | None = None) -> None:
        self._entries = [_Entry(fault) for fault in faults]
        self._rng = rng or random.Random(0)  # noqa: S311 - dice that fall the same way in every run are wanted
        self._lock = Lock()

    def add(self, *faults: Fault) -> None:
        """Put faults at the end of the list."""
        with self._lock:
            self._entries.extend(_Entry(fault) for fault in faults)

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        with self._lock:
            self._entries.clear()

    def listed(self) -> list[tuple[Fault, int]]:
        """Each fault, and how often it has struck."""
        with self._lock:
            return [(entry.fault, entry.struck) for entry in self._entries]

    def strike(self, call: Call) -> Fault | None:
        """The fault that hits this request, if any."""
        if not self._entries:
            return None
        with self._lock:
            return next((entry.fault for entry in self._entries if self._strikes(entry, call)), None)

    def _strikes(self, entry: _Entry, call: Call) -> bool:
        fault = entry.fault
        if not fault.concerns(call):
            return False
        entry.seen += 1
        if entry.seen <= fault.skip or (fault.times is not None and entry.struck >= fault.times):
            return False
        if fault.probability < 1 and self._rng.random() >= fault.probability:
            return False
        entry.struck += 1
        return True
