"""The types that a driver's cursor gives for its columns: those of which no value can be an id.

A driver may give a value of such a type as a text or an integer: money, bytes as digits, a date that is none.
"""

import re
from collections.abc import Callable
from datetime import date, time, timedelta
from typing import Any

from sqlalchemy.engine import Dialect

_NAMES = re.compile(
    r"(db_type_|nullable\(|lowcardinality\()*"
    r"(date(time)?|time(tz)?|timestamp(_?[ln]?tz)?|interval[a-z]*|b?float|double|real|bool(ean)?|(var)?binary|bytea|bytes|"
    r"(long_)?raw|json|variant|dynamic|array|list|map|struct|row|record|tuple|geography|geometry|vector)(?![a-z])",
    re.IGNORECASE,
)
_CLASSES = (date, time, timedelta, float, bool, bytes, bytearray, memoryview, list, tuple, dict)
_OBJECTS = ("DATETIME", "DATE", "TIME", "TIMESTAMP", "INTERVAL", "FLOAT", "DOUBLE", "BOOLEAN")
"""Not BINARY: to MySQL's drivers a long text is a BLOB."""

_POSTGRES = {
    **{16: "boolean", 17: "bytea", 114: "json", 142: "xml", 700: "real", 701: "double precision", 790: "money"},
    **{600: "point", 601: "lseg", 602: "path", 603: "box", 604: "polygon", 628: "line", 718: "circle"},
    **{650: "cidr", 774: "macaddr8", 829: "macaddr", 869: "inet", 1560: "bit", 1562: "bit varying"},
    **{1082: "date", 1083: "time", 1114: "timestamp", 1184: "timestamp with time zone", 1186: "interval"},
    **{1266: "time with time zone", 3614: "tsvector", 3615: "tsquery", 3802: "jsonb", 4072: "jsonpath"},
    **{3904: "int4range", 3906: "numrange", 3908: "tsrange", 3910: "tstzrange", 3912: "daterange", 3926: "int8range"},
    **{1000: "boolean[]", 1005: "smallint[]", 1007: "integer[]", 1009: "text[]", 1015: "varchar[]", 1016: "bigint[]"},
}
_REDSHIFT = {
    **{702: "abstime", 1188: "interval", 1190: "interval", 3000: "geometry", 3001: "geography", 3999: "geometry"},
    **{4000: "super", 6551: "varbyte"},
}
_POSTGRES_IDS = frozenset({18, 19, 20, 21, 23, 25, 26, 705, 1042, 1043, 1700, 2950})
"""char, name, int8, int2, int4, text, oid, unknown, bpchar, varchar, numeric, uuid: the types of ids, and what may be
text or number besides. Their values are judged one by one."""

_MYSQL = {4: "float", 5: "double", 7: "timestamp", 10: "date", 11: "time", 12: "datetime", 245: "json", 255: "geometry"}
_SNOWFLAKE = {1: "real", 3: "date", 4: "timestamp", 6: "timestamp", 7: "timestamp", 8: "timestamp", 9: "object"}
_SNOWFLAKE |= {5: "variant", 10: "array", 11: "binary", 12: "time", 13: "boolean", 14: "geography", 15: "geometry"}
_SNOWFLAKE |= {16: "vector", 17: "map", 18: "file", 19: "interval", 20: "interval"}
_NUMBERS = {
    **dict.fromkeys(("psycopg", "psycopg2", "pg8000"), _POSTGRES),
    "redshift_connector": _POSTGRES | _REDSHIFT,
    **dict.fromkeys(("pymysql", "mysqldb", "mysqlconnector", "mariadbconnector"), _MYSQL),
    "snowflake": _SNOWFLAKE,
}
"""By the driver's name in a URL: the numbers of the protocol.

Sources: pg_type.dat of PostgreSQL, oids.py of Redshift's driver, field_types.h of MySQL, type_codes.py of Snowflake's.
"""


_ANY_TYPE = frozenset({"psycopg", "psycopg2", "pg8000"})
"""Drivers of databases with types that a user makes: an enum is an id there, and a row is none."""

ASK_TYPE = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(t.typname), t.typcategory = 'S' OR t.typtype = 'e'
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = {:d}
"""
"""Asks for the name of such a type, and whether its values are texts."""


def find_unfit(code: Any, dialect: Dialect, ask: Callable[[str], tuple[str, bool] | None]) -> str | None:
    """Give the name of a column's type if no value of it can be an id. `code` is from the cursor's description.

    `ask` gives the answer of the database to `ASK_TYPE`; None: there is no such type.
    """
    if code is None:
        return None
    if isinstance(code, type):
        return code.__name__ if issubclass(code, _CLASSES) else None
    numbers = _NUMBERS.get(dialect.driver, {})
    if isinstance(code, int) and code in numbers:
        return numbers[code]
    if isinstance(code, int) and numbers.get(1082) and code not in _POSTGRES_IDS:
        answer = ask(ASK_TYPE.format(code)) if dialect.driver in _ANY_TYPE else None
        kind, is_text = answer or (f"number {code}", False)
        return None if is_text else kind.removeprefix("pg_catalog.").strip('"')
    name = code if isinstance(code, str) else getattr(code, "name", None)
    if isinstance(name, str):
        return name.lower() if _NAMES.match(name) else None
    objects = {name: getattr(dialect.dbapi, name, None) for name in _OBJECTS}
    return next((name.lower() for name, each in objects.items() if each is not None and bool(code == each)), None)
