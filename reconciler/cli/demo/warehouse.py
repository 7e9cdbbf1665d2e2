"""A small shop's warehouse: generated, always the same for the same seed, and with the flaws of a real one."""

import csv
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

SEED = 20260601
TODAY = date(2026, 6, 1)
"""The warehouse's own last day: a tour must not change with the calendar."""

DAYS = 5 * 365
FIRST_NUMBER = 100_001
FIRST_ORDER = 1_000_001
UNKNOWN_EVERY = 50
"""Of so many customers one is not at Customer.io."""

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
    *("Ullman", "Visser", "Weber", "Young", "Zimmer"),
)

Customer = tuple[str, str | None, str, int, str, float]
Order = tuple[str, str, float, str]


def build(path: Path, customers: int, seed: int = SEED) -> int:
    """Write the warehouse as a new SQLite file; give the number of orders."""
    people, orders = generate(customers, seed)
    with closing(sqlite3.connect(path)) as connection:
        # Nobody else has the file yet, so nothing is lost if this is cut short.
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
        connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?)", people)
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", orders)
        connection.commit()
    return len(orders)


def generate(customers: int, seed: int) -> tuple[list[Customer], list[Order]]:
    """Make the rows of both tables."""
    # Not for secrets: a seed makes the same people each time.
    rng = random.Random(seed)  # noqa: S311
    days = [(TODAY - timedelta(days=ago)).isoformat() for ago in range(DAYS)]
    emails = _generate_emails(customers, rng)
    countries = rng.choices(list(_COUNTRIES), list(_COUNTRIES.values()), k=customers)
    people: list[Customer] = []
    orders: list[Order] = []
    for index in range(customers):
        customer_id = f"C{FIRST_NUMBER + index}"
        joined = int(rng.random() * DAYS)
        bought = _generate_orders(customer_id, joined, FIRST_ORDER + len(orders), days, rng)
        ltv = round(sum(order[2] for order in bought), 2)
        people.append((customer_id, emails[index], countries[index], int(rng.random() < 0.7), days[joined], ltv))
        orders += bought
    return people, orders


def _generate_orders(customer_id: str, joined: int, first: int, days: list[str], rng: random.Random) -> list[Order]:
    """Orders between the day somebody joined and, for a third, a day on which they stopped buying."""
    chance = rng.random
    number = int(rng.expovariate(1 / 3))
    last = int(chance() * joined) if chance() < 1 / 3 else 0
    span = joined - last + 1
    return [
        # Most baskets are small, and a few are not.
        (f"O{number}", customer_id, round(12 + 320 * chance() ** 3, 2), days[last + int(chance() * span)])
        for number in range(first, first + number)
    ]


def _generate_emails(customers: int, rng: random.Random) -> list[str | None]:
    """Emails as warehouses have them: some are missing, some in capitals, some shared by two customers."""
    people = list(zip(rng.choices(_FIRST_NAMES, k=customers), rng.choices(_LAST_NAMES, k=customers), strict=True))
    namesakes: Counter[tuple[str, str]] = Counter()
    emails: list[str | None] = []
    for first, last in people:
        namesakes[first, last] += 1
        email: str | None = f"{first}.{last}{namesakes[first, last]}@example.com"
        chance = rng.random()
        if chance < 0.002:
            email = None
        elif chance < 0.005 and emails:
            email = emails[-1]
        emails.append(email if email is None or chance > 0.97 else email.lower())
    return emails


def write_people(warehouse: Path, path: Path) -> int:
    """Write the customers whom Customer.io knows, most but not all, as a CSV of id and email; give their number."""
    query = "SELECT customer_id, email FROM customers WHERE rowid % ? ORDER BY rowid"
    with closing(sqlite3.connect(warehouse)) as connection, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "email"))
        rows = connection.execute(query, (UNKNOWN_EVERY,)).fetchall()
        writer.writerows(rows)
    return len(rows)


def change(warehouse: Path, script: str) -> None:
    """Run SQL statements on the warehouse, as `sqlite3 warehouse.db` would."""
    with closing(sqlite3.connect(warehouse)) as connection:
        connection.executescript(script)
        connection.commit()


def look(warehouse: Path, query: str) -> Iterator[str]:
    """Give the lines that `sqlite3 -header -column` shows for a query."""
    with closing(sqlite3.connect(warehouse)) as connection:
        cursor = connection.execute(query)
        names = [column[0] for column in cursor.description]
        rows = [["" if value is None else str(value) for value in row] for row in cursor]
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    for row in (names, ["-" * width for width in widths], *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def fetch(warehouse: Path, query: str, params: Mapping[str, object]) -> set[str]:
    """Give the ids that a query returns, without its NULLs."""
    with closing(sqlite3.connect(warehouse)) as connection:
        return {value for (value,) in connection.execute(query, params) if value is not None}
