"""Every guard below, at and above its limit; what is waived, and what never is."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.models.comparison import Counts
from reconciler.models.fields import Limit
from reconciler.models.guards import ALLOW_FLAGS, Guard, Verdict, judge
from reconciler.models.spec import GuardSettings

SETTINGS = GuardSettings()
NUMBERS = st.integers(0, 10_000)


def percent(number: int | str) -> Limit:
    return Limit(percent=Decimal(number))


def verdict_of(
    guard: Guard,
    counts: Counts,
    settings: GuardSettings = SETTINGS,
    *,
    completed: bool = True,
    allowed: frozenset[Guard] = frozenset(),
) -> Verdict:
    return next(verdict for verdict in judge(settings, counts, completed, allowed) if verdict.name is guard)


def removing(number: int, held: int = 1000, **more: int) -> Counts:
    return Counts(desired=held - number, stored=held, held=held, remove=number, unchanged=held - number, **more)


def adding(number: int, stored: int = 1000, **more: int) -> Counts:
    return Counts(desired=stored + number, stored=stored, held=stored, add=number, unchanged=stored, **more)


def test_each_guard_is_judged_once_and_in_order() -> None:
    judged = [verdict.name for verdict in judge(SETTINGS, Counts(), True, frozenset())]

    assert judged == [guard for guard in Guard if guard is not Guard.FRESHNESS]  # which needs a question of its own


# --- max_removals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "blocks"), [(249, False), (250, False), (251, True)])
def test_removals_above_a_percentage_block(number: int, blocks: bool) -> None:
    assert verdict_of(Guard.MAX_REMOVALS, removing(number)).blocks is blocks


@pytest.mark.parametrize(("number", "blocks"), [(4, False), (5, False), (6, True)])
def test_removals_above_a_count_block_even_a_small_change(number: int, blocks: bool) -> None:
    settings = GuardSettings(max_removals=Limit(count=5))
    assert verdict_of(Guard.MAX_REMOVALS, removing(number), settings).blocks is blocks


@pytest.mark.parametrize(("number", "blocks"), [(10, False), (11, True)])
def test_ten_removals_pass_any_percentage(number: int, blocks: bool) -> None:
    assert verdict_of(Guard.MAX_REMOVALS, removing(number, held=12)).blocks is blocks


def test_the_base_of_removals_is_all_that_the_state_holds() -> None:
    counts = Counts(desired=0, stored=0, unsettled=600, unmatched=400, held=1000, remove=251)
    assert verdict_of(Guard.MAX_REMOVALS, counts).blocks
    assert not verdict_of(Guard.MAX_REMOVALS, replace(counts, remove=250)).blocks


def test_the_base_of_removals_has_the_real_members_under_exclusive() -> None:
    counts = Counts(desired=750, stored=10, held=1000, remove=250, strays=240)
    assert not verdict_of(Guard.MAX_REMOVALS, counts).blocks
    assert verdict_of(Guard.MAX_REMOVALS, replace(counts, remove=251)).blocks


@pytest.mark.parametrize("completed", [True, False])
def test_removals_are_never_waived_on_a_first_fill(completed: bool) -> None:
    counts = Counts(desired=1, stored=0, held=100, remove=99, add=1, strays=99)
    assert verdict_of(Guard.MAX_REMOVALS, counts, completed=completed).blocks


def test_repeated_removals_are_not_judged_again() -> None:
    counts = removing(500, exempt_removes=250)
    assert not verdict_of(Guard.MAX_REMOVALS, counts).blocks
    assert verdict_of(Guard.MAX_REMOVALS, replace(counts, exempt_removes=249)).blocks


# --- max_additions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "blocks"), [(999, False), (1000, False), (1001, True)])
def test_additions_above_a_percentage_block(number: int, blocks: bool) -> None:
    assert verdict_of(Guard.MAX_ADDITIONS, adding(number)).blocks is blocks


@pytest.mark.parametrize(("number", "blocks"), [(4, False), (5, False), (6, True)])
def test_additions_above_a_count_block(number: int, blocks: bool) -> None:
    settings = GuardSettings(max_additions=Limit(count=5))
    assert verdict_of(Guard.MAX_ADDITIONS, adding(number), settings).blocks is blocks


def test_the_base_of_additions_is_what_is_stored() -> None:
    counts = Counts(desired=120, stored=20, unsettled=500, held=520, add=21, unchanged=20)
    assert verdict_of(Guard.MAX_ADDITIONS, counts).blocks
    assert not verdict_of(Guard.MAX_ADDITIONS, replace(counts, add=20)).blocks


@pytest.mark.parametrize(("stored", "completed"), [(0, False), (0, True), (20, False)])
def test_a_first_fill_does_not_trip_a_percentage(stored: int, completed: bool) -> None:
    assert not verdict_of(Guard.MAX_ADDITIONS, adding(5000, stored), completed=completed).breached


@pytest.mark.parametrize(("stored", "completed"), [(0, False), (0, True), (20, False), (20, True)])
def test_a_first_fill_trips_a_count(stored: int, completed: bool) -> None:
    settings = GuardSettings(max_additions=Limit(count=4999))
    assert verdict_of(Guard.MAX_ADDITIONS, adding(5000, stored), settings, completed=completed).blocks


def test_repeated_additions_are_not_judged_again() -> None:
    counts = adding(3000, repeated_adds=2000)
    assert not verdict_of(Guard.MAX_ADDITIONS, counts).blocks
    assert verdict_of(Guard.MAX_ADDITIONS, replace(counts, repeated_adds=1999)).blocks


def test_resends_are_no_additions() -> None:
    counts = Counts(desired=2100, stored=100, resend=2000, unchanged=100, unmatched=2000, held=2100)
    assert not verdict_of(Guard.MAX_ADDITIONS, counts).breached


# --- min_members and must_include --------------------------------------------------------------------------------


@pytest.mark.parametrize(("desired", "blocks"), [(99, True), (100, False), (101, False)])
def test_fewer_members_than_the_least_block(desired: int, blocks: bool) -> None:
    settings = GuardSettings(min_members=100)
    assert verdict_of(Guard.MIN_MEMBERS, Counts(desired=desired), settings).blocks is blocks


@pytest.mark.parametrize(("missing", "blocks"), [(0, False), (1, True), (2, True)])
def test_one_missing_sentinel_blocks(missing: int, blocks: bool) -> None:
    settings = GuardSettings(must_include=("a", "b"))
    verdict = verdict_of(Guard.MUST_INCLUDE, Counts(desired=5, missing_sentinels=missing), settings)
    assert verdict.blocks is blocks
    assert (verdict.limit, verdict.actual) == ("2", str(2 - missing))


def test_a_verdict_on_sentinels_does_not_name_them() -> None:
    settings = GuardSettings(must_include=("ada",))
    assert "ada" not in repr(verdict_of(Guard.MUST_INCLUDE, Counts(missing_sentinels=1), settings))


@pytest.mark.parametrize("guard", [Guard.MIN_MEMBERS, Guard.MUST_INCLUDE])
def test_no_flag_lets_past_members_and_sentinels(guard: Guard) -> None:
    assert guard not in ALLOW_FLAGS


# --- allow_empty -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("desired", "held", "blocks"), [(0, 1, True), (0, 0, False), (1, 1, False), (1, 0, False)])
def test_an_empty_result_blocks_where_something_is_held(desired: int, held: int, blocks: bool) -> None:
    counts = Counts(desired=desired, stored=0, held=held, remove=held - desired if held else 0)
    assert verdict_of(Guard.ALLOW_EMPTY, counts).blocks is blocks


@pytest.mark.parametrize("completed", [True, False])
def test_emptiness_is_never_waived(completed: bool) -> None:
    counts = Counts(held=3, unsettled=3, remove=3)
    assert verdict_of(Guard.ALLOW_EMPTY, counts, completed=completed).blocks


def test_allow_empty_allows_it() -> None:
    settings = GuardSettings(allow_empty=True)
    assert not verdict_of(Guard.ALLOW_EMPTY, Counts(held=5, stored=5, remove=5), settings).breached


@pytest.mark.parametrize(
    ("counts", "breached"),
    [
        (Counts(held=3), True),
        (Counts(held=3, unsettled=3, remove=3, exempt_removes=3), False),
        (Counts(held=1, unsettled=1, remove=1, exempt_removes=1), False),
        (Counts(held=3, unsettled=3, remove=3, exempt_removes=2), True),
        (Counts(held=3, unsettled=3, remove=3, exempt_removes=3, unmatched=1), True),
    ],
)
def test_emptying_that_only_repeats_is_not_judged_again(counts: Counts, breached: bool) -> None:
    assert verdict_of(Guard.ALLOW_EMPTY, counts).breached is breached


# --- allowed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guard", ALLOW_FLAGS)
def test_an_allowed_breach_is_told_and_does_not_block(guard: Guard) -> None:
    counts = Counts(desired=0, stored=100, held=100, remove=100, add=500)
    verdict = verdict_of(guard, counts, allowed=frozenset({guard}))
    assert (verdict.breached, verdict.allowed, verdict.blocks) == (True, True, False)


@pytest.mark.parametrize("guard", ALLOW_FLAGS)
def test_one_allowance_lets_past_one_guard_only(guard: Guard) -> None:
    counts = Counts(desired=0, stored=100, held=100, remove=100, add=500)
    verdicts = judge(SETTINGS, counts, True, frozenset({guard}))
    assert {verdict.name for verdict in verdicts if verdict.blocks} == set(ALLOW_FLAGS) - {guard}


def test_what_is_not_breached_is_not_told_as_allowed() -> None:
    assert not verdict_of(Guard.MAX_REMOVALS, removing(1), allowed=frozenset(Guard)).allowed


# --- numbers -----------------------------------------------------------------------------------------------------


def test_a_verdict_says_its_numbers() -> None:
    verdict = verdict_of(Guard.MAX_REMOVALS, removing(10))
    assert (verdict.limit, verdict.actual) == ("25%", "1.0%")
    assert verdict.detail == "10 removals of 1,000 members; the limit is 25%"


def test_every_verdict_says_its_numbers_also_one_that_is_allowed() -> None:
    settings = GuardSettings(
        max_removals=Limit(count=5),
        max_additions=Limit(count=1200),
        min_members=2000,
        must_include=("a", "b", "c"),
    )
    counts = Counts(stored=1000, held=1100, remove=1100, add=1500, missing_sentinels=2)

    told = [(each.name, each.limit, each.actual, each.detail) for each in judge(settings, counts, True, set(Guard))]

    assert told == [
        ("max_removals", "5", "1100", "1,100 removals of 1,100 members; the limit is 5"),
        ("max_additions", "1200", "1500", "1,500 additions of 1,000 members; the limit is 1200"),
        ("min_members", "2000", "0", "the query returned 0 members; at least 2,000 are required"),
        ("must_include", "3", "1", "of 3 sentinel ids, 2 not in the query's result"),
        ("allow_empty", "false", "0", "the query returned nobody, and the state holds 1,100 members"),
    ]


def test_a_verdict_is_neither_allowed_nor_explained_unless_it_says_so() -> None:
    verdict = Verdict(Guard.MIN_MEMBERS, "1", "0", breached=True)
    assert (verdict.allowed, verdict.detail, verdict.blocks) == (False, "", True)


def test_where_a_spec_allows_emptiness_the_limit_is_said_as_true() -> None:
    assert verdict_of(Guard.ALLOW_EMPTY, Counts(), GuardSettings(allow_empty=True)).limit == "true"


@pytest.mark.parametrize(("removals", "said"), [(2499, "25.0%"), (2500, "25.0%"), (2501, "25.0100%"), (2510, "25.1%")])
def test_a_percentage_is_said_exactly_enough_to_tell_it_from_its_limit(removals: int, said: str) -> None:
    assert verdict_of(Guard.MAX_REMOVALS, removing(removals, held=10_000)).actual == said


def test_the_flags_that_let_one_segment_past_are_those_of_the_command_line() -> None:
    assert ALLOW_FLAGS == {
        "max_removals": "--allow-removals",
        "max_additions": "--allow-additions",
        "allow_empty": "--allow-empty",
    }


def test_a_percentage_of_nothing_is_said_as_a_number() -> None:
    assert verdict_of(Guard.MAX_ADDITIONS, adding(42, stored=400)).actual == "10.5%"
    assert verdict_of(Guard.MAX_ADDITIONS, adding(42, stored=0)).actual == "42"


def test_a_count_is_said_as_a_number() -> None:
    settings = GuardSettings(max_removals=Limit(count=5))
    assert verdict_of(Guard.MAX_REMOVALS, removing(10), settings).actual == "10"


@given(NUMBERS, NUMBERS, NUMBERS, st.booleans())
def test_more_removals_never_pass_where_fewer_were_blocked(held: int, fewer: int, more: int, completed: bool) -> None:
    counts = Counts(desired=1, stored=held, held=held, remove=fewer)
    if verdict_of(Guard.MAX_REMOVALS, counts, completed=completed).blocks:
        assert verdict_of(Guard.MAX_REMOVALS, replace(counts, remove=fewer + more), completed=completed).blocks


@given(NUMBERS, NUMBERS, NUMBERS)
def test_exempt_removals_weigh_nothing(held: int, judged: int, exempt: int) -> None:
    plain = Counts(desired=1, stored=held, held=held, remove=judged)
    mixed = replace(plain, remove=judged + exempt, exempt_removes=exempt)
    assert verdict_of(Guard.MAX_REMOVALS, plain) == verdict_of(Guard.MAX_REMOVALS, mixed)


# --- an undo -----------------------------------------------------------------------------------------------------


def judge_undo(settings: GuardSettings = SETTINGS, **numbers: int) -> dict[Guard, bool]:
    counts = Counts(desired=None, **numbers)
    return {verdict.name: verdict.blocks for verdict in judge(settings, counts, True, frozenset())}


def test_an_undo_is_judged_by_what_it_changes_and_not_as_the_result_of_a_query() -> None:
    settings = GuardSettings(min_members=50, must_include=("ada",))
    assert judge_undo(settings, stored=100, held=100, remove=25, unchanged=75) == {
        Guard.MAX_REMOVALS: False,
        Guard.MAX_ADDITIONS: False,
        Guard.ALLOW_EMPTY: False,
    }
    assert judge_undo(stored=100, held=100, remove=26, unchanged=74)[Guard.MAX_REMOVALS]
    assert judge_undo(stored=100, held=100, add=101, unchanged=100)[Guard.MAX_ADDITIONS]


def test_an_undo_that_leaves_nobody_is_stopped() -> None:
    assert judge_undo(stored=5, held=5, remove=5)[Guard.ALLOW_EMPTY]
    assert judge_undo(stored=5, held=6, unmatched=1, remove=5)[Guard.ALLOW_EMPTY], "who is unmatched is not there"
    assert not judge_undo(stored=5, held=5, remove=4, unchanged=1)[Guard.ALLOW_EMPTY]
    assert not judge_undo(stored=5, held=5, remove=5, add=1)[Guard.ALLOW_EMPTY]
    assert not judge_undo(held=3, unmatched=3)[Guard.ALLOW_EMPTY], "it removes nobody"
