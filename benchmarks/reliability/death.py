"""Random lives of a run over the real engine and state, with deaths, bad networks and full disks; see tests."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.reliability.worlds import live_at_random


def run(rounds: int, seed: int) -> int:
    """Run `rounds` worlds, each of several lives. What breaks a promise ends it with a traceback."""
    began, deaths, steps = time.monotonic(), 0, 0
    for number in range(rounds):
        with TemporaryDirectory() as folder:
            planet = live_at_random(Path(folder), seed * 1_000_000 + number)
        deaths += planet.deaths
        steps += planet.steps
        if number % 100 == 99:
            print(f"... {number + 1} worlds, {deaths} deaths", flush=True)
    print(f"death: {rounds} worlds, {deaths} deaths, {steps} steps, 0 violations, {time.monotonic() - began:.0f} s")
    return 0
