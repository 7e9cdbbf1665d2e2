"""The floor: read the desired and the stored ids with the fastest driver there is, and do nothing else.

python floor.py sqlite|postgres|parquet PLACE STATE_FILE
"""

import sys
from contextlib import closing

import adbc_driver_sqlite.dbapi as sqlite
import duckdb


def count(stream: object) -> int:
    """Read a stream to its end."""
    with duckdb.connect() as connection:
        connection.register("rows", stream.__arrow_c_stream__())  # type: ignore[attr-defined]
        return int(connection.execute("SELECT count(id) FROM rows").fetchone()[0])


def read_adbc(driver: object, place: str, query: str) -> int:
    """Read a query's result through ADBC."""
    with closing(driver.connect(place)) as connection, closing(connection.cursor()) as cursor:  # type: ignore[attr-defined]
        cursor.execute(query)
        return count(cursor.fetch_arrow())


def read_desired(kind: str, place: str) -> int:
    if kind == "parquet":
        with duckdb.connect() as connection:
            return int(connection.execute(f"SELECT count(id) FROM '{place}'").fetchone()[0])
    if kind == "postgres":
        import adbc_driver_postgresql.dbapi as postgres

        return read_adbc(postgres, place, "SELECT id FROM customers")
    return read_adbc(sqlite, f"file:{place}?mode=ro", "SELECT id FROM customers")


if __name__ == "__main__":
    kind, place, state = sys.argv[1:]
    print(read_desired(kind, place))
    print(read_adbc(sqlite, f"file:{state}?mode=ro", "SELECT id FROM reconcile_members"))
