"""The page "The first hour" is right: its commands are run, and print what it shows.

To write the page anew from what they print: UPDATE_DOCS=1 pytest tests/integration/docs/test_first_hour.py
"""

import os
import re
import tomllib
from pathlib import Path

from tests.integration.docs.terminal import open_terminal
from tests.integration.docs.transcript import rewrite

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "first-hour.md"


def test_each_command_of_the_page_prints_what_the_page_shows() -> None:
    page = PAGE.read_text(encoding="utf-8")

    with open_terminal() as terminal:
        played = rewrite(page, terminal.run, terminal.write)

    if "UPDATE_DOCS" in os.environ:
        PAGE.write_text(played, encoding="utf-8")
    assert played == PAGE.read_text(encoding="utf-8"), "".join(terminal.errors)


def test_the_page_installs_an_extra_that_exists_and_runs_in_ci_what_the_readme_runs() -> None:
    page = PAGE.read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

    assert set(re.findall(r"pip install '\.\[(\w+)\]'", page)) == {"postgres"} <= set(extras)
    (lines,) = re.findall(r"```yaml\n(- run: .*?)```", page, re.DOTALL)
    assert lines in (ROOT / "README.md").read_text(encoding="utf-8")
