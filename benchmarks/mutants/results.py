"""Who killed each mutant, kept between runs: whoever was killed stays so while the source and the operators do."""

import hashlib
import json
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
        line = {"mutant": fingerprint(mutant), "killer": killer, "line": mutant.line, "said": mutant.said}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
