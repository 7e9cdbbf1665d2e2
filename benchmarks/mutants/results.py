"""Who killed each mutant, kept between runs: whoever was killed stays so while the source and the operators do."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutants.faults import Mutant

FOLDER = Path(".mutants")


def fingerprint(mutant: Mutant) -> str:
    return hashlib.sha256(mutant.code.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Results:
    """The killers of one module's mutants, in a file of their own: a line for each, the last one counts."""

    module: str

    @property
    def _path(self) -> Path:
        return FOLDER / (self.module.replace("/", ".") + ".jsonl")

    def read(self) -> dict[str, str]:
        if not self._path.exists():
            return {}
        lines = map(json.loads, self._path.read_text().splitlines())
        return {line["mutant"]: line["killer"] for line in lines}

    def keep(self, mutant: Mutant, killer: str) -> None:
        FOLDER.mkdir(exist_ok=True)
        with self._path.open("a") as file:
            file.write(_write_line(mutant, killer))

    def tidy(self, mutants: Sequence[Mutant]) -> None:
        """Leave one line for each of these mutants that was tried, in their order; the module has no others now."""
        known = self.read()
        tried = [(mutant, known.get(fingerprint(mutant))) for mutant in mutants]
        self._path.write_text("".join(_write_line(mutant, killer) for mutant, killer in tried if killer is not None))


def _write_line(mutant: Mutant, killer: str) -> str:
    line = {"mutant": fingerprint(mutant), "killer": killer, "line": mutant.line, "said": mutant.said}
    return json.dumps(line) + "\n"
