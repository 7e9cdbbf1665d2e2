"""`python -m benchmarks.reliability kill|death|machine [--rounds N] [--seed N]`: attacks the promises, with figures."""

import argparse
import sys

from benchmarks.reliability import death, kill, machine


def main() -> int:
    """Parse, attack, say how it ended: 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability")
    parser.add_argument("attack", choices=["kill", "death", "machine"])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same queries and faults")
    parser.add_argument("--state", choices=["sqlite", "postgresql"], default="sqlite", help="of `kill`")
    options = parser.parse_args()
    if options.attack == "death":
        return death.run(options.rounds, options.seed)
    if options.attack == "machine":
        return machine.run(options.rounds, options.seed)
    return kill.run(options.rounds, options.state, options.seed)


if __name__ == "__main__":
    sys.exit(main())
