"""A JSON document of any fields (a past run whole, a segment of the state) as a report."""

from collections.abc import Mapping
from typing import Any

from reconciler.models.plan import Problem
from reconciler.render.report import Cell, Column, Line, Report, Trouble

# In the order in which they matter; the other fields come last, and go first where space is short.
_KNOWN = (
    *("status", "name", "removed", "added", "segment_id", "rejected", "unsettled", "unmatched", "appeared", "resent"),
    *("stored", "remote", "missing", "foreign", "lingering", "strangers", "adopted", "desired", "seconds"),
)
_KEPT = 2
_NOT_IN_THE_TABLE = ("error", "guards", "used_by", "examples")

Document = Mapping[str, Any]


def describe(document: Document, kind: str) -> Report:
    """Show the plain values as facts, the segments as a table, and their errors below; the numbers come last."""
    segments = [each for each in _list(document.get("segments")) if isinstance(each, Mapping)]
    keys = list(dict.fromkeys(key for each in segments for key in each if key not in _NOT_IN_THE_TABLE))
    ordered = [*(key for key in _KNOWN if key in keys), *(key for key in keys if key not in _KNOWN)]
    errors = [(each.get("name"), each["error"]) for each in segments if isinstance(each.get("error"), Mapping)]
    summary = document.get("summary")
    numbers = summary.items() if isinstance(summary, Mapping) else ()
    facts = []
    for key, value in document.items():  # plain values, and lists of plain values that are not empty
        values = value if isinstance(value, list) else [value]
        if key != "warnings" and values and all(isinstance(each, str | int | float) for each in values):
            facts.append(f"{_name(key)}: {', '.join(map(str, values))}")
    columns = []
    for place, key in enumerate(ordered):
        numeric = all(not isinstance(each.get(key), str) for each in segments)
        drop = 0 if key in _KNOWN[:_KEPT] else 1 + place
        columns.append(Column(_name(key), right=numeric, drop=drop, flexible=not numeric))
    return Report(
        kind,
        ", ".join(f"{_name(key)} {_write(value)}" for key, value in numbers if value is not None),
        facts=tuple(facts),
        columns=columns,
        lines=tuple(Line([Cell(_write(each.get(key))) for key in ordered]) for each in segments),
        troubles=tuple(
            Trouble(_write(name), problem=Problem("", _write(error.get("message")), _write(error.get("hint"))))
            for name, error in errors
        ),
        warnings=tuple(map(str, _list(document.get("warnings")))),
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _name(key: object) -> str:
    return str(key).replace("_", " ")


def _write(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
