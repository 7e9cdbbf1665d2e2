"""A stored JSON document (one past run whole) as text."""

from reconciler.render import stored
from reconciler.render.text.page import Page


def past_run(document: stored.Document, width: int = 80, color: bool = False) -> str:
    """Show one past run from the JSON document that it left."""
    page = Page(width, color)
    for fact in stored.list_facts(document):
        page.paragraph(fact)
    page.gap()
    columns, rows = stored.list_segments(document)
    if rows:
        page.table(columns, rows)
        page.gap()
    _show_errors(page, document)
    for warning in stored.list_warnings(document):
        page.paragraph(f"Warning: {warning}", style="yellow")
    page.paragraph(stored.say_summary(document), style="bold")
    return page.text()


def _show_errors(page: Page, document: stored.Document) -> None:
    before = page.length
    for name, message, hint in stored.list_errors(document):
        page.paragraph(f"{name}: {message}", style="red", marker="✗")
        if hint:
            page.paragraph(hint, indent=4)
    page.gap_after(before)
