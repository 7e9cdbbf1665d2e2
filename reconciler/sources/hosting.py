"""Letting a statement run beside a query in its PostgreSQL: what stands in the way, and seeing a moment of a state."""

import adbc_driver_manager
import psycopg
from adbc_driver_manager.dbapi import Connection

from reconciler.models.pushdown import Proof, Site

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


def look_back(connection: Connection, site: Site) -> bool:
    """Make a transaction that has just begun see the moment of a site, read-only; False: it is not to be had here.

    The address may lead to one server now and to another one then, so it is asked again which one this is.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute(f"SET TRANSACTION SNAPSHOT '{site.moment}'")
            cursor.adbc_statement.set_sql_query(_insist(site.proof))
            cursor.adbc_statement.execute_update()
    except adbc_driver_manager.Error:
        return False
    return True


def _insist(proof: Proof) -> str:
    """A statement that fails unless this is the database of a proof: reading an answer would take another library."""
    answer = f"convert_from(decode('{proof.answer.encode().hex()}', 'hex'), 'UTF8')"
    return f"SELECT 1 / CASE WHEN ({proof.question}) = {answer} THEN 1 ELSE 0 END"
