"""A stored JSON document (one past run whole) as text, whatever is in it."""

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.render.tables import Cell, Column
from reconciler.render.text.page import Page

# In the order in which they matter; whatever else there is comes last, and goes first where space is short.
_KNOWN = (
    *("status", "name", "removed", "added", "segment_id", "rejected", "unsettled", "unmatched", "resent"),
    *("stored", "remote", "missing", "foreign", "lingering", "strangers", "adopted", "desired", "seconds"),
)
_KEPT = 2
_ASIDE = ("error", "guards", "used_by", "examples")


def past_run(document: Mapping[str, Any], width: int = 80, color: bool = False) -> str:
    """Show one past run from the JSON document that it left."""
    page = Page(width, color)
    for key, value in document.items():
        if isinstance(value, str | int | float):
            page.paragraph(f"{_say(key)}: {value}")
    page.gap()
    segments = [each for each in _list(document.get("segments")) if isinstance(each, Mapping)]
    if segments:
        _show_segments(page, segments)
    for warning in _list(document.get("warnings")):
        page.paragraph(f"Warning: {warning}", style="yellow")
    summary = document.get("summary")
    if isinstance(summary, Mapping):
        page.paragraph(
            ", ".join(f"{_say(key)} {_write(value)}" for key, value in summary.items() if value is not None),
            style="bold",
        )
    return page.text()


def _show_segments(page: Page, segments: Sequence[Mapping[str, Any]]) -> None:
    keys = list(dict.fromkeys(key for each in segments for key in each if key not in _ASIDE))
    ordered = [*(key for key in _KNOWN if key in keys), *(key for key in keys if key not in _KNOWN)]
    columns = [_column(key, place, segments) for place, key in enumerate(ordered)]
    page.table(columns, [[Cell(_write(each.get(key))) for key in ordered] for each in segments])
    page.gap()
    for each in segments:
        error = each.get("error")
        if isinstance(error, Mapping):
            page.paragraph(f"{each.get('name')}: {error.get('message')}", style="red", marker="✗")
            page.paragraph(str(error.get("hint") or ""), indent=4)
    page.gap()


def _column(key: str, place: int, segments: Sequence[Mapping[str, Any]]) -> Column:
    numeric = all(not isinstance(each.get(key), str) for each in segments)
    drop = 0 if key in _KNOWN[:_KEPT] else 1 + place
    return Column(_say(key), right=numeric, drop=drop, flexible=not numeric)


def _say(key: object) -> str:
    return str(key).replace("_", " ")


def _write(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []
