"""Reads the ids of a query: as `reconcile` does, into its table of desired ids; or as the bare driver does, to nowhere.

python warehouse.py ours|rows|columns URL QUERY
"""

import sys
from pathlib import Path

from sqlalchemy import create_engine

from reconciler.diff.tables import Tables, make_database
from reconciler.models.fields import Secret
from reconciler.models.ids import IdType, refusal
from reconciler.models.spec import Segment
from reconciler.sources import open_source

ROWS_AT_ONCE = 50_000


def read_ours(url: str, query: str) -> int:
    """Read through the source, judge each id, and keep it in the table of a comparison."""
    database = make_database("512MB", Path())
    segment = Segment(name="all", segment_id=1, query=query, source="warehouse")
    with database.keep(), database.catalog() as catalog, database.cursor(catalog) as cursor:
        with open_source("warehouse", Secret(url)).stream_values(segment) as values:
            judged = f"SELECT {refusal('value', 'typed', IdType.ID)} AS refused, value AS id FROM ({values.select})"
            return Tables(database, catalog, cursor).load("desired", values.rows, judged)


def read_bare(url: str, query: str, *, by_columns: bool) -> int:
    """Read through the driver, and count."""
    connection = create_engine(url).connect()
    if by_columns:
        client = connection.connection.driver_connection.client  # type: ignore[union-attr]
        with client.query_arrow_stream(query) as batches:
            return sum(batch.num_rows for batch in batches)
    cursor = connection.execution_options(stream_results=True).exec_driver_sql(query).cursor
    read = 0
    while rows := cursor.fetchmany(ROWS_AT_ONCE):  # type: ignore[union-attr]
        read += len(rows)
    return read


if __name__ == "__main__":
    how, url, query = sys.argv[1:]
    print(read_ours(url, query) if how == "ours" else read_bare(url, query, by_columns=how == "columns"))
