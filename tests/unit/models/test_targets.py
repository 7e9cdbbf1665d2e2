"""What a sealed plan is bound to: every field of a segment counts, but those that may change."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.models.fields import Duration, Limit, Secret
from reconciler.models.ids import IdType
from reconciler.models.options import read_options
from reconciler.models.spec import (
    DestinationSettings,
    FreshnessSettings,
    GuardSettings,
    OnBad,
    Ownership,
    Region,
    Segment,
    SourceSettings,
    Spec,
    StateSettings,
    Target,
)

SEGMENT = Segment(
    name="vip",
    segment_id=56,
    query="SELECT id FROM people WHERE ltv > :least",
    source="warehouse",
    params={"least": 1000},
    line=12,
)
DESTINATION = DestinationSettings(
    workspace="production", workspace_id=12345, site_id=Secret("site"), api_key=Secret("key")
)


def aim(segment: Segment = SEGMENT, destination: DestinationSettings = DESTINATION, path: str = "spec.yaml") -> Target:
    sources = {"warehouse": SourceSettings(url=Secret("sqlite:///a.db"))}
    state = StateSettings(url=Secret("sqlite:///s.db"))
    spec = Spec(path=Path(path), sources=sources, destination=destination, state=state, segments=(segment,))
    return Target(spec, segment)


class LaterGuards(GuardSettings, frozen=True):
    """The guards, and one that somebody adds."""

    max_age: int = 0


BOUND_GUARDS: dict[str, list[Any]] = {
    "max_removals": [Limit(percent=Decimal(26)), Limit(count=25)],
    "max_additions": [Limit(percent=Decimal("99.9"))],
    "min_members": [1],
    "must_include": [("ada",)],
    "allow_empty": [True],
    "max_unmatched": [Limit(count=7)],
    "freshness": [
        FreshnessSettings(query="SELECT 1", max_age=Duration("26h", Fraction(26), "h")),
        FreshnessSettings(query="SELECT 1", max_age=Duration("27h", Fraction(27), "h")),
        FreshnessSettings(query="SELECT 2", max_age=Duration("26h", Fraction(26), "h"), params={"a": 1}),
    ],
}
BOUND: dict[str, list[Any]] = {
    "name": ["vips"],
    "segment_id": [57],
    "segment": ["VIP"],
    "title": ["VIP"],
    "create": [True],
    "retired": [True],
    "paused": [True],
    "query": ["SELECT id FROM people WHERE ltv >= :least"],
    "source": ["lake"],
    "id_type": [IdType.EMAIL, IdType.CIO_ID],
    "params": [{}, {"least": 1001}, {"least": "1000"}, {"least": 1000.0}, {"most": 1000}, {"least": 1000, "a": None}],
    "id_column": ["id"],
    "ownership": [Ownership.EXCLUSIVE],
    "nulls": [OnBad.SKIP],
    "invalid": [OnBad.SKIP],
    "guards": [GuardSettings(**{name: value}) for name, values in BOUND_GUARDS.items() for value in values],
}
FREE: dict[str, Any] = {
    "description": "Somebody's words",
    "owner": "somebody@example.com",
    "tags": ("nightly",),
    "query_file": Path("sql/vip.sql"),
    "query_line": 7,
    "model": "vip_customers",
    "confirm": True,
    "line": 13,
    "warnings": ("spec.yaml:13: `segments.vip.query` is odd.",),
}
BOUND_DESTINATION = {"workspace": "staging", "workspace_id": 1, "region": Region.EU}
FREE_DESTINATION = {
    "site_id": Secret("another"),
    "api_key": Secret("another"),
    "app_api_key": Secret("another"),
    "rate_limit": 5.0,
    "concurrency": 1,
    "timeout": 3.0,
    "settle": 60.0,
    "track_url": "http://127.0.0.1:8025",
    "app_url": "http://127.0.0.1:8025",
}
CHANGES = [(name, value) for name, values in BOUND.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CHANGES, ids=[f"{name}-{at}" for at, (name, _) in enumerate(CHANGES)])
def test_the_definition_changes_with_what_a_plan_is_bound_to(name: str, value: object) -> None:
    changed: Any = {name: value}
    assert aim(SEGMENT.model_copy(update=changed)).definition() != aim().definition()


@pytest.mark.parametrize("name", BOUND_DESTINATION)
def test_the_definition_changes_with_the_place(name: str) -> None:
    changed: Any = {name: BOUND_DESTINATION[name]}
    assert aim(destination=DESTINATION.model_copy(update=changed)).definition() != aim().definition()


@pytest.mark.parametrize("name", FREE)
def test_the_definition_stays_where_only_words_change(name: str) -> None:
    assert aim(SEGMENT.model_copy(update={name: FREE[name]})).definition() == aim().definition()


@pytest.mark.parametrize("name", FREE_DESTINATION)
def test_the_definition_stays_with_secrets_and_rates(name: str) -> None:
    changed: Any = {name: FREE_DESTINATION[name]}
    assert aim(destination=DESTINATION.model_copy(update=changed)).definition() == aim().definition()


def test_every_field_of_a_segment_is_either_bound_or_free() -> None:
    assert set(Segment.model_fields) == {*BOUND, *FREE}
    assert set(DestinationSettings.model_fields) == {*BOUND_DESTINATION, *FREE_DESTINATION}
    assert set(GuardSettings.model_fields) == set(BOUND_GUARDS)


def test_a_guard_that_is_added_is_bound_like_the_others() -> None:
    one, other = (SEGMENT.model_copy(update={"guards": LaterGuards(max_age=age)}) for age in (0, 1))
    assert aim(one).definition() != aim(other).definition()


def test_the_order_of_params_and_sentinels_does_not_matter() -> None:
    one = SEGMENT.model_copy(update={"params": {"a": 1, "b": 2}, "guards": GuardSettings(must_include=("x", "y"))})
    other = SEGMENT.model_copy(update={"params": {"b": 2, "a": 1}, "guards": GuardSettings(must_include=("y", "x"))})
    assert aim(one).definition() == aim(other).definition()


def test_true_and_one_are_different_params() -> None:
    one, other = (SEGMENT.model_copy(update={"params": {"a": value}}) for value in (True, 1))
    assert aim(one).definition() != aim(other).definition()


@given(st.text(), st.text())
def test_any_two_queries_are_told_apart(one: str, other: str) -> None:
    definitions = [aim(SEGMENT.model_copy(update={"query": query})).definition() for query in (one, other)]
    same = definitions[0] == definitions[1]
    assert same is (one == other)


def test_a_query_with_half_a_surrogate_pair_has_a_definition() -> None:
    assert aim(SEGMENT.model_copy(update={"query": "SELECT '\ud800'"})).definition() != aim().definition()


def test_a_target_says_where_it_stands() -> None:
    assert (aim().label, aim().where, aim().workspace) == ("production/vip", "spec.yaml:12", "production")


def test_a_secret_never_shows_itself() -> None:
    secret = Secret("hunter2")
    target = aim(destination=DESTINATION.model_copy(update={"api_key": secret}))
    assert "hunter2" not in f"{secret} {secret!r} {target!r}"
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert secret != Secret("hunter3")


def test_a_sealed_plan_is_not_bound_to_the_url_and_options_of_its_source() -> None:
    target = aim()
    other = SourceSettings(url=Secret("snowflake://a"), options=read_options({"role": "ANALYST"}))
    spec = target.spec.model_copy(update={"sources": {"warehouse": other}})

    assert Target(spec, target.segment).definition() == target.definition()
