"""Letting a statement run beside a query in its PostgreSQL: what stands in the way, and seeing a moment of a state."""

from contextlib import closing

import adbc_driver_manager
import psycopg
from adbc_driver_manager.dbapi import Connection

from reconciler.engine.ports import Proof, Site
from reconciler.source.bench import Workbench

OLDEST_SERVER = 120_000
"""PostgreSQL 12: before it, every WITH is written out in full."""

_RIGHTS = """
SELECT count(*) FILTER (WHERE has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT')),
    count(*) FILTER (WHERE row_security_active(oid)),
    (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database())
FROM pg_class WHERE oid = ANY (%s::int8[]::oid[])
"""


def answers(connection: psycopg.Connection, proof: Proof) -> bool:
    """Tell whether this is the database of a proof."""
    row = connection.execute(proof.question.encode()).fetchone()
    return row is not None and str(row[0]) == proof.answer


def find_obstacle(connection: psycopg.Connection, site: Site) -> str:
    """Say why a statement can't read the state here; empty: it can."""
    if not answers(connection, site.proof):
        return "the state is in another database"
    if connection.info.server_version < OLDEST_SERVER:
        return "the server is older than PostgreSQL 12"
    readable, hidden, encoding = connection.execute(_RIGHTS, [list(site.tables)]).fetchall()[0]
    if readable < len(site.tables):
        return "the source's user may not read the tables of the state"
    if hidden:
        return "row security may hide rows of the state from the source's user"
    return "" if encoding == "UTF8" else f"the database's encoding is {encoding}"


def look_back(connection: Connection, site: Site, bench: Workbench) -> bool:
    """Make a transaction that has just begun see the moment of a site, read-only; False: it is not to be had here.

    The address may lead to one server now and to another one then, so it is asked again which one this is.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute(f"SET TRANSACTION SNAPSHOT '{site.moment}'")
        with closing(connection.cursor()) as cursor, bench.cursor() as reader:
            cursor.execute(site.proof.question)
            reader.register("answer", cursor.fetch_arrow())
            rows = reader.execute("SELECT * FROM answer").fetchall()
            reader.unregister("answer")
    except adbc_driver_manager.Error:
        return False
    return [str(row[0]) for row in rows] == [site.proof.answer]
