"""The session of docs/past-one-machine.md, played on Sail with a thousand ids."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from reconciler.sandbox.server import Sandbox
from reconciler.sandbox.settings import Settings, UnknownIds
from tests.support.project import Project
from tests.warehouses.engine import NotHad
from tests.warehouses.engines import sail

PAGE = Path(__file__).parents[2] / "docs" / "past-one-machine.md"
START, *SESSION = re.findall(r"```sh\n(.*?)```(?:\n```text\n(.*?)```)?", PAGE.read_text(encoding="utf-8"), re.DOTALL)
(SPEC,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

pytestmark = pytest.mark.xdist_group("past one machine")


def shorten(text: str) -> str:
    """The session with a thousand ids."""
    return text.replace("range(1000000)", "range(1000)").replace("range(1000001)", "range(1001)")


def forget_numbers(text: str) -> list[list[str]]:
    """The words of each line, with each number as `#`: columns are as wide as their numbers."""
    return [re.sub(r"[\d,.]*\d", "#", line.replace("─", "")).split() for line in text.strip().splitlines()]


def test_each_command_of_the_page_prints_what_the_page_shows(tmp_path: Path) -> None:
    assert "SAIL_MODE=local-cluster sail spark server" in START[0]
    (tmp_path / "sail").mkdir()
    try:
        server = sail.start(tmp_path / "sail")
        started = server.__enter__()
    except NotHad as error:
        pytest.fail(f"Sail was not run: {error}", pytrace=False)
    try:
        with Sandbox(settings=Settings(unknown_ids=UnknownIds.CREATE)) as sandbox:
            sandbox.create_segment("Everyone", id=56)
            project = Project(tmp_path, sandbox, {"PWD": str(tmp_path)})
            spec = tmp_path / "segments.yaml"
            text = SPEC.replace("sc://127.0.0.1:50051", started.url.partition("/;")[0])
            spec.write_text(shorten(text.replace("http://127.0.0.1:8025", sandbox.url)))
            for commands, shown in SESSION:
                for command in commands.splitlines():
                    words = shlex.split(shorten(command))
                    if words[0] == "sed":
                        _, old, new, _ = words[2].split("/")
                        spec.write_text(spec.read_text().replace(old, new))
                        continue
                    done = project.run(*words[1:])
                    assert done.code == 0, done.err
                    assert forget_numbers(done.out) == forget_numbers(shown)
                    if "--verbose" in words:
                        assert "rows that travelled: 2\n" in done.err
            assert sandbox.members(56) == {f"user-{number}" for number in range(1001)}
    finally:
        server.__exit__(*sys.exc_info())
