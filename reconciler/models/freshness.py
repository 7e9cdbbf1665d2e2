"""When the data of a query was loaded: what a query of `freshness` may answer, and how old that is, exactly."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

from reconciler.errors import SourceError
from reconciler.models.fields import Duration

AHEAD = timedelta(minutes=5)
"""How far a time may lie in the future: the clocks of two machines differ."""

_ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?( ?([Zz]|[+-]\d{2}(:?\d{2}(:?\d{2})?)?))?)?", re.ASCII
)
"""A date, or a time of a day to the minute or finer, with or without a zone; nothing that could be a plain number."""

_SELECT_ONE = "Select one time in one row, for example max(loaded_at)."


@dataclass(frozen=True)
class DataTime:
    """When the data was loaded, in UTC, as a query of `freshness` answered. `at` is None for NULL, and for no row."""

    at: datetime | None
    zoned: bool = True
    """The answer had a zone; else it was read as UTC."""
    has_row: bool = True

    def age(self, now: datetime) -> Fraction | None:
        """Give the exact number of seconds since then, below 0 in the future; None where there is no time."""
        return None if self.at is None else Fraction((now - self.at) // timedelta(microseconds=1), 1_000_000)


def read_answer(rows: Sequence[Sequence[object]]) -> DataTime:
    """Read what a query of `freshness` returned; its first two rows suffice.

    Raises SourceError for what is no single time, and never repeats it: it may be the content of a row.
    """
    if not rows:
        return DataTime(None, has_row=False)
    check_columns(len(rows[0]))
    if len(rows) > 1:
        raise SourceError("it returns more than one row, and must return one time", _SELECT_ONE, code="freshness")
    value = rows[0][0]
    if value is None or (isinstance(value, datetime) and value != value):  # NaT, which is pandas' NULL
        return DataTime(None)
    try:
        found = _read_time(value)
        return DataTime(found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC), zoned=found.tzinfo is not None)
    except (ValueError, OverflowError):
        raise refuse_kind("a text that is no time" if isinstance(value, str) else "a time out of range") from None


def check_columns(number: int) -> None:
    """Raise SourceError unless a query of `freshness` has one column."""
    if number != 1:
        raise SourceError(f"it returns {number} columns, and must return one", _SELECT_ONE, code="freshness")


def refuse_kind(kind: str) -> SourceError:
    """Give the error for an answer that is no time; `kind` says what it is."""
    return SourceError(
        f"it returns {kind}, and must return a timestamp, a date or an ISO 8601 text",
        "Convert it in the query (PostgreSQL: to_timestamp(...) for a Unix time); a time without a zone is UTC.",
        code="freshness",
    )


def _read_time(value: object) -> datetime:
    """Raise ValueError for a text that is no time, SourceError for a value of another kind."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        text = value.strip()
        if not _ISO.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text.replace(" ", "T", 1).replace(" ", "").upper())
    raise refuse_kind(f"a value of type {type(value).__name__}")


def write_age(seconds: Fraction, limit: Duration) -> str:
    """Write an age in the unit of the limit, to one decimal, or to as many as it takes to tell it from the limit."""
    exact = max(seconds, Fraction(0)) / limit.unit_seconds
    for decimals in (1, 4, 12):
        written = f"{float(exact):.{decimals}f}".rstrip("0").rstrip(".")
        if (Fraction(written) > limit.seconds / limit.unit_seconds) == (seconds > limit.seconds):
            break
    return f"{written}{limit.unit}"
