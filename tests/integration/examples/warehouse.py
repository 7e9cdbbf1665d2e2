"""One small warehouse behind all examples: the same rows in SQLite, in Parquet and in PostgreSQL."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import astuple, dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import psycopg

TABLES = {
    "customers": "customer_id INTEGER, email TEXT, country TEXT, consent BOOLEAN, created_at {time}, ltv NUMERIC(9, 2)",
    "orders": "order_id INTEGER, customer_id INTEGER, amount NUMERIC(9, 2), ordered_at {time}",
}

COUNTRIES = ("DE", "AT", "FR", "NO")
NEW_YEAR = date(2026, 1, 1)


@dataclass(frozen=True)
class Customer:
    """A row of `customers`."""

    customer_id: int
    email: str | None
    country: str
    consent: bool
    created_at: str
    ltv: int

    @property
    def known(self) -> bool:
        """Whether Customer.io knows this person, too; it does not know every seventh."""
        return self.customer_id % 7 != 0


@dataclass(frozen=True)
class Order:
    """A row of `orders`."""

    order_id: int
    customer_id: int
    amount: int
    ordered_at: str


def make_customer(number: int) -> Customer:
    """Countries, consent, age and value turn at different speeds, so that every combination occurs."""
    created = NEW_YEAR + timedelta(days=3 * (number - 40))
    return Customer(number, make_email(number), COUNTRIES[number % 4], number % 5 < 3, f"{created}", 35 * number)


def make_email(number: int) -> str | None:
    """Mostly an address, in capitals for some; NULL for some, and not an address for one."""
    if number == 10:
        return "call instead"
    if number % 9 == 0:
        return None
    address = f"person{number}@example.com"
    return address.upper() if number % 6 == 0 else address


def make_orders(number: int) -> list[tuple[int, int, str]]:
    """Customer, amount and day of each order of a customer: none for some, four for others."""
    first = NEW_YEAR + timedelta(days=number - 35)
    return [(number, 40 * (at + number % 6), f"{first + timedelta(days=at)}") for at in range(number % 5)]


CUSTOMERS = tuple(make_customer(number) for number in range(1, 81))
ORDERS = tuple(
    Order(place, *order)
    for place, order in enumerate((order for each in CUSTOMERS for order in make_orders(each.customer_id)), start=1)
)


def write_sqlite(file: Path) -> None:
    """Write the warehouse as a SQLite file."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for table, columns in TABLES.items():
            connection.execute(f"CREATE TABLE {table} ({columns.format(time='TEXT')})")
            connection.executemany(*_insert(table, "?"))


def write_parquet(folder: Path) -> None:
    """Write each table as a Parquet file into a folder."""
    folder.mkdir()
    with closing(duckdb.connect()) as connection:
        for table, columns in TABLES.items():
            connection.execute(f"CREATE TABLE {table} ({columns.format(time='TIMESTAMP')})")
            connection.executemany(*_insert(table, "?"))
            connection.execute(f"COPY {table} TO '{folder / table}.parquet' (FORMAT parquet)")


def write_postgres(url: str) -> None:
    """Write the warehouse into a PostgreSQL database."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection, connection.cursor() as cursor:
        for table, columns in TABLES.items():
            cursor.execute(f"CREATE TABLE {table} ({columns.format(time='TIMESTAMP')})")
            cursor.executemany(*_insert(table, "%s"))


def _insert(table: str, mark: str) -> tuple[str, list[tuple[object, ...]]]:
    rows: Iterable[Customer | Order] = CUSTOMERS if table == "customers" else ORDERS
    values = [astuple(row) for row in rows]
    return f"INSERT INTO {table} VALUES ({', '.join([mark] * len(values[0]))})", values
