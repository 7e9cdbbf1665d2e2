"""The types that a driver's cursor gives for its columns, as far as they tell that no value can be an id.

Drivers may give a date or a double as text; the type that the source gave it counts. What a driver says of a type is a
number, an object of its module, a class of Python or a name; where it says nothing, each value tells for itself.
"""

import re
from datetime import date, time, timedelta
from typing import Any

from sqlalchemy.engine import Dialect

_NAMES = re.compile(
    r"(db_type_|nullable\(|lowcardinality\()*"
    r"(date(time)?|time(tz)?|timestamp(_?[ln]?tz)?|interval|float|double|real|bool(ean)?|(var)?binary|bytea|bytes|(long_)?raw|"
    r"json|array|list|map|struct|row|record|tuple|geography|geometry|vector)(?![a-z])",
    re.IGNORECASE,
)
_CLASSES = (date, time, timedelta, float, bool, bytes, bytearray, memoryview, list, tuple, dict)
_OBJECTS = ("DATETIME", "DATE", "TIME", "TIMESTAMP", "INTERVAL", "FLOAT", "DOUBLE", "BOOLEAN")
"""Not BINARY: to MySQL's drivers a long text is a BLOB."""

_POSTGRES = {
    16: "boolean",
    17: "bytea",
    114: "json",
    700: "real",
    701: "double precision",
    1082: "date",
    1083: "time",
    1114: "timestamp",
    1184: "timestamp with time zone",
    1186: "interval",
    1266: "time with time zone",
    3802: "jsonb",
}
_MYSQL = {4: "float", 5: "double", 7: "timestamp", 10: "date", 11: "time", 12: "datetime", 245: "json", 255: "geometry"}
_SNOWFLAKE = {1: "real", 3: "date", 4: "timestamp", 6: "timestamp", 7: "timestamp", 8: "timestamp", 9: "object"}
_SNOWFLAKE |= {10: "array", 11: "binary", 12: "time", 13: "boolean"}
_NUMBERS = {
    "psycopg": _POSTGRES,
    "psycopg2": _POSTGRES,
    "pg8000": _POSTGRES,
    "redshift_connector": _POSTGRES,
    "pymysql": _MYSQL,
    "mysqldb": _MYSQL,
    "mysqlconnector": _MYSQL,
    "mariadbconnector": _MYSQL,
    "snowflake": _SNOWFLAKE,
}
"""By the driver's name in a URL: the numbers of the protocol.

Sources: pg_type.dat of PostgreSQL, field_types.h of MySQL, type_codes.py of Snowflake's driver.
"""


def find_unfit(code: Any, dialect: Dialect) -> str | None:
    """Give the name of a column's type if no value of it can be an id. `code` is from the cursor's description."""
    if code is None:
        return None
    if isinstance(code, type):
        return code.__name__ if issubclass(code, _CLASSES) else None
    numbers = _NUMBERS.get(dialect.driver, {})
    if isinstance(code, int) and code in numbers:
        return numbers[code]
    name = code if isinstance(code, str) else getattr(code, "name", None)
    if isinstance(name, str):
        return name.lower() if _NAMES.match(name) else None
    objects = {name: getattr(dialect.dbapi, name, None) for name in _OBJECTS}
    return next((name.lower() for name, each in objects.items() if each is not None and bool(code == each)), None)
