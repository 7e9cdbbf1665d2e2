"""Results as text for people: tables that fit the terminal, then what needs a word, then one summary sentence."""

from reconciler.models.results import Result
from reconciler.render import Options
from reconciler.render.describe import describe
from reconciler.render.layout import Page
from reconciler.render.report import FirstFill, Note, Report, Row, Trouble
from reconciler.render.sentences import count
from reconciler.render.tables import MANY, collapse

FEW = 10
"""Number of segments listed one by one where the same applies to all of them."""


def write(result: Result, options: Options) -> str:
    """Write a result as a page of text."""
    return write_report(describe(result, options), options)


def write_report(report: Report, options: Options) -> str:
    """Write a report as a page of text."""
    page = Page(options.width, options.color)
    for fact in report.facts:
        page.paragraph(fact)
    page.gap()
    is_short = len(report.lines) > MANY and not options.verbose
    _write_lines(page, report, is_short)
    for trouble in report.troubles:
        _write_trouble(page, trouble)
    # A run's read-back agrees for each unchanged segment, too: not worth a line for each.
    leaves_out_quiet = is_short or (report.kind == "run" and not options.verbose)
    before = page.length
    for note in report.notes:
        if not (note.quiet and leaves_out_quiet):
            _write_note(page, note)
    if page.length > before:
        page.gap()
    if report.first_fill is not None:
        _write_first_fill(page, report.first_fill)
    for remark in report.remarks:
        page.paragraph(remark.text, style=remark.style, marker=remark.marker)
        page.gap()
    if report.orphans is not None:
        page.heading("Orphans: the state knows them, and no named spec lists them")
        page.table(report.orphans.columns, report.orphans.rows)
        page.gap()
        page.paragraph("They are never touched. To forget one for good:")
        page.command(report.orphans.command, indent=2)
        page.gap()
    for warning in report.warnings:
        page.paragraph(f"Warning: {warning}", style="yellow")
    if report.warnings:
        page.gap()
    page.paragraph(report.summary, style="bold")
    return page.text()


def _write_lines(page: Page, report: Report, is_short: bool) -> None:
    """One table for each spec and workspace, or one in all where the lines are not about segments of a spec."""
    groups: dict[str, list[tuple[bool, Row]]] = {}
    for line in report.lines:
        target = line.target
        heading = f"{target.spec.path} · workspace {target.workspace}" if target else ""
        groups.setdefault(heading, []).append((line.quiet, line.row))
    for heading, rows in groups.items():
        if heading:
            page.heading(heading)
        page.table(report.columns, collapse(rows, report.quiet, is_short))
        page.gap()


def _write_trouble(page: Page, trouble: Trouble) -> None:
    subject = f"{trouble.name} {trouble.verb}".rstrip()
    if trouble.breaches:
        page.paragraph(f"{subject}.", style="yellow", marker="!")
    else:
        message = f": {trouble.problem.message}" if trouble.problem else "."
        page.paragraph(f"{subject}{message}", style="red", marker="✗")
    if trouble.problem:
        page.paragraph(trouble.problem.hint, indent=4)
    for breach in trouble.breaches:
        page.paragraph(f"{breach.guard}: {breach.detail}", indent=4)
        if breach.flag is None:
            page.paragraph("no flag allows this: correct the query or the spec", indent=6)
        elif breach.allowed:
            page.paragraph(f"allowed by {breach.flag}", indent=6)
        else:
            page.paragraph("if that is right, run it again with", indent=6)
            page.command(breach.flag, indent=8)
    page.gap()


def _write_note(page: Page, note: Note) -> None:
    if note.clauses:
        page.paragraph(f"{note.name}: {'; '.join(note.clauses)}.", marker="·")
    for verb, ids in (("remove", note.examples.remove), ("add", note.examples.add)):
        if ids:
            page.paragraph(f"{note.name}, to {verb}, for example: {', '.join(ids)}", marker="·")


def _write_first_fill(page: Page, fill: FirstFill) -> None:
    segments, verb = count(fill.segments, "segment"), "knew" if fill.is_over else "knows"
    page.paragraph(
        f"First fill of {segments}: the state {verb} nothing of what is in there.", style="yellow", marker="!"
    )
    if not fill.is_over:
        page.paragraph(fill.empty, indent=4)
    for each in fill.unknown[:FEW]:
        page.paragraph(f"{each.name}: {each.clause}", indent=4)
    if len(fill.unknown) > FEW:
        page.paragraph(f"… and {len(fill.unknown) - FEW:,} more", indent=4)
    command = next((each.command for each in fill.unknown if each.command), None)
    if command is not None:
        page.paragraph("To take those members over, so that the query decides on them, too:", indent=4)
        page.command(command, indent=6)
    page.paragraph(fill.lost_state, indent=4)
    page.gap()
