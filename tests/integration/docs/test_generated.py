"""What is written twice is the same twice: generated pages, links, exit codes, versions."""

import re
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest

import reconciler
from reconciler.cli.app import COMMANDS
from reconciler.cli.commands.state import state
from reconciler.errors import ExitCode
from reconciler.state.schema import REVISION

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The places of a page that a link can name, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", without_code(read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> list[str]:
    """The links of a page to other places of this project."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_code(read(page)))
    return [link for link in found if "://" not in link]


def exit_codes(page: Path) -> list[int]:
    """The codes in the first column of a page's table of exit codes, in order."""
    table = re.search(r"^(?:\| exit )?\|? ?code \| meaning.*?\n((?:\|.*\n)+)", read(page), re.MULTILINE | re.IGNORECASE)
    assert table, f"{page.name} has no table of exit codes"
    return [int(code) for row in table[1].splitlines()[1:] for code in re.findall(r"\d+", row.split("|")[1])]


def test_no_generated_page_is_stale():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, ""), f"run `make docs`\n{done.stdout}{done.stderr}"


def test_the_page_of_commands_has_them_all():
    sections = re.findall(r"^## `reconcile ?(.*)`$", read(ROOT / "docs" / "cli.md"), re.MULTILINE)

    of_state = [f"state {command.name}" for command in state.registered_commands]
    assert sorted(sections) == sorted(["", *of_state, *COMMANDS])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_leads_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page

        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


def test_each_page_is_linked_from_the_readme_or_a_page_that_is():
    seen, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            left += [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if link[0] != "#"]

    assert set(ROOT.glob("docs/*.md")) <= seen


def test_the_readme_lists_every_exit_code():
    assert exit_codes(ROOT / "README.md") == [code.value for code in ExitCode]
    assert set(exit_codes(ROOT / "docs" / "ci.md")) <= {code.value for code in ExitCode}


def test_the_version_is_one():
    assert metadata.version("reconcile-segments") == reconciler.__version__
    assert re.search(rf"^## {re.escape(reconciler.__version__)}\b", read(ROOT / "CHANGELOG.md"), re.MULTILINE)


def test_the_schema_that_the_code_knows_is_that_of_the_newest_migration():
    migrations = [read(path) for path in (ROOT / "migrations" / "versions").glob("*.py")]
    revisions = {found[1] for text in migrations if (found := re.search(r'^revision.*= "(\w+)"', text, re.MULTILINE))}
    replaced = {
        found[1] for text in migrations if (found := re.search(r'^down_revision.*= "(\w+)"', text, re.MULTILINE))
    }

    assert len(revisions) == len(migrations)
    assert revisions - replaced == {REVISION}


def test_the_glossary_names_classes_where_they_are():
    rows = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", read(ROOT / "docs" / "glossary.md"), re.MULTILINE)

    assert rows
    for name, module in rows:
        found = getattr(import_module(f"reconciler.{module}"), name, None)
        assert found is not None, f"{module} has no {name}"
        assert found.__module__ == f"reconciler.{module}", f"{name} is defined in {found.__module__}"
