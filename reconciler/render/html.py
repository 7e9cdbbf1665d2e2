"""Results as one HTML page that needs nothing from elsewhere, for a browser or an artefact of a CI job."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from reconciler.models.overview import measure_share
from reconciler.models.plan import Plan, SegmentPlan
from reconciler.models.results import Result, Run
from reconciler.render import Options, sentences
from reconciler.render.describe import describe
from reconciler.render.json_documents import write_time
from reconciler.render.page import write_page
from reconciler.render.report import ORPHANS, Cell, Column, Line, Report, Row


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
    page = write_page(
        "document.html",
        report.kind,
        {
            "report": report,
            "made": write_time(moment) if moment else None,
            "table": _make_table(report),
            "orphans": _drop_empty(ORPHANS, report.orphans),
            "orphan_advice": sentences.ORPHAN_ADVICE,
            "troubles": sorted(report.troubles, key=lambda each: each.rank),
            "guards": _list_guards(plans),
            "notes": [line for line in report.lines if (line.clauses or line.examples) and not line.shares],
            "if_right": sentences.IF_RIGHT,
            "no_flag": sentences.NO_FLAG,
            "allowed_by": sentences.ALLOWED_BY,
        },
    )
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _make_table(report: Report) -> Table:
    """The main table; of several workspaces, each line names its own."""
    lines, columns = sorted(report.lines, key=lambda line: line.rank), report.columns
    if len({line.target.workspace for line in lines if line.target}) > 1:
        columns = [Column("Workspace"), *columns]
        lines = [replace(each, row=[Cell(_name_workspace(each)), *each.row]) for each in lines]
    return _drop_empty(columns, [line.row for line in lines])


def _name_workspace(line: Line) -> str:
    return line.target.workspace if line.target else ""


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
