"""The clocks of this system."""

import time

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC counts suspension, too."""


def boot_seconds() -> float:
    """Return seconds since a fixed moment of this boot; they count on during suspension and are never set."""
    return time.clock_gettime(_BOOT_CLOCK)


class Clock:
    """Seconds: `wall` is Unix time, `boot` is `boot_seconds`."""

    def wall(self) -> float:
        return time.time()

    def boot(self) -> float:
        return boot_seconds()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
