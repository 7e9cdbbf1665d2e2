"""The generated warehouse of the demo: the same rows for the same seed, with the flaws of real data."""

import csv
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

from reconciler.models.spec import Segment

SEED = 20260601
TODAY = date(2026, 6, 1)
"""The last day of the data, so that the demo does not change with the calendar."""

DAYS = 5 * 365
FIRST_CUSTOMER = 100_001
FIRST_ORDER = 1_000_001
UNKNOWN_EVERY = 50
"""One of this number of customers has no profile at Customer.io."""

_SCHEMA = """
CREATE TABLE customers (
    customer_id TEXT PRIMARY KEY,
    email       TEXT,
    country     TEXT NOT NULL,
    consent     INTEGER NOT NULL,
    created_at  TEXT NOT NULL,
    ltv         REAL NOT NULL
);
CREATE TABLE orders (
    order_id    TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL REFERENCES customers,
    amount      REAL NOT NULL,
    ordered_at  TEXT NOT NULL
) WITHOUT ROWID;
"""

_COUNTRIES = {"US": 27, "DE": 22, "GB": 13, "FR": 10, "NL": 7, "ES": 6, "IT": 6, "PL": 4, "SE": 3, "AT": 2}

_FIRST_NAMES = (
    *("Anna", "Ben", "Clara", "David", "Elena", "Felix", "Grace", "Hugo", "Ida", "Jonas", "Katja", "Leo"),
    *("Maria", "Noah", "Olivia", "Paul", "Rosa", "Samuel", "Tess", "Viktor", "Wanda", "Yusuf", "Zoe"),
)
_LAST_NAMES = (
    *("Abbott", "Bauer", "Costa", "Dubois", "Eriksson", "Fischer", "Garcia", "Hughes", "Ivanova", "Jansen"),
    *("Keller", "Lopez", "Moreau", "Novak", "Okafor", "Peters", "Quinn", "Rossi", "Schmidt", "Taylor"),
)

Customer = tuple[str, str | None, str, int, str, float]
Order = tuple[str, str, float, str]


def create_warehouse(path: Path, customers: int) -> int:
    """Write the warehouse as a new SQLite file and return its number of orders."""
    people, orders = generate_rows(customers, SEED)
    with closing(sqlite3.connect(path)) as connection:
        # A new file has no other reader and nothing to lose, so durability would only cost time.
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
        connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?)", people)
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", orders)
        connection.commit()
    return len(orders)


def generate_rows(customers: int, seed: int) -> tuple[list[Customer], list[Order]]:
    """Generate the rows of both tables. Few emails are missing or shared; a third of the customers stopped buying."""
    rng = random.Random(seed)  # noqa: S311  (reproducible data, no secrets)
    chance = rng.random
    days = [(TODAY - timedelta(days=ago)).isoformat() for ago in range(DAYS)]
    countries = rng.choices(list(_COUNTRIES), list(_COUNTRIES.values()), k=customers)
    people: list[Customer] = []
    orders: list[Order] = []
    email: str | None = None
    for index in range(customers):
        customer_id = f"C{FIRST_CUSTOMER + index}"
        flaw = chance()
        if not 0.002 <= flaw < 0.005:  # otherwise it shares the email of the customer before
            email = f"{rng.choice(_FIRST_NAMES)}.{rng.choice(_LAST_NAMES)}{index + 1}@example.com".lower()
        joined = int(chance() * DAYS)
        last = int(chance() * joined) if chance() < 1 / 3 else 0
        first = FIRST_ORDER + len(orders)
        bought = [
            # Most amounts are small, a few are not.
            (f"O{number}", customer_id, round(12 + 320 * chance() ** 3, 2), days[rng.randint(last, joined)])
            for number in range(first, first + int(rng.expovariate(1 / 3)))
        ]
        ltv = round(sum(order[2] for order in bought), 2)
        has_consent = int(chance() < 0.7)
        people.append((customer_id, None if flaw < 0.002 else email, countries[index], has_consent, days[joined], ltv))
        orders += bought
    return people, orders


def export_people(warehouse: Path, path: Path) -> dict[str, str | None]:
    """Write most of the customers to a CSV of id and email, for the sandbox, and return their emails by id."""
    query = "SELECT customer_id, email FROM customers WHERE rowid % ? ORDER BY rowid"
    with closing(sqlite3.connect(warehouse)) as connection, path.open("w", encoding="utf-8", newline="") as file:
        rows = connection.execute(query, (UNKNOWN_EVERY,)).fetchall()
        csv.writer(file, lineterminator="\n").writerows([("id", "email"), *rows])
    return dict(rows)


def run_script(warehouse: Path, script: str) -> None:
    """Run SQL statements, as `sqlite3 warehouse.db` does."""
    with closing(sqlite3.connect(warehouse)) as connection:
        connection.executescript(script)


def format_rows(warehouse: Path, query: str) -> Iterator[str]:
    """Yield the lines that `sqlite3 -header -column` prints for a query."""
    with closing(sqlite3.connect(warehouse)) as connection:
        cursor = connection.execute(query)
        names = [column[0] for column in cursor.description]
        rows = [["" if value is None else str(value) for value in row] for row in cursor]
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    for row in (names, ["-" * width for width in widths], *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def read_ids(warehouse: Path, segment: Segment) -> set[str]:
    """Run the query of a segment and return its ids without NULLs."""
    with closing(sqlite3.connect(warehouse)) as connection:
        rows = connection.execute(segment.query, dict(segment.params))
        return {value for (value,) in rows if value is not None}
