"""A sealed plan is applied to what it was made for, soon, once, or not at all."""

from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import PlanFileError
from reconciler.models.ids import IdType
from reconciler.models.plan import Creation, Head, Plan
from reconciler.models.spec import Target
from reconciler.operations.plan_checks import check_age, check_environment, check_heads, check_number, find_targets
from reconciler.plan_file import SealedPlan, seal
from tests.fakes import samples

PLANS = (samples.make_plan(), samples.make_unchanged("loyal", 60))
NOW = samples.TWO_AM + timedelta(hours=1)
HEADS = [samples.KNOWN, samples.KNOWN]


def make_sealed(*plans) -> SealedPlan:
    return seal(Plan(samples.TWO_AM, plans or PLANS), "plan-1", "0.1.0", Path.cwd())


def targets() -> list[Target]:
    return [plan.target for plan in PLANS]


def check(sealed, found, heads, now, **more) -> None:
    """All checks of `apply PLANFILE`, in their order."""
    check_age(sealed, now, **more)
    find_targets(sealed, found)
    check_heads(sealed, heads)


def refuse(sealed=None, now=NOW, found=None, heads=HEADS, **more) -> str:
    with pytest.raises(PlanFileError) as caught:
        check(sealed or make_sealed(), targets() if found is None else found, heads, now, **more)
    assert caught.value.hint == "Make a new plan file: reconcile plan SPEC... --out FILE"
    assert caught.value.exit_code == 4
    return caught.value.message


def change(target: Target, destination=None, **segment) -> Target:
    changed = target.spec.destination.model_copy(update=destination or {})
    return Target(target.spec.model_copy(update={"destination": changed}), target.segment.model_copy(update=segment))


def test_a_plan_that_nothing_has_overtaken_is_accepted() -> None:
    check(make_sealed(), targets(), HEADS, NOW)
    check_age(make_sealed(), NOW)


def test_every_refusal_says_what_happened_and_what_to_do() -> None:
    vip = "egment vip_customers in specs/vip.yaml"
    moved, changed = change(targets()[0], {"workspace": "staging"}), change(targets()[0], query="SELECT 2")

    assert refuse(spent=True) == "The plan file is spent: it has been applied already."
    assert refuse(now=samples.TWO_AM + timedelta(days=2)) == (
        "The plan file has expired: it was made at 2026-11-21 02:00 and lasts 24 hours."
    )
    assert refuse(found=[moved, targets()[1]]) == (
        f"S{vip} is now in workspace staging; the plan was made for production"
    )
    assert refuse(found=[changed, targets()[1]]) == (
        f"S{vip} has changed since the plan was made (query, params, source, ownership, guards, region, "
        "title, or whether it is created, retired or paused)"
    )
    assert refuse(heads=[replace(samples.KNOWN, environment_id=777), samples.KNOWN]) == (
        f"S{vip}: the plan was made for environment 12345 of Customer.io; workspace production is now environment 777"
    )
    assert refuse(heads=[replace(samples.KNOWN, serial=8)] * 2) == (
        f"The plan file can't be applied: s{vip} is stale: its state has changed since the plan was made; "
        "segment loyal in specs/vip.yaml is stale: its state has changed since the plan was made"
    )


def test_a_segment_without_a_head_is_never_passed_over() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        check_heads(make_sealed(), HEADS[:1])


@pytest.mark.parametrize("late", [timedelta(hours=24), timedelta(days=900)])
def test_after_24_hours_it_has_expired(late: timedelta) -> None:
    check(make_sealed(), targets(), HEADS, samples.TWO_AM + timedelta(hours=24, seconds=-1))
    assert "expired" in refuse(now=samples.TWO_AM + late)


def test_once_applied_it_is_spent() -> None:
    assert "spent" in refuse(spent=True)


def test_a_segment_that_the_spec_no_longer_lists_is_named() -> None:
    assert refuse(found=targets()[1:]) == "Segment vip_customers in specs/vip.yaml is no longer there"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"segment_id": 99}, "another segment_id now: 99; the plan was made for 56"),
        ({"id_type": IdType.EMAIL}, "another id_type now: email; the plan was made for id"),
        ({"query": "SELECT 2"}, "has changed since the plan was made"),
        ({"params": {"x": 1}}, "has changed since the plan was made"),
        ({"destination": {"workspace": "staging"}}, "is now in workspace staging"),
        ({"destination": {"workspace_id": 7}}, "has changed since the plan was made"),
    ],
)
def test_a_changed_definition_is_named(changes, words: str) -> None:
    message = refuse(found=[change(targets()[0], **changes), targets()[1]])
    assert message.startswith("Segment vip_customers in specs/vip.yaml")
    assert words in message


@pytest.mark.parametrize("changes", [{"tags": ("x",)}, {"description": "x"}, {"destination": {"rate_limit": 5}}])
def test_tags_descriptions_and_rates_may_change(changes) -> None:
    check(make_sealed(), [change(targets()[0], **changes), targets()[1]], HEADS, NOW)


def test_every_changed_segment_is_named() -> None:
    message = refuse(found=[change(target, query="SELECT 2") for target in targets()])
    assert "vip_customers" in message
    assert "loyal" in message


def test_another_environment_is_refused() -> None:
    message = refuse(heads=[replace(samples.KNOWN, environment_id=777), samples.KNOWN])
    assert "environment 12345" in message
    assert "now environment 777" in message


def test_an_environment_that_was_not_known_when_planning_is_accepted() -> None:
    unbound = samples.make_plan(head=replace(samples.KNOWN, environment_id=None))
    check(make_sealed(unbound), targets(), [samples.KNOWN], NOW)


def test_the_environment_that_customerio_reports_is_checked_for_its_workspace() -> None:
    check_environment(make_sealed(), "production", 12345)
    check_environment(make_sealed(), "production", None)
    check_environment(make_sealed(), "staging", 777)
    with pytest.raises(PlanFileError, match="now environment 777"):
        check_environment(make_sealed(), "production", 777)


def test_every_stale_segment_is_named() -> None:
    message = refuse(heads=[replace(samples.KNOWN, serial=8), replace(samples.KNOWN, lineage="other")])
    assert "vip_customers in specs/vip.yaml is stale" in message
    assert "loyal in specs/vip.yaml is stale" in message


def test_what_the_plan_changed_itself_does_not_make_it_stale() -> None:
    cut_short = replace(samples.KNOWN, serial=12, plan_id="plan-1", plan_base=7)
    check(make_sealed(), targets(), [cut_short, samples.KNOWN], NOW)


def test_a_first_fill_that_was_cut_short_is_not_stale() -> None:
    filled = samples.make_first_fill()
    head = replace(samples.KNOWN, serial=3, plan_id="plan-1", plan_base=0)
    check(make_sealed(filled), [filled.target], [head], NOW)


@pytest.mark.parametrize(
    "head",
    [
        Head(),
        replace(samples.KNOWN, serial=6),
        replace(samples.KNOWN, serial=12, plan_id="plan-2", plan_base=7),
        replace(samples.KNOWN, serial=12, plan_id="plan-1", plan_base=6),
        replace(samples.KNOWN, lineage="other", serial=12, plan_id="plan-1", plan_base=7),
        replace(samples.KNOWN, change_token="drawn after a restore"),
    ],
    ids=["state lost", "older", "another plan", "another base", "another state", "as many changes, others"],
)
def test_a_state_that_moved_otherwise_makes_it_stale(head: Head) -> None:
    assert "is stale" in refuse(heads=[head, samples.KNOWN])


@given(
    st.sampled_from([None, "a", "b"]),
    st.integers(0, 3),
    st.sampled_from([None, "plan-1", "plan-2"]),
    st.none() | st.integers(0, 3),
    st.sampled_from([None, "x", "y"]),
)
def test_only_the_very_state_or_the_plans_own_changes_are_fresh(lineage, serial, plan_id, plan_base, token) -> None:
    sealed = make_sealed(samples.make_plan(head=Head(lineage="a", serial=1, change_token="x")))
    head = Head(lineage=lineage, serial=serial, plan_id=plan_id, plan_base=plan_base, change_token=token)

    is_same = (lineage, serial, token) == ("a", 1, "x")
    is_own = (lineage, plan_id, plan_base) == ("a", "plan-1", 1)
    with nullcontext() if is_same or is_own else pytest.raises(PlanFileError, match="is stale"):
        check_heads(sealed, [head])


def test_a_plan_that_was_made_in_the_future_is_refused_but_for_a_clock_that_is_a_little_ahead() -> None:
    check_age(make_sealed(), samples.TWO_AM - timedelta(minutes=5))
    with pytest.raises(PlanFileError, match="one of the two clocks is wrong"):
        check_age(make_sealed(), samples.TWO_AM - timedelta(minutes=6))


@pytest.mark.parametrize(
    ("segment_id", "creation", "is_accepted"),
    [
        (None, None, True),
        (61, Creation(0.0, "plan-1", 61), True),
        (61, Creation(0.0, "plan-1", None), True),
        (99, Creation(0.0, "plan-1", 61), False),
        (61, Creation(0.0, "plan-2", 61), False),
        (61, None, False),
    ],
)
def test_a_segment_that_was_to_be_created_is_only_the_one_that_this_plan_has_made(
    segment_id: int | None, creation: Creation | None, is_accepted: bool
) -> None:
    sealed = make_sealed()
    segment = replace(sealed.segments[0], segment_id=None)
    with nullcontext() if is_accepted else pytest.raises(PlanFileError, match="was to be created"):
        check_number(sealed, segment, segment_id, creation)
