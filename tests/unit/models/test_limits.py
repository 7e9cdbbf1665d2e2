"""A limit is compared exactly, whatever the numbers."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.models.fields import SMALL_CHANGE, Limit

NUMBERS = st.integers(0, 10**12)
PERCENTAGES = st.decimals(0, 1000, allow_nan=False, allow_infinity=False, places=4)


@pytest.mark.parametrize(("number", "exceeded"), [(0, False), (6, False), (7, False), (8, True)])
def test_a_count_is_exceeded_by_one_more(number: int, exceeded: bool) -> None:
    assert Limit(count=7).is_exceeded(number, base=1_000_000) is exceeded


@pytest.mark.parametrize(("number", "exceeded"), [(249, False), (250, False), (251, True)])
def test_a_percentage_is_exceeded_by_one_more(number: int, exceeded: bool) -> None:
    assert Limit(percent=Decimal(25)).is_exceeded(number, base=1000) is exceeded


@pytest.mark.parametrize(("number", "exceeded"), [(9, False), (10, False), (11, True)])
def test_a_percentage_does_not_stop_ten_or_fewer(number: int, exceeded: bool) -> None:
    assert Limit(percent=Decimal(0)).is_exceeded(number, base=20) is exceeded
    assert Limit(percent=Decimal(1)).is_exceeded(number, base=0) is exceeded


@pytest.mark.parametrize(("number", "exceeded"), [(0, False), (1, True)])
def test_a_count_stops_a_small_change_too(number: int, exceeded: bool) -> None:
    assert Limit(count=0).is_exceeded(number, base=20) is exceeded


def test_a_percentage_no_float_could_hold_is_exact() -> None:
    limit = Limit(percent=Decimal("33.3"))
    assert not limit.is_exceeded(333 * 10**20, base=1000 * 10**20)
    assert limit.is_exceeded(333 * 10**20 + 1, base=1000 * 10**20)


@given(NUMBERS, NUMBERS, PERCENTAGES)
def test_a_percentage_is_the_fraction_that_it_says(number: int, base: int, percent: Decimal) -> None:
    exceeded = Fraction(number) > Fraction(percent) / 100 * base
    assert Limit(percent=percent).is_exceeded(number, base) is (exceeded and number > SMALL_CHANGE)


@given(st.integers(11, 10**9), st.integers(1, 10**9), PERCENTAGES)
def test_the_largest_change_that_passes_is_the_floor(number: int, base: int, percent: Decimal) -> None:
    most = max(SMALL_CHANGE, int(Fraction(percent) / 100 * base))
    limit = Limit(percent=percent)
    assert not limit.is_exceeded(most, base)
    assert limit.is_exceeded(most + 1, base)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (Limit(percent=Decimal(25)), "25%"),
        (Limit(percent=Decimal(100)), "100%"),
        (Limit(percent=Decimal("2.50")), "2.5%"),
        (Limit(percent=Decimal(0)), "0%"),
        (Limit(percent=Decimal("1E+2")), "100%"),
        (Limit(count=0), "0"),
        (Limit(count=100), "100"),
    ],
)
def test_a_limit_is_said_as_it_is_written(limit: Limit, said: str) -> None:
    assert str(limit) == said
