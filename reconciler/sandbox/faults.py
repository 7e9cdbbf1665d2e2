"""Faults: what goes wrong, with which requests, how often.

A fault is a value; `FaultPlan` holds a list of them and says, for each request, which one strikes: the first in order
that concerns the request, has let `skip` requests pass, has strikes left and wins its throw of the dice.

As text (`--fault`, `POST /sandbox/faults`) a fault is a comma-separated list. What goes wrong, one of:

    status=503        answer this status; nothing is changed, or with after=change everything is
    drop              close the connection without an answer; likewise
    hang=30           wait so many seconds before the change (or, with after=change, after it), then answer
    late=5            answer 200 at once, apply the write 5 seconds later (`never` too); goes with drop and status
    poison=ID         a batch that contains the id gets 400 (repeat it for more ids); strikes for ever
    shift=1           a membership page that is not the first repeats one row of the one before; -1 leaves one out

and whom it concerns, how often: api=track|app, path=GLOB (the end of a path will do: path=add_customers), segment=56,
direction=add|remove, method=POST, times=2 (or `forever`; default 1), skip=3, probability=0.1; and details:
after=change, retry-after=2.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from threading import Lock
from typing import Any

from reconciler.sandbox.request_log import Api, Call
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


def parse_fault(text: str) -> Fault:
    """A fault from its text form (see the module's docstring); raises `SandboxError`, which says what is wrong."""
    items = [item.strip() for item in text.split(",") if item.strip()]
    chosen: dict[str, Any] = {"ids": frozenset()}
    for item in items:
        name, equals, value = item.partition("=")
        reader = _READERS.get(name.strip().lower().replace("_", "-"))
        if reader is None or (not equals and name.strip() != Kind.DROP):
            raise SandboxError(f"fault: {item!r} is not understood; {_usage()}")
        try:
            read = reader(value.strip())
        except ValueError as error:
            raise SandboxError(f"fault: {item!r}: {error}") from None
        read = {**read, "ids": chosen["ids"] | read.get("ids", frozenset())}
        chosen.update(_with_kind(chosen, read))
    if "kind" not in chosen:
        raise SandboxError(f"fault: it does not say what goes wrong; {_usage()}")
    return _with_defaults(chosen)


def fault_from_json(document: Mapping[str, Any] | str) -> Fault:
    """A fault from a text, or from an object with the fields of `Fault` (`kind` and whatever else is needed)."""
    if isinstance(document, str):
        return parse_fault(document)
    known = {item.name for item in fields(Fault)}
    unknown = sorted(set(document) - known)
    if unknown or "kind" not in document:
        raise SandboxError(f"fault: unknown {unknown}, kind needed; the fields are {sorted(known)}")
    chosen = dict(document)
    try:
        for name, kind in (("kind", Kind), ("moment", Moment), ("api", Api), ("direction", Direction)):
            if chosen.get(name) is not None:
                chosen[name] = kind(chosen[name])
    except ValueError as error:
        raise SandboxError(f"fault: {error}") from None
    if chosen.get("apply_delay") is not None:
        chosen["apply_delay"] = parse_seconds("apply_delay", chosen["apply_delay"])
    return _with_defaults({**chosen, "ids": frozenset(chosen.get("ids", ()))})


def _with_kind(chosen: Mapping[str, Any], read: Mapping[str, Any]) -> Mapping[str, Any]:
    """Lateness goes with another kind; any other two kinds contradict each other."""
    kinds: set[Kind] = {values["kind"] for values in (chosen, read) if "kind" in values}
    if len(kinds) == 2 and Kind.LATE not in kinds:
        raise SandboxError(f"fault: {' and '.join(sorted(kinds))} in one; give two faults instead")
    kind = next(iter(kinds - {Kind.LATE}), Kind.LATE if kinds else None)
    return {**read, "kind": kind} if kind is not None else read


def _with_defaults(chosen: Mapping[str, Any]) -> Fault:
    if chosen["kind"] is Kind.POISON and "times" not in chosen:
        chosen = {**chosen, "times": None}
    if chosen.get("apply_delay") is not None and chosen["kind"] in (Kind.DROP, Kind.STATUS):
        chosen = {**chosen, "moment": Moment.AFTER}  # what is to be applied late must have been accepted
    return Fault(**chosen)


def _usage() -> str:
    return f"what goes wrong is one of status=, drop, hang=, late=, poison=, shift=; then {', '.join(_MODIFIERS)}"


def _read_whole(name: str, least: int | None = None) -> Callable[[str], dict[str, Any]]:
    def read(value: str) -> dict[str, Any]:
        try:
            number = int(value)
        except ValueError:
            raise SandboxError("a whole number is needed") from None
        if least is not None and number < least:
            raise SandboxError(f"at least {least} is needed")
        return {name: number}

    return read


def _read_status(value: str) -> dict[str, Any]:
    read = _read_whole("status", least=200)(value)
    if read["status"] > 599:
        raise SandboxError("a status from 200 to 599 is needed")
    return {"kind": Kind.STATUS, **read}


def _read_moment(value: str) -> dict[str, Any]:
    if value != "change":
        raise SandboxError("only after=change is understood; skip=N lets the first N requests pass")
    return {"moment": Moment.AFTER}


def _read_times(value: str) -> dict[str, Any]:
    return {"times": None} if value in ("forever", "null") else _read_whole("times", least=1)(value)


def _read_probability(value: str) -> dict[str, Any]:
    number = parse_seconds("probability", value)
    if number > 1:
        raise SandboxError("a number from 0 to 1 is needed")
    return {"probability": number}


_READERS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "status": _read_status,
    "drop": lambda _: {"kind": Kind.DROP},
    "hang": lambda value: {"kind": Kind.HANG, "seconds": parse_seconds("hang", value)},
    "late": lambda value: {"kind": Kind.LATE, "apply_delay": parse_seconds("late", value)},
    "poison": lambda value: {"kind": Kind.POISON, "ids": frozenset([value])},
    "shift": lambda value: {"kind": Kind.SHIFT, **_read_whole("rows")(value)},
    "after": _read_moment,
    "times": _read_times,
    "skip": _read_whole("skip", least=0),
    "probability": _read_probability,
    "api": lambda value: {"api": Api(value)},
    "path": lambda value: {"path": value},
    "method": lambda value: {"method": value.upper()},
    "segment": _read_whole("segment_id"),
    "direction": lambda value: {"direction": Direction(value)},
    "retry-after": lambda value: {"retry_after": value},
}
_MODIFIERS = tuple(name for name in _READERS if name not in set(Kind))
