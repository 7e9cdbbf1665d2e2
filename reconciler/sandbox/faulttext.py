"""Faults as text and as JSON.

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

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from reconciler.sandbox.calls import Api
from reconciler.sandbox.faults import Fault, Kind, Moment
from reconciler.sandbox.settings import SandboxError, parse_seconds
from reconciler.sandbox.workspace import Direction


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
