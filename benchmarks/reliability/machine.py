"""Any order of troubles, over the real engine and state: the state machine of the tests, for as long as one likes."""

import time

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.reliability.test_machine import Reconciling


def run(rounds: int, number: int) -> int:
    """Run `rounds` worlds of up to 20 steps. What breaks a promise ends it with the steps that led there."""
    began = time.monotonic()
    phases = (Phase.generate, Phase.shrink)
    long = settings(
        max_examples=rounds,
        stateful_step_count=20,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(number)(Reconciling), settings=long)
    print(f"machine: {rounds} worlds of up to 20 steps, 0 violations, {time.monotonic() - began:.0f} s")
    return 0
