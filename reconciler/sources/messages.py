"""What a database says when something fails: its message out of any driver's error, and what of it may be shown.

A message may hold the value of a row, as the database evaluates while it runs, and the literals of the query, which
may be ids. Quotes do not tell values and names apart reliably, so every word is compared with what is known
(names of the query and of the source, words that databases use), and anything else is replaced by an ellipsis.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from reconciler.escaping import mask
from reconciler.models.options import NO_OPTIONS, SECRET_NAME, Options
from reconciler.models.sql import Kind, Statement

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

MOST_CHARACTERS = 300
"""After which a message ends with its sentence."""

_PREFIX = re.compile(
    r"^\d{6} \([0-9A-Z]{5}\): |^(?:\d{3} )?(?:GET|POST) https?:\S+: "
    r"|^.*(?:reading the stream registered as '\w+' failed: |Failed to \w+ query: |\[PGRES_FATAL_ERROR\]: |\[libpq\] "
    r"|failed to connect to all addresses; last error: \w+: "
    r"|(?:could not begin COPY|Failed to prepare query): |(?:\bERROR|FATAL|PANIC): +)"
)
_JAVA = re.compile(r"\*?\b(?:[a-z]\w*\.){2,}(?:\w+\$)*[A-Z]\w*(?:Exception|Error)\s*:\s*")
_TRACE = re.compile(
    r"(?:\s+|',\s*')at [\w.$/@<>-]+\(.*|\s+Caused by: .*|\s*Stack trace:.*|\s*JVM stacktrace:.*", re.DOTALL
)
_ECHO = re.compile(
    r"\n+(?:LINE \d+:|DETAIL:|CONTEXT:|HINT:|STATEMENT:|WHERE:|QUERY:|query:|\t|Location:|Job ID:|Help: |== SQL).*"
    r"|\s*Query was: .*|[.:]? In scope .*| in scope SELECT .*|: while executing .*|; reason: .*|; line \d+ pos \d+;\n.*"
    r"|\[SQL: .*|\(Background on this error.*|\.\s+SQLSTATE: .*|\n\nLINE .*|\s*\(sfqid=.*|\s+Input: \".*"
    r"|: Invalid certificate verification context.*|DB-Lib error message.*|, Sqlstate: \w+, Routine: .*"
    r"| while processing row .*| \(line \d+, col \d+\): .*|[.:]? In query SELECT.*| \(for url .*|\n at \S+ \S+\.go:.*",
    re.DOTALL,
)
"""What follows a message and repeats the query, the row, or how the server got there."""

_CAUSE = re.compile(r"Caused by \w+\((.*)\)", re.DOTALL)
_REASON = re.compile(
    r"\[SSL: \w+\] .*?(?= \(_ssl|['\"]?\)+$)|\[Errno -?\d+\] [^'\"()]*"
    r"|(?<=\(['\"])(?!.*\(['\"]).*(?=['\"]\)+$)"
)
"""Within it, what OpenSSL or the system says, else the innermost text."""

_STATE = re.compile(r"SQLSTATE[:=]? ?\[?([0-9A-Z]{5})\b|\(([0-9A-Z]{5})\): ")
_ODBC = re.compile(r"^(?:\[[^\]]*\] ?)+|\s*\(\d+\)\s*\(SQL\w+\)|\s*\(SQL\w+\)")
_ANY_OF_HIVE = "08S01"
"""Hive gives this state to any error while a query runs."""

_ADBC_MESSAGE, _ADBC_FUNCTION = "PG_DIAG_MESSAGE_PRIMARY", "PG_DIAG_SOURCE_FUNCTION"
_RAISING, _RAISED = "exec_stmt_raise", "P0001"
"""The function of PostgreSQL that carries out RAISE, whatever SQLSTATE this gives; and what is taken for it."""

_GRPC_DETAILS = re.compile(r'details = "(.*?)"\n\tdebug_error_string', re.DOTALL)
_GRPC_STATES = {
    "UNAUTHENTICATED": "28000",
    "PERMISSION_DENIED": "42501",
    "UNAVAILABLE": "08000",
    "DEADLINE_EXCEEDED": "HYT00",
    "RESOURCE_EXHAUSTED": "53000",
    "CANCELLED": "57014",
}
"""What the codes of gRPC mean, as SQLSTATE; every error of Spark itself comes as INTERNAL, with a state of its own."""

_CLICKHOUSE = re.compile(r"^.*?Code: (\d+)\. DB::\w*Exception: ", re.DOTALL)
_NUMBER = re.compile(r"\((\d+)\) \(SQL\w+\)")
"""SQL Server's own, which its ODBC driver puts behind the message."""


@dataclass(frozen=True)
class DatabaseMessage:
    """What a database said and, if it gave them, its SQLSTATE and a code of its vendor's `family`."""

    text: str
    sqlstate: str | None = None
    family: str = ""
    code: int | None = None

    @classmethod
    def of(cls, error: BaseException, secrets: Iterable[str] = ()) -> "DatabaseMessage":
        """Read an error of any driver, also inside one of SQLAlchemy, which holds the SQL in its own text.

        `secrets` are masked before the text is cut: a part of one would not be known any more.
        """
        found = _read_fields(_unwrap(error))
        if of_clickhouse := _CLICKHOUSE.match(found.text):
            found = replace(found, family="clickhouse", code=int(of_clickhouse[1]))
        found = replace(found, text=mask(found.text, secrets, as_words=True))
        sqlstate = found.sqlstate
        if sqlstate is None and (in_text := _STATE.search(found.text)):
            sqlstate = in_text[1] or in_text[2]
        if sqlstate is None and re.search(r"CONTEXT: .* at RAISE\b", found.text, re.DOTALL):
            sqlstate = _RAISED
        return replace(found, text=shorten(found.text), sqlstate=sqlstate)


def shorten(text: str) -> str:
    """Cut a message down to what went wrong: no trace, no echo of the query, one sentence if it is long."""
    text = _CLICKHOUSE.sub("", _PREFIX.sub("", text))
    if cause := _CAUSE.search(text):
        reason = _REASON.search(cause[1])
        text = reason[0] if reason else cause[1]
    text = re.sub(r"\[Errno -?\d+\] | \(_ssl\.c:\d+\)", "", text)
    text = _ECHO.sub("", _JAVA.sub("", _TRACE.sub("", text)))
    text = " ".join(text.split())
    if len(text) <= MOST_CHARACTERS:
        return text
    end = re.search(r"[.!?](?=\s)", text[40:])
    return text[: min(MOST_CHARACTERS, 40 + end.end()) if end else MOST_CHARACTERS]


def _unwrap(error: BaseException) -> BaseException:
    """Give the innermost error: SQLAlchemy, BigQuery's DB-API and others wrap what they were given."""
    wrapped = [getattr(error, "orig", None), *error.args]
    inner = next((each for each in wrapped if isinstance(each, BaseException) and str(each)), None)
    return error if inner is None else _unwrap(inner)


def _read_fields(error: BaseException) -> DatabaseMessage:
    """Read what each driver gives next to its text, or instead of it."""
    given = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    state = str(given) if given else None
    first, second = (*error.args, None, None)[:2]

    # pg8000, redshift_connector, Trino and Hive: an argument with fields. The text of Hive is the trace of the server.
    if isinstance(first, Mapping) and "M" in first:
        return DatabaseMessage(str(first["M"]), _RAISED if first.get("R") == _RAISING else first.get("C"))
    if isinstance(first, Mapping) and "message" in first:
        return DatabaseMessage(f"{first.get('errorName', '')}: {first['message']}".lstrip(": "))
    status: Any = getattr(first, "status", None)
    if getattr(status, "errorMessage", None) is not None:
        state = getattr(status, "sqlState", None)
        return DatabaseMessage(str(status.errorMessage), None if state == _ANY_OF_HIVE else state)

    # Spark Connect. What gRPC itself found wrong has no message but a repr.
    grpc: Any = getattr(error, "getGrpcStatusCode", None)
    if grpc is not None:
        of_grpc = _GRPC_DETAILS.search(str(error))
        found = error.getSqlState() or _GRPC_STATES.get(grpc().name)  # type: ignore[attr-defined]
        return DatabaseMessage(of_grpc[1] if of_grpc else str(error), found)

    # ADBC keeps PostgreSQL's own message next to its own, in which the query is repeated.
    details: Any = getattr(error, "details", None)
    pairs = [pair for pair in details if isinstance(pair, tuple)] if isinstance(details, (list, tuple)) else ()
    of_adbc = {str(name): bytes(value).decode(errors="replace") for name, value in pairs}
    if _ADBC_MESSAGE in of_adbc:
        return DatabaseMessage(of_adbc[_ADBC_MESSAGE], _RAISED if of_adbc.get(_ADBC_FUNCTION) == _RAISING else state)

    # psycopg, SQLite, Snowflake, MySQL, ODBC, then Oracle and Google.
    diagnosis = getattr(error, "diag", None)
    primary = getattr(diagnosis, "message_primary", None)
    if primary:
        is_raised = getattr(diagnosis, "source_function", None) == _RAISING
        return DatabaseMessage(str(primary), _RAISED if is_raised else state)
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        return DatabaseMessage(str(error), None, "sqlite", code)
    raw = getattr(error, "raw_msg", None)
    if raw:
        return DatabaseMessage(str(raw), state)
    if isinstance(first, int) and isinstance(second, str) and not isinstance(error, OSError):
        return DatabaseMessage(str(getattr(error, "msg", None) or second), state, "mysql", first)
    if type(error).__module__ == "mariadb":
        return DatabaseMessage(str(error), state, "mysql", getattr(error, "errno", None))
    if isinstance(first, int) and isinstance(second, bytes):
        return DatabaseMessage(second.decode(errors="replace"), None, "mssql", first)
    if isinstance(first, str) and isinstance(second, str) and re.fullmatch(r"[0-9A-Z]{5}", first):
        number = int(found[1]) if (found := _NUMBER.search(second)) else None
        return DatabaseMessage(_ODBC.sub("", second), first, "mssql" if number else "", number)
    if isinstance(first, str) and isinstance(second, Mapping):  # what Google's login says
        return DatabaseMessage(first, state)
    text, code = getattr(first, "message", None) or getattr(error, "message", None), getattr(first, "code", None)
    context = getattr(error, "context", None)  # Databricks
    if isinstance(text, str) and isinstance(context, Mapping) and context.get("http-code"):
        text = f"{text} HTTP {context['http-code']}: {context.get('error-message') or 'no reason given'}"
    family = "oracle" if isinstance(code, int) and code else ""
    text = text if isinstance(text, str) and text else str(error)
    return DatabaseMessage(text, state, family, code if family else None)


# --- what may be shown -------------------------------------------------------------------------------------------

HIDDEN = "…"

_TEXT_IN_DOUBLE_QUOTES = re.compile(
    "bigquery|databricks|doris|hive|impala4?|mariadb|maxcompute|mysql|oceanbase|odps|pydoris|sc|singlestoredb|spanner|"
    "spark(sql)?|starrocks|tidb"
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
    """Give the names of a query, in lower case: identifiers, also quoted ones, and params; no literals."""
    names: set[str] = set()
    before = ""
    for piece in statement.pieces:
        if piece.kind is Kind.COMMENT:
            continue
        text = piece.text
        if piece.kind is not Kind.QUOTED:
            is_name = True
        elif text[0] == '"':
            is_text = _TEXT_IN_DOUBLE_QUOTES.fullmatch(dialect) or _COMPARED.search(before)
            is_name = not is_text and "@" not in text
        else:
            is_name = text[0] in "`[" and "@" not in text
        if is_name:
            names.update(name.casefold() for name in _NAME.findall(text))
        before = before[-1000:] + text
    return frozenset(names)


def find_paths(statement: Statement) -> frozenset[str]:
    """Give the string literals of a query that are paths of files."""
    texts = (piece.text[1:-1] for piece in statement.pieces if piece.kind is Kind.QUOTED and piece.text[0] == "'")
    return frozenset(text for text in texts if is_path(text))


def is_path(text: str) -> bool:
    """Tell whether a text can only be the path of a file, or a pattern of paths."""
    return _PATH.fullmatch(text) is not None


_QUOTED = re.compile(r"(?<!\w)(?P<mark>['\"])(?P<text>.*?)(?P=mark)(?!\w)|(?i:(?<=\bvalue: )|(?<=[^\d\s]: )(?=\S+$)).+")
"""What may be a value: a text in quotes, what follows `value:`, and the last word behind a colon."""


def redact(message: str, names: Collection[str] = (), texts: Collection[str] = (), *, rows: bool = False) -> str:
    """Show of a message what is known; `names` are in lower case, `texts` are shown as they are.

    `rows`: it is about a row. What may be a value is hidden then, unless it is a name of the query.
    """

    def hide(match: re.Match[str]) -> str:
        mark, text = match["mark"] or "", match["text"] if match["mark"] else match[0]
        is_name = all(word.casefold() in names for word in re.findall(r"[^\s.]+", text))
        return match[0] if is_name or any(map(text.__contains__, texts)) else f"{mark}{HIDDEN}{mark}"

    def show(match: re.Match[str]) -> str:
        if match["kept"]:
            return match["kept"]
        bare = match[0].rstrip(".")  # the word may end a sentence
        end = match[0][len(bare) :]
        if "@" in bare:
            return HIDDEN + end
        return ".".join(part if _is_known(part, names) else HIDDEN for part in bare.split(".")) + end

    message = _QUOTED.sub(hide, message) if rows else message
    kept = "|".join([*map(re.escape, sorted(filter(None, texts), key=len, reverse=True)), _PLACE.pattern])
    shown = re.sub(rf"(?P<kept>{kept})|{_TOKEN.pattern}", show, message)
    shown = re.sub(rf"{HIDDEN}(?:[\s.,;:@/\\-]*{HIDDEN})+", HIDDEN, shown)
    return " ".join(shown.split())


def _is_known(word: str, names: Collection[str]) -> bool:
    lowered = word.casefold()
    if lowered in names or lowered in _vocabulary() or re.fullmatch(r"[!-/:-@\[-`{-~]*|(ora|dpy|tns)-\d{4,5}", lowered):
        return True
    parts = re.split(r"[-_/*+%&~^$#\\]", lowered)
    return len(parts) > 1 and all(not part or part in _vocabulary() for part in parts)


@cache
def _vocabulary() -> frozenset[str]:
    """Give the words that databases and drivers use in messages, in lower case."""
    return frozenset(Path(__file__).with_name("vocabulary.txt").read_text("utf-8").split())


# --- the secrets of a source -------------------------------------------------------------------------------------

LONG_LINE = 16
"""Characters of a line that is masked by itself."""

_ODBC_PART = re.compile(r"([^;=]+)=(\{[^}]*\}|[^;]*)")
"""A name and its value in an ODBC connection string; braces keep a `;` in a value."""


def list_secrets(url: "URL", options: Options = NO_OPTIONS) -> tuple[str, ...]:
    """Give the password, and the secrets among parameters and options, in every spelling that a driver may repeat."""
    found = [str(url.password or "")]
    for name, values in url.normalized_query.items():
        if name == "odbc_connect":
            found += values
            parts = [part for value in values for part in _ODBC_PART.findall(value)]
            found += [secret.strip("{}") for key, secret in parts if SECRET_NAME.search(key)]
        elif SECRET_NAME.search(name):
            found += values
    for secret in options.secrets:  # a key of several lines: a message may have it as one, or a line of it
        found += [secret, " ".join(secret.split()), *(line for line in secret.splitlines() if len(line) >= LONG_LINE)]
    spellings = (each for secret in found for each in (secret, quote(secret, safe=""), quote_plus(secret)))
    return tuple(dict.fromkeys(filter(None, spellings)))
