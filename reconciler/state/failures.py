"""What can go wrong with a state database: foreign errors, sorted by tables into words and a next step.

Errors of drivers are recognised by the names of their modules, so that no driver is imported for an error that may
never come.
"""

import errno
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from reconciler.errors import ReconcileError, StateError, StateUnreachable
from reconciler.files import NotPlain
from reconciler.state.location import Address, SqliteAddress


@dataclass(frozen=True)
class Explanation:
    """Words for one kind of failure. `quotable`: the database's own words hold no ids: a traceback may show them."""

    words: str
    hint: str
    quotable: bool = True


_FULL = Explanation("the disk of the state is full", "free some space and run it again; nothing that was sent is lost")
_TAKES_NO_MORE = Explanation(
    "the disk of the state takes no more",
    "raise the quota or the limit of a file's size (`ulimit -f`), or check the disk; nothing that was sent is lost",
)
_READ_ONLY = Explanation("the state can't be written", "check the permissions of the file and of its folder")
_DENIED = Explanation(
    "the state can't be read or written for lack of permission", "check the permissions of the file and of its folder"
)
_IO = Explanation("the disk of the state fails", "check the disk; `reconcile state backup` makes a copy while it can")
_CORRUPT = Explanation(
    "the state is damaged", "restore it from a backup, or move it away and start anew with `reconcile refresh`"
)
_NOT_STATE = Explanation("this file is not a state", "check `state.url`: the file is not a SQLite database")
_OPEN = Explanation("the state can't be opened", "check the path of `state.url` and its permissions")
_BUSY = Explanation("the state is busy: another process writes to it", "wait for that process, and run it again")
_NO_TABLE = Explanation("the state lacks a table or a column", "restore it from a backup, or check `state.url`")
_CONNECT = Explanation("the state's database can't be reached", "check `state.url`, the network and the server")
_LOGIN = Explanation("the state's database refuses the login", "check user and password in `state.url`")
_NO_DATABASE = Explanation("the state's database does not exist", "create it, or check `state.url`")
_FORBIDDEN = Explanation(
    "the state's database does not let us",
    "grant the user the right to use and create tables; docs/databases.md, PostgreSQL, has roles",
)
_STANDBY = Explanation(
    "the state's database can't be written to", "name the primary server in `state.url`, not a standby of it"
)
_SLOW = Explanation("the state's database took too long", "see what keeps it busy, and run it again")
_CANCELLED = Explanation("a statement was cancelled at the state's database", "run it again")
_IDLE = Explanation(
    "the state's database ended a transaction of ours for its age",
    "raise idle_in_transaction_session_timeout and transaction_timeout for the user of `state.url`, and run it again",
)
_CONFLICT = Explanation(
    "the state was read on a standby, which ended the read in favour of its recovery",
    "run it again; or name the primary server in `state.url`, or set hot_standby_feedback = on at the standby",
)
_STOPPED = Explanation("the state's database was stopped, or its administrator ended the connection", "run it again")
_STARTING = Explanation("the state's database is starting or recovering", "run it again when it is up")
_CONNECTIONS = Explanation(
    "the state's database has no connection left for us",
    "end other connections of this user, or raise the limit of the user, the database or the server",
)
_SCHEMA = Explanation(
    "the user of `state.url` may not use the schema of the state",
    "GRANT USAGE, CREATE ON SCHEMA to it; docs/databases.md has the roles",
)
_NO_SCHEMA = Explanation(
    "the user of `state.url` has no schema to create tables in",
    "create one, and set the search_path of this user to it; docs/databases.md has the roles",
)
_CERTIFICATE = Explanation(
    "the certificate of the state's database can't be verified",
    "name the authority that signed it (sslrootcert=FILE in `state.url`), or renew the certificate",
)
_HOST_NAME = Explanation(
    "the certificate of the state's database is for another host", "write the host as the certificate names it"
)
_NO_TLS = Explanation(
    "the state's database offers no TLS", "turn it on there, or check host, port and sslmode in `state.url`"
)
_NEEDS_TLS = Explanation(
    "the state's database does not let this user in from this host without TLS",
    "add sslmode=require to `state.url`, or have pg_hba.conf let it in",
)
_MEMORY = Explanation("the state's database is out of memory", "try again when it has room")
_SIDE_FILES = Explanation(
    "SQLite has to write next to the state (a -shm file, or what a crash has left), and may not",
    "let the user who runs the command write to the folder of the state",
)
_PARAMETERS = Explanation(
    "`state.url` has a port or a parameter that PostgreSQL's client does not take",
    "correct what follows its ?",
    quotable=False,
)
_UNKNOWN = Explanation("the state can't be used", "run it again; if it stays so, report it", quotable=False)

_UNREACHABLE = frozenset(
    {_CONNECT, _LOGIN, _NO_DATABASE, _CERTIFICATE, _HOST_NAME, _NO_TLS, _NEEDS_TLS},
)

_SQLITE = {
    **dict.fromkeys((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE), _FULL),
    **dict.fromkeys((sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH), _READ_ONLY),
    **dict.fromkeys((sqlite3.SQLITE_READONLY_RECOVERY, sqlite3.SQLITE_READONLY_CANTLOCK), _SIDE_FILES),
    **dict.fromkeys((sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_CANTINIT), _SIDE_FILES),
    sqlite3.SQLITE_READONLY_DIRECTORY: _SIDE_FILES,
    sqlite3.SQLITE_IOERR: _IO,
    sqlite3.SQLITE_IOERR_WRITE: _TAKES_NO_MORE,
    sqlite3.SQLITE_CORRUPT: _CORRUPT,
    sqlite3.SQLITE_NOTADB: _NOT_STATE,
    sqlite3.SQLITE_CANTOPEN: _OPEN,
    **dict.fromkeys((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED), _BUSY),
    sqlite3.SQLITE_NOMEM: _MEMORY,
    sqlite3.SQLITE_ERROR: _NO_TABLE,
}
"""By SQLite's result code: the extended one, else the primary one. Source: https://sqlite.org/rescode.html"""

_POSTGRES = {
    "28": _LOGIN,
    "3D": _NO_DATABASE,
    "08": _CONNECT,
    "57014": _SLOW,
    "57P03": _STARTING,
    "57": _STOPPED,
    "53100": _FULL,
    "53300": _CONNECTIONS,
    "53": _MEMORY,
    "58": _IO,
    "XX": _CORRUPT,
    **dict.fromkeys(("25006", "0A000"), _STANDBY),
    **dict.fromkeys(("25P03", "25P04"), _IDLE),
    "3F000": _NO_SCHEMA,
    "42501": _FORBIDDEN,
    **dict.fromkeys(("42P01", "42703"), _NO_TABLE),
    **dict.fromkeys(("55P03", "40"), _BUSY),
}
"""By SQLSTATE, else by its class. Source: PostgreSQL manual, appendix A."""

_WORDS = (
    (r"conflict with recovery", _CONFLICT),
    (r"user request", _CANCELLED),
    (r"for schema", _SCHEMA),
    (r"idle-in-transaction timeout|transaction timeout", _IDLE),
    (r"too many (clients|connections)|connection slots", _CONNECTIONS),
    (r"starting up|in recovery mode|not yet accepting", _STARTING),
    (r"shutting down|administrator command", _STOPPED),
    (r"no encryption|no pg_hba.*SSL off", _NEEDS_TLS),
    (r"does not support SSL|wrong version number", _NO_TLS),
    (r"does not match host name", _HOST_NAME),
    (r"certificate", _CERTIFICATE),
    (r"database .* does not exist", _NO_DATABASE),
    (r"password|role .* does not exist|no pg_hba", _LOGIN),
)
"""PostgreSQL's words where its SQLSTATE is too wide, or where a driver gives none: before there is a connection."""

_SORTED_BY_WORDS = frozenset({"28", "40", "42", "57"})
"""Classes of SQLSTATE in which words are more exact."""


def explain(error: BaseException) -> Explanation:
    """Find what a foreign error means."""
    error = _unwrap(error)
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return _SQLITE.get(code) or _SQLITE.get(code & 0xFF, _UNKNOWN)
    state = getattr(error, "sqlstate", None) or ""
    by_state = _POSTGRES.get(state) or _POSTGRES.get(state[:2])
    if state and state[:2] not in _SORTED_BY_WORDS:
        return by_state or _UNKNOWN
    if _is_of(error, "psycopg", "adbc_driver_manager"):
        first = re.split(r"\n(?:DETAIL|CONTEXT)", str(error))[0]  # what follows may quote a row
        found = next((each for pattern, each in _WORDS if re.search(pattern, first)), None)
        if found is not None:
            return found
    return by_state or _explain_by_name(error)


def is_damage(error: BaseException | None) -> bool:
    """Tell whether a SQLite file can't be read as one."""
    return error is not None and explain(error) in (_CORRUPT, _NOT_STATE)


def _explain_by_name(error: BaseException) -> Explanation:
    """For errors without a code: psycopg gives none where there was no connection, ADBC not always."""
    if isinstance(error, NotPlain):
        return Explanation(f"`state.url` must name a plain file, not {error.kind}", "name another file in `state.url`")
    if isinstance(error, PermissionError):
        return _DENIED
    if isinstance(error, OSError):
        return _FULL if error.errno == errno.ENOSPC else _OPEN
    module, name = type(error).__module__.partition(".")[0], type(error).__name__
    if module in ("psycopg", "adbc_driver_manager") and (name == "OperationalError" or "Timeout" in name):
        return _CONNECT
    if (module, name) in (("psycopg", "ProgrammingError"), ("sqlalchemy", "ArgumentError")):
        return _PARAMETERS
    if (module, name) == ("sqlalchemy", "TimeoutError"):
        return _MEMORY
    return _UNKNOWN


def _unwrap(error: BaseException) -> BaseException:
    """Give what a driver raised, where SQLAlchemy has wrapped it."""
    original: BaseException | None = getattr(error, "orig", None) if _is_of(error, "sqlalchemy") else None
    return error if original is None else original


_QUOTES = re.compile(r"^\s*(DETAIL|CONTEXT|QUERY|STATEMENT|LINE \d+|Query was):", re.MULTILINE)
"""What PostgreSQL adds to a message, such as the line of a COPY, may hold an id."""


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Turn every error of a database, of its driver and of the file system into StateError.

    The original is chained where it can hold no id.
    """
    try:
        yield
    except ReconcileError:
        raise
    except Exception as error:
        foreign = (sqlite3.Error, OSError)
        if not isinstance(error, foreign) and not _is_of(error, "sqlalchemy", "psycopg", "adbc_driver_manager"):
            raise
        explanation, original = explain(error), _unwrap(error)
        may_be_shown = explanation.quotable and not _QUOTES.search(str(original))
        # A file is busy for all who write; of a server only some rows are.
        is_for_all = explanation in _UNREACHABLE or (explanation is _BUSY and isinstance(address, SqliteAddress))
        kind = StateUnreachable if is_for_all else StateError
        raise kind(f"{explanation.words} ({address})", explanation.hint) from original if may_be_shown else None


def _is_of(error: BaseException, *libraries: str) -> bool:
    """Tell whether it is an error of one of these libraries."""
    return any(kind.__module__.startswith(libraries) for kind in type(error).__mro__)
