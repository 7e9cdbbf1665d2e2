"""Where a setting of ClickHouse would cut a result, or add to it, it is read as it is, or the query fails."""

import pytest
from sqlalchemy.engine import make_url

from reconciler.errors import SourceError
from reconciler.models.spec import FreshnessSettings, GuardSettings
from tests.unit.sources.conftest import read, segment
from tests.warehouses.engine import Warehouse

ENGINES = ("clickhouse",)

ALL = [(str(number), True) for number in range(10)]


def with_settings(warehouse: Warehouse, **settings: str) -> str:
    return make_url(warehouse.url).update_query_dict(settings).render_as_string(hide_password=False)


def read_numbers(warehouse: Warehouse, query: str = "SELECT number FROM people", **settings: str) -> list[object]:
    return sorted(read(warehouse.open(with_settings(warehouse, **settings)), query))


@pytest.mark.parametrize(
    "settings",
    [
        {"limit": "3"},
        {"offset": "3"},
        {"limit": "3", "offset": "1"},
        {"query_limit": "3"},
        {"skip_unavailable_shards": "1"},
    ],
    ids=str,
)
def test_a_setting_that_cuts_a_result_is_set_back(warehouse, people, settings):
    assert read_numbers(warehouse, **settings) == ALL
    name = next(iter(settings))
    if name.startswith("skip"):
        assert read_numbers(warehouse, f"SELECT toString(getSetting('{name}')) AS id", **settings) == [("false", True)]


@pytest.mark.parametrize(
    "settings",
    [
        {"max_result_rows": "3", "result_overflow_mode": "break"},
        {"max_rows_to_read": "3", "read_overflow_mode": "break"},
        {"max_rows_to_group_by": "3", "group_by_overflow_mode": "any"},
        {"max_rows_in_distinct": "3", "distinct_overflow_mode": "break"},
    ],
    ids=str,
)
def test_a_result_that_would_be_cut_fails(warehouse, people, settings):
    query = "SELECT DISTINCT id FROM (SELECT toString(number) AS id FROM numbers(300000) GROUP BY number)"

    with pytest.raises(SourceError, match="Limit for"):
        read_numbers(warehouse, query, **settings)


def test_an_answer_about_freshness_is_not_cut(warehouse, people):
    settings = FreshnessSettings.model_validate({"query": "SELECT '2026-01-01T00:00:00Z'", "max_age": "26h"})
    asking = segment("SELECT id FROM people").model_copy(update={"guards": GuardSettings(freshness=settings)})

    with warehouse.open(with_settings(warehouse, offset="1")).stream_values(asking) as values:
        assert values.data_time is not None
        assert values.data_time.at is not None


def test_a_user_who_may_change_no_setting_reads_all_or_is_told_why_not(warehouse, people):
    assert read_numbers(warehouse, readonly="1") == ALL
    source = warehouse.open(with_settings(warehouse, group_by_overflow_mode="any", readonly="1"))
    for use in (read, lambda source, query: source.check(segment(query))):
        with pytest.raises(SourceError, match="may not change: group_by_overflow_mode = any") as caught:
            use(source, "SELECT id FROM people")

        assert "profile" in caught.value.hint


@pytest.mark.parametrize("settings", [{}, {"describe_compact_output": "1"}, {"readonly": "1"}], ids=str)
def test_parts_of_columns_are_no_columns_of_a_query(warehouse, people, settings):
    query = "SELECT toNullable(number) AS number FROM people"
    freshness = FreshnessSettings.model_validate({"query": "SELECT toNullable('2026-01-01')", "max_age": "26h"})
    asking = segment(query).model_copy(update={"guards": GuardSettings(freshness=freshness)})

    warehouse.open(with_settings(warehouse, describe_include_subcolumns="1", **settings)).check(asking)
    assert read_numbers(warehouse, query, describe_include_subcolumns="1", **settings) == ALL
