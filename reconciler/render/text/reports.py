"""Drift, refresh, status and history as text."""

from collections.abc import Sequence

from reconciler.models.drift import Drift, DriftStatus
from reconciler.models.report import History, Refresh, RefreshStatus, Status, StatusRow
from reconciler.models.spec import Target
from reconciler.render import words
from reconciler.render.clean import clean
from reconciler.render.records import (
    HISTORY_COLUMNS,
    ORPHAN_COLUMNS,
    STATUS_COLUMNS,
    history_row,
    orphan_row,
    status_row,
)
from reconciler.render.tables import DRIFT_COLUMNS, MANY, REFRESH_COLUMNS, Column, Row, collapse, drift_row, refresh_row
from reconciler.render.text import segments as below
from reconciler.render.text.page import Page


def drift(value: Drift, width: int = 80, color: bool = False, *, verbose: bool = False) -> str:
    """Show drift."""
    page, found = Page(width, color), value.segments
    is_short = len(found) > MANY and not verbose
    rows = [(each.status is DriftStatus.IN_SYNC, drift_row(each)) for each in found]
    _show_tables(page, [each.target for each in found], rows, DRIFT_COLUMNS, "in sync", is_short)
    shared = words.find_shared([each.target for each in found])
    for each in found:
        if each.status is DriftStatus.FAILED:
            below.show_problem(page, words.label(each.target, shared), "failed", each.error)
    if any(each.status is DriftStatus.DRIFTED for each in found):
        page.paragraph(DRIFT_LEGEND)
        page.gap()
    below.show_warnings(page, value.warnings)
    page.paragraph(words.say_drift(value), style="bold")
    return page.text()


DRIFT_LEGEND = (
    "Missing: stored, and not there. Foreign: there, and not stored. Lingering: removed by reconcile in the last "
    "hour, and still there. To mend it: `reconcile refresh`, then `reconcile apply`. It puts the missing back, and "
    "removes the foreign whom the query does not return; `refresh --adopt known` lets them stay."
)


def refresh(value: Refresh, width: int = 80, color: bool = False, *, verbose: bool = False) -> str:
    """Show what a refresh took over."""
    page, found = Page(width, color), value.segments
    rows = [(each.status is RefreshStatus.REFRESHED and not each.strangers, refresh_row(each)) for each in found]
    is_short = len(found) > MANY and not verbose
    _show_tables(page, [each.target for each in found], rows, REFRESH_COLUMNS, "refreshed, nobody new", is_short)
    shared = words.find_shared([each.target for each in found])
    for each in found:
        if each.status is not RefreshStatus.REFRESHED:
            verb = "is locked; nothing was changed for it" if each.status is RefreshStatus.LOCKED else "failed"
            below.show_problem(page, words.label(each.target, shared), verb, each.error)
    if any(each.unsettled for each in found):
        page.paragraph(
            "Lingering: removed by reconcile, and still there. The next apply removes them again, or adds them."
        )
        page.gap()
    if any(each.adopted for each in found):
        page.paragraph("The next plan removes those taken over whom the query does not return.", style="yellow")
        page.gap()
    below.show_warnings(page, value.warnings)
    page.paragraph(words.say_refresh(value), style="bold")
    return page.text()


def _show_tables(
    page: Page,
    targets: Sequence[Target],
    rows: Sequence[tuple[bool, Row]],
    columns: Sequence[Column],
    word: str,
    is_short: bool,
) -> None:
    for (path, workspace), places in below.group_by_spec(targets).items():
        page.heading(f"{path} · workspace {workspace}")
        page.table(columns, collapse([rows[place] for place in places], word, is_short))
        page.gap()


# --- status ------------------------------------------------------------------------------------------------------


def status(value: Status, width: int = 80, color: bool = False) -> str:
    """Show what the state holds, and the orphans."""
    page = Page(width, color)
    for (path, workspace), places in below.group_by_spec([each.target for each in value.segments]).items():
        page.heading(f"{path} · workspace {workspace}")
        page.table(STATUS_COLUMNS, [status_row(value.segments[place]) for place in places])
        page.gap()
    _show_status_notes(page, value.segments)
    if value.orphans:
        _show_orphans(page, value)
    below.show_warnings(page, value.warnings)
    page.paragraph(words.say_status(value), style="bold")
    return page.text()


def _show_status_notes(page: Page, rows: Sequence[StatusRow]) -> None:
    shared = words.find_shared([row.target for row in rows])
    for row in rows:
        if row.error:
            below.show_problem(page, words.label(row.target, shared), "can't be read", row.error)
    before = page.length
    for row in rows:
        if row.holder:
            page.paragraph(f"{row.name} is locked by {clean(row.holder)}.", style="yellow", marker="!")
    page.gap_after(before)


def _show_orphans(page: Page, value: Status) -> None:
    orphans, first = value.orphans, value.orphans[0]
    specs = [str(row.target.spec.path) for row in value.segments if row.target.workspace == first.workspace]
    page.heading("Orphans: the state knows them, and no named spec lists them")
    page.table(ORPHAN_COLUMNS, [orphan_row(each) for each in orphans])
    page.gap()
    page.paragraph("They are never touched. To forget one for good:")
    page.command(f"reconcile state forget {words.quote(specs[0]) if specs else 'SPEC'} id:{first.segment_id}", indent=2)
    page.gap()


# --- history -----------------------------------------------------------------------------------------------------


def history(value: History, width: int = 80, color: bool = False) -> str:
    """Show the list of past runs."""
    page = Page(width, color)
    if value.runs:
        page.table(HISTORY_COLUMNS, [history_row(row) for row in value.runs])
        page.gap()
    below.show_warnings(page, value.warnings)
    page.paragraph(f"{words.count(len(value.runs), 'run')}, newest first." if value.runs else "No runs yet.")
    return page.text()
