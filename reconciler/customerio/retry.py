"""The retry policy of a call: what is retried, how often, for how long, and how long the pauses are."""

import email.utils
from datetime import UTC

from reconciler.models.batches import Outcome

RETRIED = (Outcome.UNKNOWN, Outcome.REFUSED)
"""Outcomes of an attempt that another attempt may improve."""

MAX_ATTEMPTS = 5
MAX_SECONDS = 120.0
"""From the first admission to the last answer."""

BASE_SECONDS = 0.5
CAP_SECONDS = 30.0
"""The pause before a retry is anything up to 0.5 seconds, twice as much each time, up to 30: full jitter."""


def choose_pause(number: int, chance: float, retry_after: float | None) -> float:
    """Return the seconds to wait after attempt `number` (from 1): at least what the server asked for.

    `chance` is 0 to 1.
    """
    jitter = chance * min(CAP_SECONDS, BASE_SECONDS * 2.0 ** (number - 1))
    return max(jitter, retry_after or 0.0)


def parse_retry_after(text: str, now: float) -> float | None:
    """Return the seconds that a Retry-After asks for (a number or an HTTP date); None: it says nothing."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
