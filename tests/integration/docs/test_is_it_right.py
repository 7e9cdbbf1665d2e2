"""The page "Is my segment really right?" is right: its commands are run, and print what it shows.

To write the page anew from what they print: UPDATE_DOCS=1 pytest tests/integration/docs/test_is_it_right.py
"""

import os
from pathlib import Path

from tests.integration.docs.terminal import open_terminal
from tests.integration.docs.transcript import rewrite

PAGE = Path(__file__).parents[3] / "docs" / "is-it-right.md"


def test_each_command_of_the_page_prints_what_the_page_shows() -> None:
    page = PAGE.read_text(encoding="utf-8")

    with open_terminal() as terminal:
        played = rewrite(page, terminal.run, terminal.write)

    if "UPDATE_DOCS" in os.environ:
        PAGE.write_text(played, encoding="utf-8")
    assert played == PAGE.read_text(encoding="utf-8"), "".join(terminal.errors)
