"""Faults: what goes wrong, with which requests, how often.

A fault is a value; `FaultPlan` holds a list of them and decides, for each request, which one applies: the first in
order that matches the request, has let `skip` requests pass, has not applied `times` times and wins by `probability`.

As text (`--fault`, `POST /sandbox/faults`) a fault is a comma-separated list. What goes wrong, one of:

    status=503        answer this status; nothing is changed, or with after=change everything is
    drop              close the connection without an answer; likewise
    hang=30           wait 30 seconds before the change (or, with after=change, after it), then answer
    late=5            answer 200 at once, apply the write 5 seconds later (`never` too); goes with drop and status
    poison=ID         a batch that contains the id gets 400 (repeat it for more ids); applies for ever
    shift=1           a membership page that is not the first repeats one row of the one before; -1 leaves one out

and which requests, how often: api=track|app, path=GLOB (the end of a path will do: path=add_customers), segment=56,
direction=add|remove, method=POST, times=2 (or `forever`; default 1), skip=3, probability=0.1; and details:
after=change, retry-after=2.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from threading import Lock
from typing import Any

from reconciler.sandbox.http import Api, Call
from reconciler.sandbox.settings import NEVER, SandboxError, parse_seconds
from reconciler.sandbox.workspace import Direction


class Kind(StrEnum):
    """What goes wrong."""

    STATUS = "status"
    DROP = "drop"
    HANG = "hang"
    LATE = "late"
    POISON = "poison"
    SHIFT = "shift"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. The constructors below and `parse_fault` are the easy ways to one.

    `after_change`: it happens once the request has taken effect. `seconds` is the length of a hang, `apply_delay`
    (seconds) puts off the change, `rows` shifts a page. `body` and `content_type` replace the answer of a `status`
    fault. `times` None is for ever.
    """

    kind: Kind
    after_change: bool = False
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

    def matches(self, call: Call) -> bool:
        """Return whether this request is one that the fault is about."""
        return (
            (self.api is None or self.api is call.api)
            and (self.method is None or self.method == call.method)
            and (self.segment_id is None or self.segment_id == call.segment_id)
            and (self.direction is None or self.direction is call.direction)
            and (self.path is None or fnmatchcase(call.path, self.path) or fnmatchcase(call.path, f"*/{self.path}"))
            and (self.kind is not Kind.POISON or not self.ids.isdisjoint(call.ids or ()))
            and (self.kind is not Kind.SHIFT or bool(call.path.endswith("/membership") and call.query.get("start")))
        )


def answers(status: int, after_change: bool = False, **more: Any) -> Fault:
    """Answer with a status; `more` are fields of `Fault`, such as `times=2`, `retry_after="1"`, `path=…`."""
    return Fault(Kind.STATUS, after_change, status=status, **more)


def drops(after_change: bool = False, **more: Any) -> Fault:
    """Close the connection without an answer."""
    return Fault(Kind.DROP, after_change, **more)


def hangs(seconds: float, after_change: bool = False, **more: Any) -> Fault:
    """Let the client wait. A client that gives up meanwhile does not stop the change."""
    return Fault(Kind.HANG, after_change, seconds=seconds, **more)


def late(seconds: float = NEVER, **more: Any) -> Fault:
    """Acknowledge a write and apply it `seconds` later, or never (but see `Workspace.settle`)."""
    return Fault(Kind.LATE, apply_delay=seconds, **more)


def poison(*ids: str, **more: Any) -> Fault:
    """Refuse each batch that contains one of the ids with 400; for ever unless `times` says otherwise."""
    return Fault(Kind.POISON, ids=frozenset(ids), **{"times": None, **more})


def shifts(rows: int = 1, **more: Any) -> Fault:
    """Start a later membership page `rows` early (rows repeat), or, below 0, late (rows are missing)."""
    return Fault(Kind.SHIFT, rows=rows, **more)


@dataclass(slots=True)
class _Entry:
    fault: Fault
    seen: int = 0
    applied: int = 0


class FaultPlan:
    """The faults of a sandbox, in order, and how often each has applied. Thread-safe."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._entries = [_Entry(fault) for fault in faults]
        self._rng = random.Random(0)  # noqa: S311 - the same outcomes in every run are wanted
        self._lock = Lock()

    def add(self, *faults: Fault) -> None:
        """Put faults at the end of the list."""
        with self._lock:
            self._entries.extend(_Entry(fault) for fault in faults)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._entries.clear()

    def listed(self) -> list[tuple[Fault, int]]:
        """Return each fault, and how often it has applied."""
        with self._lock:
            return [(entry.fault, entry.applied) for entry in self._entries]

    def choose(self, call: Call) -> Fault | None:
        """Return the fault that applies to this request, if any."""
        if not self._entries:
            return None
        with self._lock:
            for entry in self._entries:
                fault = entry.fault
                if not fault.matches(call):
                    continue
                entry.seen += 1
                if entry.seen <= fault.skip or (fault.times is not None and entry.applied >= fault.times):
                    continue
                if fault.probability == 1 or self._rng.random() < fault.probability:
                    entry.applied += 1
                    return fault
        return None


def parse_fault(text: str) -> Fault:
    """Parse a fault from its text form (see above). Raises `SandboxError`, which says what is wrong."""
    chosen: dict[str, Any] = {}
    kinds: set[Kind] = set()
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, equals, value = item.partition("=")
        name = name.strip().lower().replace("_", "-")
        if name not in PARSERS or (not equals and name != Kind.DROP):
            raise SandboxError(f"fault: {item!r} is not understood; {USAGE}")
        field_name, parse = PARSERS[name]
        try:
            parsed = parse(value.strip())
        except ValueError as error:
            raise SandboxError(f"fault: {item!r}: {error}") from None
        if name in set(Kind):
            kinds.add(Kind(name))
        chosen[field_name] = chosen.get("ids", frozenset()) | parsed if field_name == "ids" else parsed
    if not kinds:
        raise SandboxError(f"fault: it does not say what goes wrong; {USAGE}")
    if len(kinds - {Kind.LATE}) > 1:
        raise SandboxError(f"fault: {' and '.join(sorted(kinds))} in one; give two faults instead")
    kind = next(iter(kinds - {Kind.LATE}), Kind.LATE)
    if kind is Kind.POISON:
        chosen.setdefault("times", None)
    if Kind.LATE in kinds and kind in (Kind.DROP, Kind.STATUS):
        chosen["after_change"] = True  # what is to be applied late must have been accepted
    chosen.pop("kind", None)
    return Fault(kind, **chosen)


def _whole(least: int | None = None, most: int | None = None) -> Callable[[str], int]:
    """Make a parser of whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise SandboxError("a whole number is needed") from None
        if least is not None and number < least:
            raise SandboxError(f"at least {least} is needed")
        if most is not None and number > most:
            raise SandboxError(f"at most {most} is possible")
        return number

    return parse


def _parse_probability(text: str) -> float:
    number = parse_seconds("probability", text)
    if number > 1:
        raise SandboxError("a number from 0 to 1 is needed")
    return number


def _parse_after(text: str) -> bool:
    if text != "change":
        raise SandboxError("only after=change is understood; skip=N lets the first N requests pass")
    return True


PARSERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "status": ("status", _whole(200, 599)),
    "drop": ("kind", str),
    "hang": ("seconds", lambda text: parse_seconds("hang", text)),
    "late": ("apply_delay", lambda text: parse_seconds("late", text)),
    "poison": ("ids", lambda text: frozenset([text])),
    "shift": ("rows", _whole()),
    "after": ("after_change", _parse_after),
    "times": ("times", lambda text: None if text in ("forever", "null") else _whole(1)(text)),
    "skip": ("skip", _whole(0)),
    "probability": ("probability", _parse_probability),
    "api": ("api", Api),
    "path": ("path", str),
    "method": ("method", str.upper),
    "segment": ("segment_id", _whole()),
    "direction": ("direction", Direction),
    "retry-after": ("retry_after", str),
}
"""The names of a fault's text form: the field of `Fault` that each sets, and how its value is parsed."""

USAGE = "what goes wrong is one of status=, drop, hang=, late=, poison=, shift=; then " + ", ".join(
    name for name in PARSERS if name not in set(Kind)
)
