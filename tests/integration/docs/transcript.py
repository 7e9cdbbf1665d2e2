"""Pages with console blocks that are run: what stands below each `$ ` is what the command really prints."""

import re
from collections.abc import Callable, Iterator
from itertools import takewhile

FENCE = "```"
Run = Callable[[str], str]

_STEADY = (
    (re.compile(r"/tmp/reconcile-\w{8}(?=/)"), "/home/ana/code/segments"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:8025"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\dZ"), "2026-11-21 02:00Z"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"), "2026-11-21 02:00:04Z"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "5f0c1d7a9be24c638d20e4ab17f6930c"),
    (re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{8}\b"), "5f0c1d7a"),
)


def rewrite(page: str, run: Run, write: Callable[[str, str], object]) -> str:
    """Write every file of a page, run every command, in order, and give the page with what they print now.

    A file is a block below `<!-- file: NAME -->`.
    """
    lines: list[str] = []
    blocks = iter(page.splitlines())
    for line in blocks:
        lines.append(line)
        if line.startswith(FENCE):
            block = list(takewhile(lambda inner: inner != FENCE, blocks))
            if line == f"{FENCE}console":
                block = play(block, run)
            elif len(lines) > 1 and (file := re.fullmatch(r"<!-- file: (\S+) -->", lines[-2])):
                write(file[1], "\n".join(block) + "\n")
            lines += [*block, FENCE]
    return "\n".join(lines) + "\n"


def play(block: list[str], run: Run) -> list[str]:
    """Run the commands of one block; a blank line sets what one printed off from the next command."""
    lines: list[str] = []
    for line in block:
        if line.startswith("$ "):
            printed = steady(run(line.removeprefix("$ "))).splitlines()
            lines += [*([""] if len(lines) > 1 and not lines[-1].startswith("$ ") else []), line, *printed]
    return lines


def steady(output: str) -> str:
    """Put fixed values for what differs from run to run: folder, ports, times, run ids, durations."""
    for pattern, value in _STEADY:
        output = pattern.sub(value, output)
    return "\n".join(_still(output.splitlines()))


def _still(lines: list[str]) -> Iterator[str]:
    """Make the numbers of a column `Seconds` 0.1; such a column is the last one."""
    is_timed = False
    for line in lines:
        is_timed = line.endswith("Seconds") or (is_timed and bool(line))
        timed = re.match(r"(.*?)( *)\d+\.\d$", line) if is_timed else None
        yield f"{timed[1]}{' ' * (len(line) - len(timed[1]) - 3)}0.1" if timed else line
