"""Sorts what databases and drivers say into few kinds, and takes out what must not be shown."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.core.spec import Scalar, Secret
from reconciler.core.tokens import ONLY_PARAMS
from reconciler.errors import SourceError
from reconciler.source.query import Query


class Kind(StrEnum):
    """What went wrong; the value is the next step."""

    CONNECT = "Check the host, port and network in the source's url, and that the database runs."
    AUTH = "Check the user and password in the source's url."
    DENIED = "Grant the user of the source's url the right to read this."
    MISSING = "Check the names in the query, and the database and schema in the source's url."
    SYNTAX = "Correct the query; it runs as a derived table: SELECT ... FROM (<query>) q."
    PARAMS = ONLY_PARAMS
    READ_ONLY = "Write a query that only reads: sources are opened read-only."
    BUSY = "Another program has the database locked: try again later."
    DATA = "A row or a param can't be converted as the query asks; values are not shown here. Run the query by hand."
    RAISED = "A function of the query raised an error: run the query by hand to see it."
    LOST = "The connection broke while the query ran: run again."
    OTHER = "Run the query by hand in the same database."


_SQLSTATES = (
    ("08", Kind.CONNECT),
    ("28", Kind.AUTH),
    ("3D", Kind.CONNECT),
    ("42501", Kind.DENIED),
    ("42601", Kind.SYNTAX),
    ("42P02", Kind.PARAMS),
    ("42", Kind.MISSING),
    ("0A", Kind.SYNTAX),
    ("25006", Kind.READ_ONLY),
    ("21", Kind.DATA),
    ("22", Kind.DATA),
    ("57014", Kind.LOST),
    ("57P", Kind.LOST),
    ("P0", Kind.RAISED),
    ("55P03", Kind.BUSY),
)

_WORDS = (
    (r"conversion error|could not convert|out of range|can't be cast|malformed|invalid input syntax", Kind.DATA),
    (r"division by zero|overflow|more than one row|too long|invalid (byte|value)", Kind.DATA),
    (r"number of bindings|parameter count|values were not provided|bind variable", Kind.PARAMS),
    (r"closed the connection|connection (already )?(was )?(closed|lost|reset)|lost connection|gone away", Kind.LOST),
    (r"terminating|broken pipe", Kind.LOST),
    (r"authentication|password|access denied for user|login failed|pg_hba|role \S+ does not exist", Kind.AUTH),
    (r"connection (to server|is bad|refused)|could not (connect|translate)|can't connect|timed? ?out", Kind.CONNECT),
    (r"name or service|not known|connection option|database \S+ does not exist", Kind.CONNECT),
    (r"permission denied|not authorized|insufficient privilege|denied", Kind.DENIED),
    (r"read.?only", Kind.READ_ONLY),
    (r"syntax error|parser error|unrecognized token|incomplete input|error in your sql syntax", Kind.SYNTAX),
    (r"no such|does(n't| not) exist|not found|unknown (table|column)|invalid (object|column) name", Kind.MISSING),
    (r"locked|busy|conflicting lock|could not set lock", Kind.BUSY),
    (r"unable to open|cannot open|not a (valid )?.*database|failed to open", Kind.CONNECT),
)

_NEVER_VALUES = frozenset({Kind.CONNECT, Kind.AUTH, Kind.DENIED, Kind.READ_ONLY, Kind.BUSY, Kind.LOST})
_NAMES = frozenset({Kind.MISSING, Kind.SYNTAX, Kind.PARAMS})
_ECHO = re.compile(r"\n+(LINE \d+:|DETAIL:|CONTEXT:|\[SQL:|\(Background on).*", re.DOTALL)
_PREFIX = re.compile(
    r"^.*(reading the stream registered as '\w+' failed: |\[libpq\] |(ERROR|FATAL|PANIC): +)", re.DOTALL
)


@dataclass(frozen=True)
class Complaint:
    """What a database said: its words and, if it gave one, its SQLSTATE."""

    words: str
    sqlstate: str | None = None

    @classmethod
    def of(cls, error: BaseException) -> "Complaint":
        """Read an error of any driver, also inside one of SQLAlchemy, whose own words hold the SQL."""
        said = getattr(error, "orig", None) or error
        sqlstate = getattr(said, "sqlstate", None) or getattr(said, "pgcode", None)
        primary = getattr(getattr(said, "diag", None), "message_primary", None)
        words = primary or (said.args[1] if len(said.args) > 1 and isinstance(said.args[0], int) else str(said))
        return cls(str(words), sqlstate)

    @property
    def kind(self) -> Kind:
        """Sort it, by SQLSTATE before words."""
        for start, kind in _SQLSTATES:
            if self.sqlstate and self.sqlstate.startswith(start):
                return kind
        lowered = self.words.lower()
        return next((kind for pattern, kind in _WORDS if re.search(pattern, lowered)), Kind.OTHER)


@dataclass(frozen=True)
class Scrubber:
    """Makes SourceErrors of one source without its secrets, the params of the query and the values of rows."""

    source: str
    secrets: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, source: str, url: Secret, secrets: Iterable[str] = ()) -> "Scrubber":
        """`secrets`: what the URL holds that must not be shown, in every spelling."""
        return cls(source, (url.reveal(), *secrets))

    def complain(self, complaint: Complaint, query: Query | None = None, *, reading: bool = False) -> SourceError:
        """Give the error for a complaint; `reading` says that rows were on their way, so words may hold values."""
        words = _ECHO.sub("", _PREFIX.sub("", complaint.words))
        words = mask(words, [*self.secrets, *map(_param_text, query.values if query else ())])
        said = " ".join(_without_values(words, complaint.kind, reading).split())
        return SourceError(f"source {self.source}: {said}", _hint(complaint.kind, query))


def _hint(kind: Kind, query: Query | None) -> str:
    """The next step; a name that `params` lacks is the likeliest cause of a colon that makes no sense."""
    unbound = query.statement.unbound() if query and kind in (Kind.SYNTAX, Kind.PARAMS) else ()
    return f"`params` has no {', '.join(unbound)}. {Kind.PARAMS.value}" if unbound else kind.value


def _without_values(words: str, kind: Kind, reading: bool) -> str:
    """Once rows are on their way, whatever can't be told apart from a row's value is left out."""
    if kind in _NEVER_VALUES or (kind in _NAMES and not reading):
        return words
    if kind is Kind.DATA or (kind is Kind.OTHER and not reading):
        return redact(words)
    return "the query failed while its rows were read; the database's words may hold a row, so they are not shown"


def mask(words: str, secrets: Iterable[str]) -> str:
    """Replace each secret where it stands by itself."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        words = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", words)
    return words


def redact(words: str) -> str:
    """Take out whatever may be the value of a row: what is quoted, what follows `value`, emails and long numbers."""
    words = re.sub(r"'.*'|\".*\"", "…", words, flags=re.DOTALL)
    words = re.sub(r"(?i)\b(value:?) .*", r"\1 …", words, flags=re.DOTALL)
    return re.sub(r"\S+@\S+|(?<![\w.])\d{4,}\S*", "…", words)


def _param_text(value: Scalar) -> str:
    """The text of a param; booleans, NULL and short numbers say nothing and would mangle the words."""
    if value is None or isinstance(value, bool):
        return ""
    text = str(value)
    return text if isinstance(value, str) or len(text) > 2 else ""


_EXTRAS = {
    "postgresql": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "snowflake": "snowflake",
    "bigquery": "bigquery",
    "redshift": "redshift",
    "databricks": "databricks",
}


def missing_driver(source: str, driver: str) -> SourceError:
    """The error for a database whose driver is not installed; `driver` as a URL of SQLAlchemy begins."""
    kind = driver.partition("+")[0]
    extra = _EXTRAS.get(kind)
    package = f"'reconcile-segments[{extra}]'" if extra else f"the SQLAlchemy dialect for {kind}"
    return SourceError(f"source {source}: there is no driver for {driver}", f"pip install {package}")
