"""Sizes of memory as a user writes them."""

import re

DEFAULT_MEMORY_LIMIT = "512MB"
DEFAULT_PARALLEL = 4
MOST_PARALLEL = 64
"""Segments processed concurrently."""

MIN_MEMORY = "16MB"
"""Suffices for small segments, 64 at once. Measured: with 8MB most of them fail."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT])(i?)B?\s*", re.IGNORECASE)


def read_size(text: str) -> int | None:
    """Bytes of a size such as `512MB` or `1.5GiB`; None: it is none."""
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** (" KMGT".index(unit.upper())))
