"""The clock by which intervals are measured: it counts on while the machine is suspended, and is never set."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC counts suspension, too."""


def boot_seconds() -> float:
    """Seconds since some moment of this boot."""
    return time.clock_gettime(_CLOCK)
