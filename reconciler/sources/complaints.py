"""Reads what a driver raised: the database's own words, its SQLSTATE and its vendor's code, wherever they stand."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MOST_WORDS = 300
"""Characters after which a message ends with its sentence."""

_PREFIX = re.compile(
    r"^.*(?:reading the stream registered as '\w+' failed: |Failed to \w+ query: |\[PGRES_FATAL_ERROR\]: |\[libpq\] "
    r"|(?:could not begin COPY|Failed to prepare query): |(?:ERROR|FATAL|PANIC): +)"
)
_JAVA = re.compile(r"\*?\b(?:[a-z]\w*\.){2,}(?:\w+\$)*[A-Z]\w*(?:Exception|Error)\s*:\s*")
_TRACE = re.compile(r"(?:\s+|',\s*')at [\w.$]+\(.*|\s+Caused by: .*|\s*Stack trace:.*", re.DOTALL)
_ECHO = re.compile(
    r"\n+(?:LINE \d+:|DETAIL:|CONTEXT:|HINT:|STATEMENT:|WHERE:|QUERY:|query:|\t|Location:|Job ID:|Help: |== SQL).*"
    r"|\s*Query was: .*|[.:]? In scope .*| in scope SELECT .*|: while executing .*|; reason: .*|; line \d+ pos \d+;\n.*"
    r"|\[SQL: .*|\(Background on this error.*|\. SQLSTATE: .*|\n\nLINE .*|\s*\(sfqid=.*|\s+Input: \".*",
    re.DOTALL,
)
"""What follows a message and repeats the query, the row, or how the server got there."""

_CAUSE = re.compile(r"Caused by \w+\((.*)\)", re.DOTALL)
_REASON = re.compile(
    r"\[SSL: \w+\] .*?(?= \(_ssl|['\"]?\)+$)|\[Errno -?\d+\] [^'\"()]*"
    r"|(?<=\(['\"])(?!.*\(['\"]).*(?=['\"]\)+$)"
)
"""Within it, what OpenSSL or the system says, else the innermost text."""

_STATE = re.compile(r"SQLSTATE:? ?\[?([0-9A-Z]{5})\b|\(([0-9A-Z]{5})\): ")
_CLICKHOUSE = re.compile(r"^.*?Code: \d+\. DB::\w*Exception: ", re.DOTALL)


@dataclass(frozen=True)
class Complaint:
    """What a database said: its words and, if it gave them, its SQLSTATE and a code of its vendor's `family`."""

    words: str
    sqlstate: str | None = None
    family: str = ""
    code: int | None = None

    @classmethod
    def of(cls, error: BaseException) -> "Complaint":
        """Read an error of any driver, also inside one of SQLAlchemy, whose own words hold the SQL."""
        said = _unwrap(error)
        for read in (_read_fields, _read_hive, _read_adbc, _read_vendor):
            found = read(said)
            if found is not None:
                break
        else:
            found = (str(said), _state_of(said), "", None)
        text, sqlstate, family, code = found
        if sqlstate is None:
            in_words = _STATE.search(text)
            sqlstate = (in_words[1] or in_words[2]) if in_words else None
        if sqlstate is None and re.search(r"CONTEXT: .* at RAISE\b", text, re.DOTALL):
            sqlstate = "P0001"
        return cls(shorten(text), sqlstate, family, code)


Found = tuple[str, str | None, str, int | None]
"""Words, SQLSTATE, family, code."""


def shorten(text: str) -> str:
    """Cut a message down to what went wrong: no trace, no echo of the query, one sentence if it is long."""
    text = _CLICKHOUSE.sub("", _PREFIX.sub("", text))
    cause = _CAUSE.search(text)
    if cause:
        reason = _REASON.search(cause[1])
        text = reason[0] if reason else cause[1]
    text = re.sub(r"\[Errno -?\d+\] | \(_ssl\.c:\d+\)", "", text)
    text = _ECHO.sub("", _JAVA.sub("", _TRACE.sub("", text)))
    words = " ".join(text.split())
    if len(words) <= MOST_WORDS:
        return words
    end = re.search(r"[.!?](?=\s)", words[40:])
    return words[: min(MOST_WORDS, 40 + end.end()) if end else MOST_WORDS]


def _unwrap(error: BaseException) -> BaseException:
    """The innermost error: SQLAlchemy, BigQuery's DB-API and others wrap what they were given."""
    for inner in _inner(error):
        return _unwrap(inner)
    return error


def _inner(error: BaseException) -> Iterator[BaseException]:
    original = getattr(error, "orig", None)
    if isinstance(original, BaseException):
        yield original
    yield from (arg for arg in error.args if isinstance(arg, BaseException))


def _state_of(said: BaseException) -> str | None:
    state = getattr(said, "sqlstate", None) or getattr(said, "pgcode", None)
    return str(state) if state else None


def _read_fields(said: BaseException) -> Found | None:
    """What pg8000, redshift_connector and Trino give as a dictionary."""
    fields: Any = said.args[0] if said.args else None
    if not isinstance(fields, Mapping):
        return None
    if "M" in fields:
        return str(fields["M"]), fields.get("C"), "", None
    if "message" in fields:
        return f"{fields.get('errorName', '')}: {fields['message']}".lstrip(": "), None, "", None
    return None


def _read_hive(said: BaseException) -> Found | None:
    """The status of Hive's protocol, whose text is the trace of the server."""
    status: Any = getattr(said.args[0] if said.args else None, "status", None)
    text = getattr(status, "errorMessage", None)
    return None if text is None else (str(text), getattr(status, "sqlState", None), "", None)


def _read_adbc(said: BaseException) -> Found | None:
    """PostgreSQL's own words, which ADBC keeps beside its own, in which the query is repeated."""
    details: Any = getattr(said, "details", None)
    if not isinstance(details, (list, tuple)):
        return None
    for key, value in (pair for pair in details if isinstance(pair, tuple) and len(pair) == 2):
        if key in (b"PG_DIAG_MESSAGE_PRIMARY", "PG_DIAG_MESSAGE_PRIMARY"):
            return bytes(value).decode(errors="replace"), _state_of(said), "", None
    return None


def _read_vendor(said: BaseException) -> Found | None:
    """A code beside the words: psycopg, SQLite, MySQL, Snowflake, Oracle, ODBC, Google."""
    primary = getattr(getattr(said, "diag", None), "message_primary", None)
    if primary:
        return str(primary), _state_of(said), "", None
    code = getattr(said, "sqlite_errorcode", None)
    if isinstance(code, int):
        return str(said), None, "sqlite", code
    raw, state = getattr(said, "raw_msg", None), _state_of(said)
    if raw:
        return str(raw), state, "", None
    first, second = (*said.args, None, None)[:2]
    if isinstance(first, int) and isinstance(second, str) and not isinstance(said, OSError):
        return second, state, "mysql", first
    if isinstance(first, str) and isinstance(second, str) and re.fullmatch(r"[0-9A-Z]{5}", first):
        return re.sub(r"^(?:\[[^\]]*\] ?)+|\s*\(\d+\)\s*\(SQL\w+\)|\s*\(SQL\w+\)", "", second), first, "", None
    text = getattr(first, "message", None) or getattr(said, "message", None)
    return (str(text), state, "", None) if isinstance(text, str) and text else None
