"""The made-up warehouse: always the same, and with the flaws of a real one."""

import csv
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.demo import warehouse

CUSTOMERS = 3_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "warehouse.db"
    warehouse.build(file, CUSTOMERS)
    return file


def ask(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_the_same_seed_makes_the_same_people_and_another_makes_others() -> None:
    first, again, other = (warehouse.generate(200, seed) for seed in (7, 7, 8))

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


def test_some_emails_are_missing_some_shared_and_some_in_capitals(path: Path) -> None:
    missing, shared, capitals = ask(
        path,
        "SELECT sum(email IS NULL), count(email) - count(DISTINCT email), sum(email <> lower(email)) FROM customers",
    )[0]

    assert min(missing, shared, capitals) > 0
    assert max(missing, shared) < CUSTOMERS / 50


def test_some_gave_their_consent_and_some_did_not(path: Path) -> None:
    assert 0.6 < ask(path, "SELECT avg(consent) FROM customers")[0][0] < 0.8


def test_most_people_are_known_and_not_all(path: Path, tmp_path: Path) -> None:
    number = warehouse.write_people(path, tmp_path / "people.csv")

    with (tmp_path / "people.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == number
    assert 0.95 * CUSTOMERS < number < CUSTOMERS
    assert set(rows[0]) == {"id", "email"}


def test_a_look_shows_a_table_as_sqlite3_does(path: Path) -> None:
    lines = list(warehouse.look(path, "SELECT customer_id AS id, NULL AS no_value FROM customers LIMIT 1"))

    assert lines == ["id       no_value", "-------  --------", "C100001"]


def test_nulls_are_not_among_the_ids(path: Path) -> None:
    assert warehouse.fetch(path, "SELECT NULL UNION ALL SELECT :one", {"one": "a"}) == {"a"}
