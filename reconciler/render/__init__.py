"""Results as documents: `render` writes any of them in any format.

Each format is one module with a function `write(result, options)`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.models.results import Result


class Format(StrEnum):
    """How a document is written: the values of `--format`."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"

    @property
    def is_data(self) -> bool:
        """Whether programs read it: then each character must stay exact."""
        return self is Format.JSON


_MODULES = {Format.TEXT: "text", Format.JSON: "json_documents", Format.MARKDOWN: "markdown", Format.HTML: "html"}


@dataclass(frozen=True)
class Options:
    """What the formats take into account; JSON only whether somebody reads it."""

    width: int = 80
    """Columns of the terminal."""
    color: bool = False
    is_terminal: bool = False
    """It is printed where somebody reads it."""
    verbose: bool = False
    """Show unchanged segments one by one, and where each was compared."""
    shared_names: Collection[str] = ()
    """Names for which flags need `workspace/NAME`, in addition to those that occur twice in the result itself."""
    sqlite_unattended: bool = False
    """The state is a SQLite file, and there is no terminal to answer on."""


def render(result: "Result", output: Format, options: Options) -> str:
    """Write a result in a format. The format's module is imported here: text needs Rich, HTML Jinja."""
    write: Callable[[Result, Options], str] = import_module(f"{__name__}.{_MODULES[output]}").write
    return write(result, options)
