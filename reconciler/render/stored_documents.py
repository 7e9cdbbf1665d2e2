"""What to show of a stored JSON document (one past run whole), whatever is in it."""

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.render.tables import Cell, Column, Row

# In the order in which they matter; whatever else there is comes last, and goes first where space is short.
_KNOWN = (
    *("status", "name", "removed", "added", "segment_id", "rejected", "unsettled", "unmatched", "appeared", "resent"),
    *("stored", "remote", "missing", "foreign", "lingering", "strangers", "adopted", "desired", "seconds"),
)
_KEPT = 2
_ASIDE = ("error", "guards", "used_by", "examples")

Document = Mapping[str, Any]


def list_facts(document: Document) -> list[str]:
    """`key: value` for each plain value at the top, and each list of plain values that is not empty."""
    facts = []
    for key, value in document.items():
        if isinstance(value, str | int | float):
            facts.append(f"{_say(key)}: {value}")
        elif key != "warnings" and value and _is_plain_list(value):
            facts.append(f"{_say(key)}: {', '.join(str(each) for each in value)}")
    return facts


def list_segments(document: Document) -> tuple[list[Column], list[Row]]:
    """The segments as a table."""
    segments = _find_segments(document)
    keys = list(dict.fromkeys(key for each in segments for key in each if key not in _ASIDE))
    ordered = [*(key for key in _KNOWN if key in keys), *(key for key in keys if key not in _KNOWN)]
    columns = [_column(key, place, segments) for place, key in enumerate(ordered)]
    return columns, [[Cell(_write(each.get(key))) for key in ordered] for each in segments]


def list_errors(document: Document) -> list[tuple[str, str, str]]:
    """Name, message and hint of each segment that has an error."""
    found = [(each, each["error"]) for each in _find_segments(document) if isinstance(each.get("error"), Mapping)]
    return [(_write(each.get("name")), _write(e.get("message")), _write(e.get("hint"))) for each, e in found]


def list_warnings(document: Document) -> list[str]:
    """The warnings."""
    warnings = document.get("warnings")
    return [str(warning) for warning in warnings] if isinstance(warnings, list) else []


def say_summary(document: Document) -> str:
    """The numbers of the summary in one line; those that are not known are left out."""
    summary = document.get("summary")
    known = summary.items() if isinstance(summary, Mapping) else ()
    return ", ".join(f"{_say(key)} {_write(value)}" for key, value in known if value is not None)


def _find_segments(document: Document) -> list[Document]:
    segments = document.get("segments")
    return [each for each in segments if isinstance(each, Mapping)] if isinstance(segments, list) else []


def _column(key: str, place: int, segments: Sequence[Document]) -> Column:
    numeric = all(not isinstance(each.get(key), str) for each in segments)
    drop = 0 if key in _KNOWN[:_KEPT] else 1 + place
    return Column(_say(key), right=numeric, drop=drop, flexible=not numeric)


def _is_plain_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str | int | float) for each in value)


def _say(key: object) -> str:
    return str(key).replace("_", " ")


def _write(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
