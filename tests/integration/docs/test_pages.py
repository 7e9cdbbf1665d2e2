"""The pages with console blocks are right: their commands are run, and print what the pages show.

To write them anew from what they print: UPDATE_DOCS=1 pytest tests/integration/docs/test_pages.py
"""

import os
import re
import tomllib
from pathlib import Path

import pytest

from tests.integration.docs.terminal import open_terminal
from tests.integration.docs.transcript import rewrite

ROOT = Path(__file__).parents[3]
FIRST_HOUR = "first-hour.md"
PAGES = (FIRST_HOUR, "is-it-right.md", "life-of-a-segment.md", "personal-data.md", "undo.md")


@pytest.mark.parametrize("name", PAGES)
def test_each_command_of_a_page_prints_what_the_page_shows(name: str) -> None:
    page = ROOT / "docs" / name

    with open_terminal() as terminal:
        played = rewrite(page.read_text(encoding="utf-8"), terminal.run, terminal.write)

    if "UPDATE_DOCS" in os.environ:
        page.write_text(played, encoding="utf-8")
    assert played == page.read_text(encoding="utf-8"), "".join(terminal.errors)


def test_every_page_with_console_blocks_is_run() -> None:
    pages = {path.name for path in ROOT.glob("docs/*.md") if "\n```console\n" in path.read_text(encoding="utf-8")}

    assert pages == set(PAGES)


def test_the_first_hour_installs_an_extra_that_exists_and_runs_in_ci_what_the_readme_runs() -> None:
    page = (ROOT / "docs" / FIRST_HOUR).read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

    assert set(re.findall(r"pip install '\.\[(\w+)\]'", page)) == {"postgres"} <= set(extras)
    (lines,) = re.findall(r"```yaml\n(- run: .*?)```", page, re.DOTALL)
    assert lines in (ROOT / "README.md").read_text(encoding="utf-8")
