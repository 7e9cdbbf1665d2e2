"""The generated warehouse: always the same, and with the flaws of real data."""

import csv
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.commands.demo import warehouse
from reconciler.cli.commands.demo.script import TEMPLATE
from reconciler.models.spec import Segment
from reconciler.spec import load

CUSTOMERS = 3_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "warehouse.db"
    warehouse.create_warehouse(file, CUSTOMERS)
    return file


def ask(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_the_same_seed_makes_the_same_people_and_another_makes_others() -> None:
    first, again, other = (warehouse.generate_rows(200, seed) for seed in (7, 7, 8))

    assert first == again
    assert first != other


def test_all_customers_and_orders_are_there(path: Path) -> None:
    assert ask(path, "SELECT count(*), count(DISTINCT customer_id) FROM customers") == [(CUSTOMERS, CUSTOMERS)]
    assert ask(path, "SELECT count(*) FROM orders")[0][0] > CUSTOMERS


def test_every_order_belongs_to_a_customer_who_had_joined(path: Path) -> None:
    early = ask(path, "SELECT * FROM orders JOIN customers USING (customer_id) WHERE ordered_at < created_at")
    strays = ask(path, "SELECT * FROM orders WHERE customer_id NOT IN (SELECT customer_id FROM customers)")

    assert early == []
    assert strays == []


def test_the_lifetime_value_is_the_sum_of_the_orders(path: Path) -> None:
    differing = ask(
        path,
        "SELECT customer_id FROM customers LEFT JOIN orders USING (customer_id) "
        "GROUP BY customer_id HAVING abs(ltv - coalesce(sum(amount), 0)) > 0.01",
    )

    assert differing == []


def test_some_emails_are_missing_and_some_shared(path: Path) -> None:
    missing, shared = ask(path, "SELECT sum(email IS NULL), count(email) - count(DISTINCT email) FROM customers")[0]

    assert min(missing, shared) > 0
    assert max(missing, shared) < CUSTOMERS / 50


def test_some_gave_their_consent_and_some_did_not(path: Path) -> None:
    assert 0.6 < ask(path, "SELECT avg(consent) FROM customers")[0][0] < 0.8


def test_most_people_are_known_and_not_all(path: Path, tmp_path: Path) -> None:
    people = warehouse.export_people(path, tmp_path / "people.csv")

    with (tmp_path / "people.csv").open(encoding="utf-8") as file:
        rows = [(row["id"], row["email"] or None) for row in csv.DictReader(file)]
    assert rows == list(people.items())
    assert 0.95 * CUSTOMERS < len(rows) < CUSTOMERS


def test_rows_are_formatted_as_by_sqlite3(path: Path) -> None:
    lines = list(warehouse.format_rows(path, "SELECT customer_id AS id, NULL AS no_value FROM customers LIMIT 1"))

    assert lines == ["id       no_value", "-------  --------", "C100001"]


def test_nulls_are_not_among_the_ids(path: Path) -> None:
    segment = Segment(
        name="one", segment_id=1, query="SELECT NULL UNION ALL SELECT :one", source="warehouse", params={"one": "a"}
    )

    assert warehouse.read_ids(path, segment) == {"a"}


def test_the_next_day_changes_every_segment_a_little(path: Path) -> None:
    spec = (TEMPLATE / "reconcile.yaml").read_text(encoding="utf-8")
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", spec), "http://127.0.0.1")
    (loaded,) = load([str(TEMPLATE / "reconcile.yaml")], {**variables, "WAREHOUSE_URL": "sqlite:///warehouse.db"})
    before = [warehouse.read_ids(path, segment) for segment in loaded.segments]

    warehouse.run_script(path, (TEMPLATE / "a_new_day.sql").read_text(encoding="utf-8"))

    for segment, old in zip(loaded.segments, before, strict=True):
        assert 0 < len(old ^ warehouse.read_ids(path, segment)) < len(old) / 10
