"""Reads the ids of a query: as `reconcile` does, into its table of desired ids; or as the bare driver does, to nowhere.

python warehouse.py ours|rows|columns URL QUERY OPTIONS
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from reconciler.diff.tables import Tables, make_database
from reconciler.models.fields import Secret
from reconciler.models.ids import IdType, refusal
from reconciler.models.options import read_options
from reconciler.models.spec import Segment
from reconciler.sources import open_source

ROWS_AT_ONCE = 50_000


def read_ours(url: str, query: str, options: dict[str, Any]) -> int:
    """Read through the source, judge each id, and keep it in the table of a comparison."""
    database = make_database("512MB", Path())
    segment = Segment(name="all", segment_id=1, query=query, source="warehouse")
    source = open_source("warehouse", Secret(url), read_options(options))
    with database.keep(), database.catalog() as catalog, database.cursor(catalog) as cursor:
        with source.stream_values(segment) as values:
            judged = f"SELECT {refusal('value', 'typed', IdType.ID)} AS refused, value AS id FROM ({values.select})"
            return Tables(database, catalog, cursor).load("desired", values.rows, judged)


def read_rows(url: str, query: str, options: dict[str, Any]) -> int:
    """Read through the driver, and count."""
    connection = create_engine(url, connect_args=options).connect()
    cursor: Any = connection.execution_options(stream_results=True).exec_driver_sql(query).cursor
    read = 0
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        read += len(rows)
    return read


def read_columns(url: str, query: str, options: dict[str, Any]) -> int:
    """Read through the driver as Arrow, and count."""
    if url.startswith("sc:"):
        from pyspark.sql.connect.client import SparkConnectClient
        from pyspark.sql.connect.plan import SQL

        client = SparkConnectClient(url)
        parts = client.to_table_as_iterator(SQL(query).to_proto(client), {})
        return sum(part.num_rows for part in parts if hasattr(part, "num_rows"))
    connection: Any = create_engine(url, connect_args=options).connect()
    if url.startswith("clickhousedb:"):
        with connection.connection.driver_connection.client.query_arrow_stream(query) as batches:
            return sum(batch.num_rows for batch in batches)
    cursor: Any = connection.exec_driver_sql(query).cursor
    tables: Iterable[Any] = (
        cursor.fetch_arrow_batches() if url.startswith("snowflake:") else cursor.query_job.result().to_arrow_iterable()
    )
    return sum(table.num_rows for table in tables)


if __name__ == "__main__":
    how, url, query, options = sys.argv[1:]
    read = {"ours": read_ours, "rows": read_rows, "columns": read_columns}[how]
    print(read(url, query, json.loads(options)))
