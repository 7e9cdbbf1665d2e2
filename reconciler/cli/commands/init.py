"""`reconcile init`: a first spec to edit."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.commands import with_console
from reconciler.cli.console import Console
from reconciler.cli.defaults import DEFAULT_SPEC, SPEC_VARIABLE
from reconciler.errors import UsageError
from reconciler.files import open_plain, refuse_url

TEMPLATE = Path(__file__).parents[1] / "templates" / "init"
SPEC, QUERY, GITIGNORE = Path(DEFAULT_SPEC), Path("sql/example.sql"), Path(".gitignore")


@with_console
def init(
    console: Console,
    named: Annotated[str, typer.Argument(metavar="DIR", help="Folder to write to.", show_default=False)] = ".",
) -> None:
    """Write a spec, a query file and a .gitignore to start from. Overwrites nothing."""
    refuse_url(named, "DIR", "folder")
    folder = Path(named)
    written = write_project(folder)
    spec = folder / SPEC
    is_default = folder == Path() and not os.environ.get(SPEC_VARIABLE)
    argument = "" if is_default else f" {shlex.quote(str(spec))}"
    console.report(
        *(f"wrote {path}" for path in written),
        "",
        f"Next: edit {spec}, set the variables that it names, then:",
        f"  {console.program} validate{argument}",
        f"  {console.program} plan{argument}",
    )


def write_project(folder: Path) -> list[Path]:
    """Write the files of a first project into a folder, which is created if it is missing, and return their paths.

    An existing .gitignore gets the missing lines at its end. Raises UsageError, and writes nothing, if the spec or the
    query exists already; also if the folder can't be written to.
    """
    texts = {folder / name: (TEMPLATE / name).read_text(encoding="utf-8") for name in (SPEC, QUERY)}
    try:
        if existing := [str(path) for path in texts if os.path.lexists(path)]:
            raise UsageError(
                f"Already there: {', '.join(existing)}. Nothing was written.",
                "Name another folder, or move them away.",
            )
        try:
            with open_plain(folder / GITIGNORE) as file:
                ignored = file.read().decode(errors="replace")
        except FileNotFoundError:
            ignored = ""

        for path in texts:
            path.parent.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with path.open("x", encoding="utf-8") as new:
                new.write(text)

        lines = (TEMPLATE / "gitignore").read_text(encoding="utf-8")  # the state and the plans
        if {line for line in lines.splitlines() if not line.startswith("#")} <= set(ignored.splitlines()):
            return [*texts]
        gap = "" if not ignored else "\n" if ignored.endswith("\n") else "\n\n"
        with (folder / GITIGNORE).open("a", encoding="utf-8") as file:
            file.write(gap + lines)
        return [*texts, folder / GITIGNORE]
    except OSError as error:
        raise UsageError(f"Can't write into {folder}: {error.strerror}.", "Name a folder that you may write.") from None
