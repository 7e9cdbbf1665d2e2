"""`reconcile init`: a first spec to edit."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import flags
from reconciler.errors import UsageError
from reconciler.files import open_plain


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put it.", show_default=False)] = Path(),
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Write a spec, a query file and a .gitignore to start from. Overwrites nothing."""
    from reconciler.cli.console import Console

    console = Console(verbose, quiet, log_format)
    written = scaffold(folder)
    spec = next(path for path in written if path.suffix == ".yaml")
    named = shlex.quote(str(spec))
    said = [*(f"wrote {path}" for path in written), "", f"Next: edit {spec}, set the variables that it names, then:"]
    console.report(*said, f"  reconcile validate {named}", f"  reconcile plan {named}")
    return 0


_SPEC = """\
# A spec of `reconcile`: which queries make which Customer.io segments.
# Every key: docs/spec.md. In an editor: `reconcile schema > spec.schema.json`.
version: 1

sources:
  warehouse:
    url: ${WAREHOUSE_URL}                    # any SQLAlchemy URL: postgresql://user:password@host/database

destination:
  workspace: production                      # a name of your choice; it names the snapshot in the state
  region: us                                 # us | eu
  site_id: ${CUSTOMERIO_SITE_ID}
  api_key: ${CUSTOMERIO_API_KEY}
  app_api_key: ${CUSTOMERIO_APP_API_KEY:-}   # optional: `drift`, `refresh` and `--confirm` need it

state:
  url: sqlite:///.reconcile/state.db         # who we put where; keep it, or use PostgreSQL for teams and CI

defaults:
  guards:
    max_removals: 25%                        # a run that would remove more stops, and sends nothing

segments:
  example:
    segment_id: 1                            # the number in the URL of your manual segment
    description: Customers who gave their consent
    id_type: id                              # id | email | cio_id: what the query returns
    query_file: sql/example.sql
    params: {consent: true}                  # bound to :consent in the query
"""

_QUERY = """\
-- One column: who belongs in the segment, now.
SELECT customer_id
FROM customers
WHERE consent = :consent
"""

_GITIGNORE = """\
# The state of `reconcile` and its sealed plans hold the ids of your customers.
.reconcile/
*.plan
"""

_FILES = {Path("reconcile.yaml"): _SPEC, Path("sql/example.sql"): _QUERY}


def scaffold(folder: Path) -> list[Path]:
    """Write the files of a first project into a folder, which is made if need be, and give their paths.

    A .gitignore that is there gets the missing lines at its end. Raises UsageError, and writes nothing, if the spec or
    the query is there already; also if the folder can't be written.
    """
    paths = {folder / name: text for name, text in _FILES.items()}
    try:
        if there := [str(path) for path in paths if os.path.lexists(path)]:
            raise UsageError(
                f"Already there: {', '.join(there)}. Nothing was written.", "Name another folder, or move them away."
            )
        ignored = _read_if_there(folder / ".gitignore")
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        for path, text in paths.items():
            _write(path, text)
        return [*paths, *_ignore(folder / ".gitignore", ignored)]
    except OSError as error:
        raise UsageError(f"Can't write into {folder}: {error.strerror}.", "Name a folder that you may write.") from None


def _read_if_there(path: Path) -> str:
    try:
        with open_plain(path) as file:
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)


def _ignore(path: Path, before: str) -> list[Path]:
    """Make git ignore the state and the plans; give the file if it had to be changed."""
    if {"" if line.startswith("#") else line for line in _GITIGNORE.splitlines()} <= {"", *before.splitlines()}:
        return []
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(gap + _GITIGNORE)
    return [path]
