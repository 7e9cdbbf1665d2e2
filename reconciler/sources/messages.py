"""Reads what a driver raised: the database's own words, its SQLSTATE and its vendor's code, wherever they stand."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from reconciler.models.sql import Kind, Statement

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


# --- What may be shown of a database's message: names of the query and of the source, and words that databases use.

HIDDEN = "…"

_TEXT_IN_DOUBLE_QUOTES = frozenset(
    {"mysql", "mariadb", "bigquery", "databricks", "spark", "hive", "impala", "doris", "starrocks", "singlestoredb"}
)
"""Dialects in which double quotes make a string, not a name."""

_NAME = re.compile(r"(?<!\w)[^\W\d][\w$]*")
_PATH = re.compile(
    r"[^@\s]*[/\\*][^@\s]*|[^@\s]+\.(parquet|csv|tsv|json|ndjson|jsonl|txt|gz|zst|db|sqlite|duckdb|xlsx|avro|orc)"
)
_COMPARED = re.compile(r"([=<>]|\b(like|ilike|between|and)|\b(in|values|any|array)\s*[(\[][^()]*)\s*$", re.IGNORECASE)
"""What stands before a text in double quotes, which is a string that was written as a name by mistake."""

_SEPARATORS = r"\s\"'`,;:()\[\]{}<>=!?|«»„“”‘’"
_TOKEN = re.compile(rf"[^{_SEPARATORS}{HIDDEN}]+")
_PLACE = re.compile(
    r"(?i:\b(?:line|position|pos|col|character):?\s+\d{1,4}(?::\d{1,4})?|\bport\s+\d{1,5}|\bat \[\d{1,4}:\d{1,4}\])"
    r"(?![\w.@-])"
)
"""Where in the query an error is, and the port of a server: `line 1:15`, `at [1:8]`, `line 1, pos 14`."""


def find_names(statement: Statement, dialect: str) -> frozenset[str]:
    """The names of a query, in lower case: identifiers of its code, quoted identifiers, and params; no literals."""
    return frozenset(name.casefold() for text in _find_names(statement, dialect) for name in _NAME.findall(text))


def _find_names(statement: Statement, dialect: str) -> Iterator[str]:
    before = ""
    for piece in statement.pieces:
        if piece.kind in (Kind.CODE, Kind.PARAM) or (
            piece.kind is Kind.QUOTED and _is_name(piece.text, before, dialect)
        ):
            yield piece.text
        if piece.kind is not Kind.COMMENT:
            before = before[-1000:] + piece.text


def _is_name(text: str, before: str, dialect: str) -> bool:
    """Tell whether a quoted piece is an identifier."""
    if text[0] == '"':
        return dialect not in _TEXT_IN_DOUBLE_QUOTES and "@" not in text and not _COMPARED.search(before)
    return text[0] in "`[" and "@" not in text


def find_paths(statement: Statement) -> frozenset[str]:
    """The string literals of a query that are paths of files."""
    texts = (piece.text[1:-1] for piece in statement.pieces if piece.kind is Kind.QUOTED and piece.text[0] == "'")
    return frozenset(text for text in texts if is_path(text))


def is_path(text: str) -> bool:
    """Tell whether a text can only be the path of a file, or a pattern of paths."""
    return _PATH.fullmatch(text) is not None


def redact(words: str, names: Collection[str] = (), texts: Collection[str] = ()) -> str:
    """Show of a message what is known; `names` are in lower case, `texts` are shown as they are."""
    kept = "|".join([*map(re.escape, sorted(filter(None, texts), key=len, reverse=True)), _PLACE.pattern])
    shown = re.sub(
        rf"(?P<kept>{kept})|{_TOKEN.pattern}", lambda match: match["kept"] or _show_token(match[0], names), words
    )
    shown = re.sub(rf"{HIDDEN}(?:[\s.,;:@/\\-]*{HIDDEN})+", HIDDEN, shown)
    return " ".join(shown.split())


def _show_token(token: str, names: Collection[str]) -> str:
    """A word that may end a sentence; of a name with dots, the parts that are known."""
    bare = token.rstrip(".")
    if "@" in bare:
        return HIDDEN + token[len(bare) :]
    parts = [part if _is_known(part, names) else HIDDEN for part in bare.split(".")]
    return ".".join(parts) + token[len(bare) :]


def _is_known(word: str, names: Collection[str]) -> bool:
    lowered = word.casefold()
    if lowered in names or lowered in _vocabulary() or re.fullmatch(r"[!-/:-@\[-`{-~]*|(ora|dpy|tns)-\d{4,5}", lowered):
        return True
    parts = re.split(r"[-_/*+%&~^$#\\]", lowered)
    return len(parts) > 1 and all(not part or part in _vocabulary() for part in parts)


@cache
def _vocabulary() -> frozenset[str]:
    """The words that databases and drivers use in messages, in lower case."""
    return frozenset(Path(__file__).with_name("vocabulary.txt").read_text("utf-8").split())


# --- The secrets that a source's URL holds, in every spelling that a driver may repeat.

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_SECRET = re.compile(r"pass|pwd|secret|token|key|credential|auth|signature", re.IGNORECASE)
"""The names of parameters whose values are, or may be, secrets."""


def list_secrets(url: "URL") -> tuple[str, ...]:
    """Give the password, and the secrets among the parameters, as they are and as URLs write them."""
    found = [str(url.password or ""), *_list_parameters(url)]
    spellings = (each for secret in found for each in (secret, quote(secret, safe=""), quote_plus(secret)))
    return tuple(dict.fromkeys(filter(None, spellings)))


def _list_parameters(url: "URL") -> Iterator[str]:
    for name, values in url.normalized_query.items():
        for value in values:
            if name == "odbc_connect":
                yield value
                yield from (part[1].strip("{}") for part in _split_odbc(value) if _SECRET.search(part[0]))
            elif _SECRET.search(name):
                yield value


def _split_odbc(text: str) -> list[tuple[str, str]]:
    """Give each name and value of an ODBC connection string; braces keep a `;` in a value."""
    return re.findall(r"([^;=]+)=(\{[^}]*\}|[^;]*)", text)
