"""HTML files: the frame that all pages share, with foreign text as text; and results as one such page.

A page needs nothing from elsewhere: it is for a browser or an artefact of a CI job.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reconciler import __version__
from reconciler.escaping import clean
from reconciler.models.overview import measure_share
from reconciler.models.plan import Plan, SegmentPlan
from reconciler.models.results import Result, Run
from reconciler.render import Options, sentences
from reconciler.render.describe import describe
from reconciler.render.json_documents import write_time
from reconciler.render.report import ORPHANS, Column, Row, rank_lines

BEGIN = "<!DOCTYPE html>\n<!-- reconcile {} -->\n"
"""How a page of a kind begins."""

_FOLDER = Path(__file__).with_name("templates")
_STYLES = {"red": "bad", "yellow": "warn", "green": "good", "bold": "new", "dim": "quiet"}


def is_report(head: bytes) -> bool:
    """Tell by its first bytes whether a file is a page of `report`."""
    return head.startswith(BEGIN.format("report").encode())


def write_page(template: str, kind: str, values: dict[str, Any]) -> str:
    """Write a page. Text in `values` is cleaned and escaped; only Markup of ours is not."""
    page: str = _make_environment().get_template(template).render(values, kind=kind)
    return BEGIN.format(kind) + page


def name_class(style: str) -> str:
    """Give the class in the style sheet for a style of a terminal; nothing where there is none."""
    return _STYLES.get(style, "")


@cache
def _make_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finalize,
    )
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    environment.globals |= {"style": Markup(style), "version": __version__}  # noqa: S704 - a file of ours
    # `1,234`; a dash where it is not known.
    environment.filters["number"] = lambda value: "–" if value is None else f"{value:,}"
    environment.filters["style_class"] = name_class
    return environment


def _finalize(value: Any) -> Any:
    return clean(value) if type(value) is str else "" if value is None else value


@dataclass(frozen=True)
class Table:
    """A table without its empty columns."""

    columns: Sequence[Column[Any]]
    rows: Sequence[Row]


def write(result: Result, options: Options) -> str:
    """Write a result as a page of ASCII, as a stdout of any encoding takes it."""
    report = describe(result, options)
    plans = result.segments if isinstance(result, Plan) else ()
    if isinstance(result, Run):
        plans = tuple(each.plan for each in result.segments)
    moment = getattr(result, "created_at", None)
    columns, lines = rank_lines(report)
    page = write_page(
        "document.html",
        report.kind,
        {
            "report": report,
            "made": write_time(moment) if moment else None,
            "table": _drop_empty(columns, [line.row for line in lines]),
            "orphans": _drop_empty(ORPHANS, report.orphans),
            "orphan_advice": sentences.ORPHAN_ADVICE,
            "troubles": sorted(report.troubles, key=lambda each: each.rank),
            "guards": _list_guards(plans),
            "notes": [line for line in report.lines if (line.notes or line.examples) and not line.shares],
            "if_right": sentences.IF_RIGHT,
            "no_flag": sentences.NO_FLAG,
            "allowed_by": sentences.ALLOWED_BY,
        },
    )
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _drop_empty(columns: Sequence[Column[Any]], rows: Sequence[Row]) -> Table:
    used = [at for at in range(len(columns)) if any(row[at].text for row in rows)]
    return Table([columns[at] for at in used], [[row[at] for at in used] for row in rows])


def _list_guards(plans: Sequence[SegmentPlan]) -> list[dict[str, Any]]:
    """List the guards that came half-way to their limits or nearer, the nearest first."""
    found = []
    for plan in plans:
        for verdict in plan.verdicts:
            share = measure_share(verdict.name, verdict.limit, verdict.actual)
            if verdict.breached or (share or 0) >= 0.5:
                values = {"segment": plan.target.segment.name, "guard": verdict.name.value, "share": share}
                found.append(values | {"limit": verdict.limit, "actual": verdict.actual, "breached": verdict.breached})
    return sorted(found, key=lambda each: -(each["share"] or 9))
