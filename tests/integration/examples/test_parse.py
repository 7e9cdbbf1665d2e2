"""Each example is a valid spec, with nothing but the environment that is stated here."""

import re
from pathlib import Path

import pytest

from reconciler.errors import SpecError
from reconciler.models.fields import Limit
from reconciler.models.ids import IdType
from reconciler.models.spec import Ownership, Spec
from reconciler.spec import load

CONFIGS = Path(__file__).parents[3] / "examples" / "configs"

KEYS = {"CUSTOMERIO_SITE_ID": "site", "CUSTOMERIO_API_KEY": "key"}

NEEDS = {
    "first_segment.yaml": KEYS,
    "email_list.yaml": KEYS,
    "several_sources.yaml": KEYS,
    "duckdb_parquet.yaml": {**KEYS, "LAKE_FOLDER": "/lake"},
    "postgres_team.yaml": {
        **KEYS,
        "WAREHOUSE_URL": "postgresql://user:password@host:5432/warehouse",
        "STATE_URL": "postgresql://user:password@host:5432/warehouse",
        "CUSTOMERIO_WORKSPACE_ID": "12345",
    },
    "exclusive_confirmed.yaml": {**KEYS, "CUSTOMERIO_APP_API_KEY": "app"},
    "many_segments.yaml": KEYS,
    "sandbox.yaml": {},
    "stages.yaml": {**KEYS, "CUSTOMERIO_APP_API_KEY": "app"},
}  # fmt: skip


def load_example(name: str) -> Spec:
    (spec,) = load([str(CONFIGS / name)], NEEDS[name])
    return spec


def test_every_example_is_tried():
    assert sorted(path.name for path in CONFIGS.glob("*.yaml")) == sorted(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_parses_with_the_environment_that_it_names(name):
    spec = load_example(name)

    assert spec.segments
    assert all(segment.query.strip() for segment in spec.segments)


@pytest.mark.parametrize("name", [name for name, needs in NEEDS.items() if needs])
def test_without_its_environment_an_example_names_all_that_is_missing(name):
    with pytest.raises(SpecError) as caught:
        load([str(CONFIGS / name)], {})

    missing = {word for problem in caught.value.problems for word in re.findall(r"needs (\w+),", problem)}
    assert missing == set(NEEDS[name])


def test_all_examples_can_be_named_together():
    specs = load([str(CONFIGS)], {name: value for needs in NEEDS.values() for name, value in needs.items()})

    assert len(specs) == len(NEEDS)


def test_the_examples_show_what_they_say():
    team, exclusive, many = (
        load_example(name) for name in ("postgres_team.yaml", "exclusive_confirmed.yaml", "many_segments.yaml")
    )
    countries = {segment.name: segment for segment in many.segments}

    assert load_example("email_list.yaml").segments[0].id_type is IdType.EMAIL
    assert load_example("duckdb_parquet.yaml").segments[0].params["orders"] == "/lake/orders.parquet"
    assert load_example("several_sources.yaml").segments[0].params == {"country": "FR"}
    assert team.state.must_exist is True
    assert team.destination.workspace_id == 12345
    assert exclusive.segments[0].ownership is Ownership.EXCLUSIVE
    assert countries["country_de"].tags == ("nightly", "dach")
    assert countries["country_fr"].params == {"min_ltv": 100, "country": "FR"}
    assert countries["country_fr"].guards.max_removals == Limit(count=50)
    assert countries["all_customers"].guards == countries["all_reachable"].guards


def test_staging_and_production_differ_in_what_their_files_say():
    keys = NEEDS["stages.yaml"]
    state = {"STATE_URL": "postgresql://user:password@host:5432/state"}
    (staging,) = load([str(CONFIGS / "stages.yaml")], keys)
    (production,) = load([str(CONFIGS / "stages.yaml")], {**keys, **state, "STAGE": "production"})

    assert [path.name for path in staging.extended] == ["staging.yaml", "base.yaml"]
    assert (staging.destination.workspace, production.destination.workspace) == ("staging", "production")
    assert (staging.destination.workspace_id, production.destination.workspace_id) == (3, 12345)
    assert (staging.state.must_exist, production.state.must_exist) == (False, True)
    assert [str(spec.segments[0].guards.max_removals) for spec in (staging, production)] == ["50%", "10%"]
    assert [spec.segments[0].confirm for spec in (staging, production)] == [False, True]
    assert [each.segment for each in staging.segments] == [each.segment for each in production.segments]
    assert {each.owner for spec in (staging, production) for each in spec.segments} == {"crm@example.com"}
