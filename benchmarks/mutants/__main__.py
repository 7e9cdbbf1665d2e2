"""`python -m benchmarks.mutants [MODULE...]`: the score by module, and each survivor that nobody has looked at yet."""

import argparse
import random
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.mutants.faults import Mutant, breed
from benchmarks.mutants.results import Results, fingerprint
from benchmarks.mutants.rooms import ROOMS
from benchmarks.mutants.running import SURVIVED, Limit, run, warm_up
from benchmarks.mutants.survivors import Score, read_reasons, write_page


def try_all(module: str, mutants: Sequence[Mutant], workers: int) -> None:
    """Run the tests of a module against each of its mutants, and keep what came of it."""
    if not mutants:
        return
    rounds, results = ROOMS[module], Results(module)
    limits = [measure(module, tests) for tests in rounds]
    with ThreadPoolExecutor(workers) as pool:
        killers = pool.map(lambda mutant: run(rounds, mutant, limits), mutants)
        for mutant, killer in zip(mutants, killers, strict=True):
            results.keep(mutant, killer)


def measure(module: str, tests: tuple[str, ...]) -> Limit:
    """Run a round of tests without any fault, in which none may fail; several times what that took may be taken."""
    began, busy = time.monotonic(), _sum_up_busy()
    if killer := run((tests,), None, [Limit(600, 600)]):
        raise SystemExit(f"{killer} fails without any fault in {module}")
    return Limit(20 + 3 * (time.monotonic() - began), int(5 + 3 * (_sum_up_busy() - busy)))


def _sum_up_busy() -> float:
    """Processor seconds of all children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def score(module: str, options: argparse.Namespace) -> Score:
    """Try a module's mutants (without `--afresh`: those that were not killed before)."""
    mutants = breed(module, Path("reconciler", module).read_text())
    drawn = draw(mutants, options.sample, options.seed) if options.sample else mutants
    results = Results(module)
    known = {} if options.afresh else results.read()
    if not options.report:
        try_all(module, [each for each in drawn if not known.get(fingerprint(each))], options.workers)
        results.tidy(mutants)
    known = results.read()
    tried = [each for each in mutants if fingerprint(each) in known]
    return Score(module, len(mutants), len(tried), [each for each in tried if known[fingerprint(each)] == SURVIVED])


def draw(mutants: Sequence[Mutant], number: int, seed: int) -> Sequence[Mutant]:
    """Some mutants, at random; the same ones as long as they are there."""
    return sorted(mutants, key=lambda each: random.Random(f"{seed} {fingerprint(each)}").random())[:number]


def main() -> int:
    """Parse, try, tell: 1 if there are survivors without a reason."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants")
    parser.add_argument("modules", nargs="*", choices=[*ROOMS, []], metavar="MODULE", help=", ".join(ROOMS))
    parser.add_argument("--workers", type=int, default=2, help="mutants at a time")
    parser.add_argument("--sample", type=int, default=0, help="so many mutants of each module, drawn with --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--afresh", action="store_true", help="also those that were killed by an earlier run")
    parser.add_argument("--report", action="store_true", help="run nothing: the results of earlier runs")
    parser.add_argument("--page", type=Path, help="a Markdown page to write the score and the survivors into")
    options = parser.parse_args()
    warm_up()
    reasons, scores = read_reasons(), []
    for module in options.modules or ROOMS:
        scores.append(score(module, options))
        print(scores[-1].tell(reasons), flush=True)
    if options.page:
        write_page(options.page, scores, reasons)
    return int(any(each.unexplained(reasons) for each in scores))


if __name__ == "__main__":
    sys.exit(main())
