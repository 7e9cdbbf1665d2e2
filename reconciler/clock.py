"""The clocks of this system."""

import time
from typing import Protocol

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC counts suspension, too."""


def boot_seconds() -> float:
    """Return seconds since a fixed moment of this boot; they count on during suspension and are never set."""
    return time.clock_gettime(_BOOT_CLOCK)


class Clock(Protocol):
    """Seconds. `boot` counts on while the machine is suspended and is never set; `wall` is Unix time."""

    def wall(self) -> float: ...

    def boot(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """See `Clock`."""

    def wall(self) -> float:
        return time.time()

    def boot(self) -> float:
        return boot_seconds()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
