"""Charts as inline SVG, without any text: labels are the page's, so that they stay readable at every width.

A drawing is made of numbers alone, as `svg.py` escapes nothing. Its colours are classes of the page's style sheet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import svg
from markupsafe import Markup

T = TypeVar("T")

WIDTH, HEIGHT = 1000, 400
"""Units of a drawing, which is stretched to the width that there is."""

SPARK_WIDTH, SPARK_HEIGHT = 200, 60

STEPS = (1, 2, 2.5, 5, 10)
"""Times a power of ten: what the lines of a scale may be apart."""


@dataclass(frozen=True)
class Mark:
    """A label of a scale, and its place in percent of the width or the height."""

    text: str
    place: float


@dataclass(frozen=True)
class Chart:
    """A drawing with the labels of its scales."""

    drawing: Markup
    rows: Sequence[Mark]
    columns: Sequence[Mark]


def draw_line(points: Sequence[tuple[datetime, int]], most: int) -> Chart | None:
    """Draw what a number was over time, with an area below it; None where there are not two points."""
    kept = thin(points, most)
    if len(kept) < 2:
        return None
    values = [value for _, value in kept]
    rows = _choose_rows(min(values), max(values))
    begin, length = kept[0][0], (kept[-1][0] - kept[0][0]).total_seconds() or 1
    places = [
        svg.Point(round((moment - begin).total_seconds() * WIDTH / length), _height(value, rows))
        for moment, value in kept
    ]
    floor = [svg.Point(places[-1].x, HEIGHT), svg.Point(places[0].x, HEIGHT)]
    elements: list[svg.Element] = [
        *_draw_grid(rows),
        svg.Polygon(points=[*places, *floor], class_=["area"]),
        svg.Polyline(points=places, class_=["line"]),
    ]
    marks = [Mark(f"{value:,}", place) for value, place in _list_rows(rows)]
    return Chart(_write(elements, WIDTH, HEIGHT), marks, _mark_columns(kept[0][0], kept[-1][0]))


def draw_flow(points: Sequence[tuple[datetime, int, int]], most: int) -> Chart | None:
    """Draw how many entered, upwards, and left, downwards; of many points several are added up."""
    if len(points) < 2 or not sum(entered + left for _, entered, left in points):
        return None
    step = -(-len(points) // most)
    groups = [points[start : start + step] for start in range(0, len(points), step)]
    up = [sum(entered for _, entered, _ in group) for group in groups]
    down = [sum(left for _, _, left in group) for group in groups]
    up, down = _cut_off(up), _cut_off(down)
    rows = _choose_rows(-max(down), max(up))
    elements: list[svg.Element] = _draw_grid(rows)
    for values, name in ((up, "entered"), ([-value for value in down], "left")):
        corners = [svg.Point(0, _height(0, rows))]
        for at, value in enumerate(values):
            top = _height(value, rows)
            corners += [svg.Point(round(each * WIDTH / len(groups)), top) for each in (at, at + 1)]
        elements.append(svg.Polygon(points=[*corners, svg.Point(WIDTH, _height(0, rows))], class_=[name]))
    marks = [Mark(f"{abs(value):,}", place) for value, place in _list_rows(rows)]
    return Chart(_write(elements, WIDTH, HEIGHT), marks, _mark_columns(points[0][0], points[-1][0]))


def draw_spark(values: Sequence[int], most: int = 40) -> Markup:
    """Draw a number over time as one small line; nothing where there are not two values."""
    kept = thin(values, most)
    if len(kept) < 2:
        return Markup()
    low, high = min(kept), max(kept)
    places: list[svg.Point] = []
    for at, value in enumerate(kept):
        share = (value - low) / (high - low) if high > low else 0.5
        height = round(4 + (1 - share) * (SPARK_HEIGHT - 8))
        places.append(svg.Point(round(at * SPARK_WIDTH / (len(kept) - 1)), height))
    return _write([svg.Polyline(points=places, class_=["line"])], SPARK_WIDTH, SPARK_HEIGHT)


def thin(values: Sequence[T], most: int) -> list[T]:
    """Keep `most` values at most, in even steps; the last one always."""
    step = max(-(-len(values) // most), 1)
    return list(values[(len(values) - 1) % step :: step])


# --- scales ------------------------------------------------------------------------------------------------------


def _cut_off(values: Sequence[int]) -> list[int]:
    """Cut off what is far above the rest, as a first fill is, which would make all else a flat line.

    All but the highest of many values stay as they are, with some room above them.
    """
    ordered = sorted(values)
    usual = ordered[max(len(ordered) - 1 - len(ordered) // 20 - (len(ordered) > 4), 0)]
    edge = max(round(usual * 2), 1) if usual else ordered[-1]
    return [min(value, edge) for value in values]


def _choose_rows(low: float, high: float) -> tuple[float, float, float]:
    """Choose the lowest and the highest line of a scale for numbers of people, and what two lines are apart."""
    rough = max(high - low, 1) / 3
    power = 10 ** math.floor(math.log10(rough))
    step = next(each * power for each in STEPS if each * power >= rough)
    step = max(math.ceil(step), 1)
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    return bottom, top if top > bottom else bottom + step, step


def _list_rows(rows: tuple[float, float, float]) -> list[tuple[int, float]]:
    """Give the value of each line of a scale, and its place from below in percent."""
    low, high, step = rows
    number = round((high - low) / step)
    return [(round(low + at * step), round(100 * at / number, 1)) for at in range(number + 1)]


def _mark_columns(begin: datetime, end: datetime) -> list[Mark]:
    """Name the begin, the middle and the end of a time."""
    days = (end - begin).days
    form = "%H:%M" if days < 2 else "%b %-d" if days < 300 else "%b %-d, %Y"
    times = (begin, begin + (end - begin) / 2, end)
    return [Mark(each.strftime(form), place) for each, place in zip(times, (0, 50, 100), strict=True)]


def _height(value: float, rows: tuple[float, float, float]) -> int:
    low, high, _ = rows
    return round(HEIGHT - (value - low) * HEIGHT / (high - low))


def _draw_grid(rows: tuple[float, float, float]) -> list[svg.Element]:
    heights = [(value, _height(value, rows)) for value, _ in _list_rows(rows)]
    return [
        svg.Line(x1=0, x2=WIDTH, y1=height, y2=height, class_=["grid", "zero"] if value == 0 else ["grid"])
        for value, height in heights
    ]


def _write(elements: list[svg.Element], width: int, height: int) -> Markup:
    drawing = svg.SVG(
        viewBox=svg.ViewBoxSpec(0, 0, width, height),
        preserveAspectRatio=svg.PreserveAspectRatio("none"),
        elements=elements,
    )
    return Markup(drawing.as_str())  # noqa: S704 - of numbers and our own words
