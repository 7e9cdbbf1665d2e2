"""The survivors: each was looked at, and stands in `survivors.toml` with the reason why no test has to see it."""

import platform
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

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

    def unexplained(self, reasons: Reasons) -> list[Mutant]:
        return [mutant for mutant in self.survivors if (self.module, mutant.said) not in reasons]

    def tell(self, reasons: Reasons) -> str:
        lines = [f"{self.module}: {self.killed} of {self.tried} killed{_percent(self.killed, self.tried)}"]
        lines += [f"  line {mutant.line}: {mutant.said}" for mutant in self.unexplained(reasons)]
        return "\n".join(lines)


def _percent(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.1f}%)" if whole else ""


def write_page(page: Path, scores: Sequence[Score], reasons: Reasons) -> None:
    """Write the score by module and every survivor below the MARK of a Markdown page."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    head, mark, _ = page.read_text().partition(MARK)
    lines = [head + mark, "", f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}, Python {platform.python_version()}.", ""]
    lines += ["| module | mutants | tried | killed | score |", "| --- | ---: | ---: | ---: | ---: |"]
    for score in [*scores, _sum(scores)]:
        share = f"{100 * score.killed / max(1, score.tried):.1f}%"
        lines.append(f"| {score.module} | {score.number:,} | {score.tried:,} | {score.killed:,} | {share} |")
    lines += ["", "## The survivors"]
    for score in scores:
        lines += ["", f"### {score.module}", ""] if score.survivors else []
        lines += _list(score, reasons)
    page.write_text("\n".join(lines) + "\n")


def _sum(scores: Sequence[Score]) -> Score:
    survivors = [mutant for score in scores for mutant in score.survivors]
    return Score("all", sum(score.number for score in scores), sum(score.tried for score in scores), survivors)


def _list(score: Score, reasons: Reasons) -> list[str]:
    """The survivors of a module, those with one reason together."""
    by_reason: dict[str, list[str]] = {}
    for mutant in score.survivors:
        by_reason.setdefault(reasons.get((score.module, mutant.said), "NOT LOOKED AT"), []).append(mutant.said)
    return [
        line
        for reason, said in by_reason.items()
        for line in (f"- {reason}:", *(f"  - {_quote(each)}" for each in said))
    ]


def _quote(said: str) -> str:
    """As code, on one line."""
    return f"`` {' '.join(said.split())} ``" if "`" in said else f"`{' '.join(said.split())}`"
