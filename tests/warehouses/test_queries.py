"""A query is taken as the dialect reads it: only params are bound, and nothing else is touched."""

from collections import Counter

import pytest

from reconciler.errors import SourceError
from reconciler.models.spec import FreshnessSettings, GuardSettings
from tests.unit.sources.conftest import read, segment
from tests.warehouses.engine import MARKS, Warehouse

pytestmark = pytest.mark.filterwarnings("error::UserWarning")
"""A driver's warning would be on the user's terminal."""


def ids_of(warehouse: Warehouse, query: str, id_column: str | None = None, **params: object) -> Counter[str | None]:
    return Counter(value for value, _ in read(warehouse.open(), query, id_column, **params))


PARAMS = {
    "a text": ("id >= :low", "p0004", 6),
    "an integer": ("number >= :low", 4, 6),
    "a negative integer": ("number > :low", -1, 10),
    "an integer that a double can't hold": ("9007199254740993 = :low", 9007199254740993, 10),
    "another one": ("9007199254740992 = :low", 9007199254740993, 0),
    "a float": ("number * 1.0 >= :low", 3.5, 6),
    "a boolean": (":low", True, 10),
    "a boolean that is false": (":low", False, 0),
    "nothing": ("CASE WHEN CAST(:low AS {text}) IS NULL THEN 1 ELSE 0 END = 1", None, 10),
    "a text with a quote": ("id <> :low", "it's \\' \" % %s :low", 10),
    "a param twice": ("id >= :low AND id <= :low", "p0004", 1),
}


@pytest.mark.parametrize("case", PARAMS)
def test_a_param_of_each_type_is_bound(warehouse, people, case):
    condition, value, count = PARAMS[case]

    condition = condition.format(text=warehouse.engine.text_type)

    found = ids_of(warehouse, f"SELECT id FROM people WHERE {condition}", low=value)

    assert found.total() == count


@pytest.mark.parametrize("params", [{}, {"low": "p0004"}])
def test_percent_signs_colons_and_quotes_are_left_alone(warehouse, people, params):
    condition = "id >= :low" if params else "id >= 'p0004'"
    query = f"""
        SELECT id FROM people WHERE {condition} AND id LIKE 'p%' AND '100%s %% %(x)s' <> 'a' AND 7 % 4 = 3
        AND '12:30' LIKE '%:30' AND ':low' <> 'p0004' AND '{{"a": 1, "b:low": "?"}}' <> '' AND '{{x:String}}' <> '$1'
    """
    if params and MARKS in warehouse.engine.lacks:
        with pytest.raises(SourceError, match=r"would change %\(x\)s in this query"):
            ids_of(warehouse, query, **params)
        query = query.replace("%(x)s", "% (x)s")

    assert ids_of(warehouse, query, **params).total() == 6


@pytest.mark.parametrize("params", [{}, {"low": "p0004"}])
def test_the_strings_of_the_dialect_are_what_they_are(warehouse, people, params):
    condition = "id >= :low" if params else "id >= 'p0004'"
    for literal, text in warehouse.engine.strings.items():
        query = f"SELECT {literal} AS said, 1 AS more FROM people WHERE {condition} AND {literal} = {literal}"

        assert ids_of(warehouse, query, "said", **params) == Counter({text: 6}), literal


@pytest.mark.parametrize("params", [{}, {"low": "p0004"}])
def test_comments_are_no_code(warehouse, people, params):
    condition = "id >= :low" if params else "id >= 'p0004'"
    for comment in warehouse.engine.comments:
        written = comment.format("it's 100% :low; \" ? )")
        query = f"{written} SELECT id {written} FROM people WHERE {condition}; {written}"

        assert ids_of(warehouse, query, **params).total() == 6, comment


@pytest.mark.parametrize(
    "query",
    [
        "WITH q AS (SELECT id FROM people) SELECT id FROM q WHERE id >= :low",
        "SELECT id FROM people WHERE id >= :low ORDER BY id",
        "(SELECT id FROM people WHERE id >= :low)",
        "SELECT id FROM people WHERE id >= :low;",
        "SELECT id FROM people WHERE id >= :low -- and that is all",
        "SELECT id FROM people WHERE id = :low UNION ALL SELECT id FROM people WHERE id > :low",
        "SELECT DISTINCT id FROM people WHERE id >= :low GROUP BY id HAVING count(*) = 1",
        "SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS r FROM people) s WHERE r > 4 AND :low = 'p0004'",
        "SELECT id FROM people WHERE id >= :low LIMIT 6",
    ],
)
def test_a_query_of_any_form_runs_and_is_checked(warehouse, people, query):
    warehouse.open().check(segment(query, low="p0004"))

    assert ids_of(warehouse, query, low="p0004") == Counter(people[4:])


def test_a_column_is_found_by_its_name(warehouse, people):
    quote = warehouse.engine.quote
    name = f"{quote}the :low id{quote}"

    assert ids_of(warehouse, f"SELECT 1 AS one, id AS {name} FROM people", "the :low id", low="x") == Counter(people)
    assert ids_of(warehouse, "SELECT 1 AS one, id AS who FROM people", "WHO") == Counter(people)
    with pytest.raises(SourceError, match="its columns are: one, who"):
        ids_of(warehouse, "SELECT 1 AS one, id AS who FROM people", "nobody")
    with pytest.raises(SourceError, match="returns 2 columns"):
        ids_of(warehouse, "SELECT 1 AS one, id AS who FROM people")


@pytest.mark.parametrize("name", ["value", "typed", "ids", "id", "c0", "text", "incoming"])
def test_a_column_may_have_a_name_of_ours(warehouse, people, name):
    quote = warehouse.engine.quote
    for written in (name, f"{quote}{name.upper()}{quote}", f"{quote}{name}{quote}"):
        alone = ids_of(warehouse, f"SELECT number AS {written} FROM people")
        others = [f"'x' AS {other}" for other in ("value", "typed", "ids") if other != name]
        among = ids_of(warehouse, f"SELECT {', '.join(others)}, number + 0 AS {written} FROM people", name)

        assert alone == among == Counter(str(number) for number in range(10)), written


def test_a_query_without_rows_has_its_columns_all_the_same(warehouse, people):
    assert ids_of(warehouse, "SELECT 1 AS one, id FROM people WHERE 1 = 0", "id") == Counter()
    with pytest.raises(SourceError, match="has no column"):
        ids_of(warehouse, "SELECT 1 AS one, id FROM people WHERE 1 = 0", "who")


@pytest.mark.parametrize("answer", ["CURRENT_TIMESTAMP", "CURRENT_DATE", "'2026-01-01T00:00:00Z'", "NULL"])
def test_freshness_is_asked(warehouse, people, answer):
    settings = FreshnessSettings.model_validate({"query": f"SELECT {answer}", "max_age": "26h"})
    asking = segment("SELECT id FROM people").model_copy(update={"guards": GuardSettings(freshness=settings)})

    warehouse.open().check(asking)
    with warehouse.open().stream_values(asking) as values:
        assert values.data_time is not None
        assert (values.data_time.at is None) == (answer == "NULL")
