"""One HTML file: the frame that all pages share, what makes it ours, and foreign text in it as text."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reconciler import __version__
from reconciler.escaping import clean

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
    environment.filters |= {"number": _write_number, "style_class": name_class}
    return environment


def _finalize(value: Any) -> Any:
    return clean(value) if type(value) is str else "" if value is None else value


def _write_number(value: int | None) -> str:
    """`1,234`; a dash where it is not known."""
    return "–" if value is None else f"{value:,}"
