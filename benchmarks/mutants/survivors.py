"""The survivors: each was looked at, and stands in `survivors.toml` with the reason why no test has to see it."""

import platform
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from textwrap import wrap

from benchmarks.mutants.faults import Mutant

MARK = '<!-- from here on: make mutants ARGS="--report --page docs/mutants.md" -->'
LIST = Path(__file__).with_name("survivors.toml")
Reasons = Mapping[tuple[str, str], str]
"""By module and by what a mutant says."""


def read_reasons() -> Reasons:
    entries = tomllib.loads(LIST.read_text())["survivors"] if LIST.exists() else []
    return {(entry["module"], said): entry["reason"] for entry in entries for said in entry["mutants"]}


@dataclass(frozen=True)
class Score:
    """What became of one module: `tried` of `number` mutants."""

    module: str
    number: int
    tried: int
    survivors: Sequence[Mutant]

    @property
    def killed(self) -> int:
        return self.tried - len(self.survivors)

    @property
    def is_whole(self) -> bool:
        return self.tried == self.number

    def unexplained(self, reasons: Reasons) -> list[Mutant]:
        return [mutant for mutant in self.survivors if (self.module, mutant.said) not in reasons]

    def tell(self, reasons: Reasons) -> str:
        part = "" if self.is_whole else f"; {self.number - self.tried} not tried"
        lines = [f"{self.module}: {self.killed} of {self.tried} killed{_percent(self.killed, self.tried)}{part}"]
        lines += [f"  line {mutant.line}: {mutant.said}" for mutant in self.unexplained(reasons)]
        return "\n".join(lines)


def _percent(part: int, whole: int) -> str:
    return f" ({_share(part, whole)})" if whole else ""


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def write_page(page: Path, scores: Sequence[Score], reasons: Reasons) -> None:
    """Write the score by module and every survivor below the MARK of a Markdown page. Raises ValueError without one."""
    head, mark, _ = page.read_text().partition(MARK)
    if not mark:
        raise ValueError(f"{page} lacks the line after which it is written: {MARK}")
    survivors = [line for score in scores if score.survivors for line in _list(score, reasons)]
    lines = ["## Score", "", *_sum_up(scores), "", *_table(scores), "", "## Survivors", *survivors]
    page.write_text(head + mark + "\n\n" + "\n".join(lines) + "\n")


def _sum_up(scores: Sequence[Score]) -> list[str]:
    """The score, when and of what it is, and what was left out."""
    whole = _sum(scores)
    share = _share(whole.killed, whole.tried)
    lines = [
        f"{whole.killed:,} of the {whole.tried:,} mutants that were tried are killed: {share}.",
        f"{datetime.now(UTC):%Y-%m-%d}, {_tell_commit()}, Python {platform.python_version()}.",
    ]
    if missing := [
        f"- `{score.module}`: {score.tried:,} of {score.number:,}" for score in scores if not score.is_whole
    ]:
        lines += ["", "It is no whole run. These modules were tried in part, or not at all:", *missing]
    return lines


def _tell_commit() -> str:
    commit = _git("rev-parse", "--short", "HEAD")
    return f"commit {commit}" + (" with changes" if _git("status", "--porcelain", "reconciler", "tests") else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()


def _table(scores: Sequence[Score]) -> list[str]:
    rows = [
        f"| {each.module} | {each.number:,} | {each.tried:,} | {each.killed:,} | {_share(each.killed, each.tried)} |"
        for each in [*scores, _sum(scores)]
    ]
    return ["| module | mutants | tried | killed | score |", "| --- | ---: | ---: | ---: | ---: |", *rows]


def _sum(scores: Sequence[Score]) -> Score:
    survivors = [mutant for score in scores for mutant in score.survivors]
    return Score("all", sum(score.number for score in scores), sum(score.tried for score in scores), survivors)


def _list(score: Score, reasons: Reasons) -> list[str]:
    """The survivors of a module, those with one reason together; as text, since code may look like a link."""
    by_reason: dict[str, list[str]] = {}
    for mutant in score.survivors:
        reason = reasons.get((score.module, mutant.said), "Not looked at yet.")
        by_reason.setdefault(" ".join(reason.split()), []).append(" ".join(mutant.said.split()))
    parts = [["", *wrap(reason, 120), "", "```text", *said, "```"] for reason, said in by_reason.items()]
    return ["", f"### {score.module}", *(line for part in parts for line in part)]
