"""How old data is: the same instant in whatever zone and form it is told, compared exactly with the limit."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import SourceError
from reconciler.models.freshness import DataTime, read_answer
from reconciler.models.guards import Verdict, judge_freshness
from reconciler.models.spec import FreshnessSettings

NOW = datetime(2026, 11, 26, 2, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.just(UTC))
ZONES = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def limit(max_age: str = "26h") -> FreshnessSettings:
    return FreshnessSettings.model_validate({"query": "SELECT max(loaded_at) FROM t", "max_age": max_age})


def judge_age(age: timedelta, max_age: str = "26h") -> Verdict:
    return judge_freshness(limit(max_age), DataTime(NOW - age), NOW)


@given(MOMENTS, ZONES, st.sampled_from(["T", " "]))
def test_an_instant_is_the_same_in_any_zone_as_a_value_and_as_a_text(moment, zone, separator):
    there = moment.astimezone(zone)

    assert read_answer([(there,)]) == DataTime(moment)
    assert read_answer([(there.isoformat(separator),)]) == DataTime(moment)
    assert read_answer([(there,)]).age(NOW) == DataTime(moment).age(NOW)


@given(MOMENTS)
def test_without_a_zone_it_is_utc(moment):
    bare = moment.replace(tzinfo=None)

    assert read_answer([(bare,)]) == DataTime(moment, zoned=False)
    assert read_answer([(bare.isoformat(),)]) == DataTime(moment, zoned=False)


@given(st.dates(date(1, 1, 2)))
def test_a_date_is_its_midnight(day):
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)

    assert read_answer([(day,)]) == read_answer([(day.isoformat(),)]) == DataTime(midnight, zoned=False)


@pytest.mark.parametrize(
    "text", ["2026-11-25T19:00Z", "2026-11-25t19:00:00z", " 2026-11-25 21:00:00 +02 ", "2026-11-25T19:00:00,000000000Z"]
)
def test_iso_texts(text):
    assert read_answer([(text,)]) == DataTime(datetime(2026, 11, 25, 19, tzinfo=UTC))


@pytest.mark.parametrize(
    "value",
    [
        *(7, 7.5, float("nan"), Decimal("7"), True, b"2026-11-25", timedelta(1), NOW.timetz(), ["2026-11-25"]),
        *("", "now", "20261125", "1764010801", "1701010100000", "2026-11-25T25:00Z", "2026-11-25T19", "25.11.2026"),
        *("2026-W48", "2026-11-25T19:00 CET", "2026-11-25\n2026-11-26", "infinity", "٢٠٢٦-11-25"),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))),
    ],
)
def test_anything_else_is_an_error_that_does_not_repeat_it(value):
    with pytest.raises(SourceError) as caught:
        read_answer([(value,)])

    assert caught.value.code == "freshness"
    assert str(value) not in caught.value.message or value in ("", "now", True)


@pytest.mark.parametrize(("age", "breached"), [(-MICROSECOND, False), (0 * MICROSECOND, False), (MICROSECOND, True)])
@pytest.mark.parametrize(
    ("max_age", "length"),
    [
        ("26h", timedelta(hours=26)),
        ("90s", timedelta(seconds=90)),
        ("1.5 m", timedelta(seconds=90)),
        ("0.1s", timedelta(microseconds=100_000)),
        ("7d", timedelta(days=7)),
        ("999999.000001s", timedelta(seconds=999999, microseconds=1)),
    ],
)
def test_the_limit_is_exact(max_age, length, age, breached):
    verdict = judge_age(length + age, max_age)

    assert verdict.breached is breached
    assert verdict.limit == max_age
    number, shown = Fraction(max_age.rstrip(" smhd")), Fraction(verdict.actual.rstrip("smhd"))
    assert (shown > number) is breached


@pytest.mark.parametrize(("more", "breached"), [(0 * MICROSECOND, False), (MICROSECOND, True)])
def test_five_minutes_in_the_future_are_a_clock_that_is_off(more, breached):
    verdict = judge_age(-timedelta(minutes=5) - more)

    assert verdict.breached is breached
    assert verdict.actual == ("in the future" if breached else "0h")


@pytest.mark.parametrize(("rows", "actual"), [([], "no row"), ([(None,)], "NULL")], ids=["no row", "NULL"])
def test_what_tells_nothing_is_a_breach(rows, actual):
    verdict = judge_freshness(limit(), read_answer(rows), NOW)

    assert (verdict.breached, verdict.actual, verdict.limit) == (True, actual, "26h")
    assert verdict.blocks


def test_a_breach_says_when_the_data_is_from():
    assert judge_age(timedelta(hours=31)).detail == "the data is from 2026-11-24 19:00Z, 31h old; the limit is 26h"
    assert judge_age(timedelta(hours=-2)).detail.startswith(
        "the data is from 2026-11-26 04:00Z, more than five minutes"
    )
    bare = DataTime(NOW - timedelta(hours=1), zoned=False)
    assert "2026-11-26 01:00Z (without a zone: read as UTC), 1h old" in judge_freshness(limit(), bare, NOW).detail


def test_the_null_of_pandas_is_one():
    class NaT(datetime):
        def __ne__(self, other: object) -> bool:
            return True

    assert read_answer([(NaT(2026, 11, 25),)]) == DataTime(None)
