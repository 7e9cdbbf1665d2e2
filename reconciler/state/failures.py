"""What can go wrong with a state database: foreign errors, sorted in one table into words and a next step.

They are known by the names of their modules, so that nothing foreign is imported for an error that may never come.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from reconciler.errors import ReconcileError, StateError
from reconciler.files import NotPlain
from reconciler.state.address import Address


@dataclass(frozen=True)
class Explanation:
    """Words for one kind of failure. `quotable`: the database's own words hold no ids, and may stand in a traceback."""

    words: str
    hint: str
    quotable: bool = True


_FULL = Explanation("the disk of the state is full", "free some space and run it again; nothing that was sent is lost")
_READ_ONLY = Explanation("the state can't be written", "check the permissions of the file and of its folder")
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
_FORBIDDEN = Explanation("the state's database does not let us", "grant the user the right to use and create tables")
_STANDBY = Explanation(
    "the state's database can't be written to", "name the primary server in `state.url`, not a standby of it"
)
_SLOW = Explanation("the state's database took too long", "see what keeps it busy, and run it again")
_MEMORY = Explanation("the state's database is out of memory or connections", "try again when it has room")
_UNKNOWN = Explanation("the state can't be used", "run it again; if it stays so, report it", quotable=False)

_SQLITE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_AUTH: _READ_ONLY,
    sqlite3.SQLITE_IOERR: _IO,
    sqlite3.SQLITE_CORRUPT: _CORRUPT,
    sqlite3.SQLITE_NOTADB: _NOT_STATE,
    sqlite3.SQLITE_CANTOPEN: _OPEN,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_NOMEM: _MEMORY,
    sqlite3.SQLITE_ERROR: _NO_TABLE,
}
"""By SQLite's primary result code. Source: https://sqlite.org/rescode.html"""

_POSTGRES = {
    "28": _LOGIN,
    "3D": _NO_DATABASE,
    "08": _CONNECT,
    "57014": _SLOW,
    "57": _CONNECT,
    "53100": _FULL,
    "53": _MEMORY,
    "58": _IO,
    "XX": _CORRUPT,
    "25006": _STANDBY,
    "0A000": _STANDBY,
    "42501": _FORBIDDEN,
    "42P01": _NO_TABLE,
    "42703": _NO_TABLE,
    "55P03": _BUSY,
    "40": _BUSY,
}
"""By SQLSTATE, else by its class. Source: PostgreSQL manual, appendix A."""


def explain(error: BaseException) -> Explanation:
    """Say what a foreign error means."""
    original = _unwrap(error)
    if original is not error:
        return explain(original)
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return _SQLITE.get(code & 0xFF, _UNKNOWN)
    state = getattr(error, "sqlstate", None)
    if state:
        return _POSTGRES.get(state) or _POSTGRES.get(state[:2], _UNKNOWN)
    return _explain_by_name(error)


def _explain_by_name(error: BaseException) -> Explanation:
    """For errors without a code: psycopg gives none where there was no connection, ADBC not always."""
    if isinstance(error, NotPlain):
        return Explanation(f"`state.url` must name a plain file, not {error.kind}", "name another file in `state.url`")
    if isinstance(error, PermissionError):
        return _READ_ONLY
    if isinstance(error, OSError):
        return _FULL if error.errno == 28 else _OPEN
    module, name = type(error).__module__.partition(".")[0], type(error).__name__
    if module == "psycopg" and (name == "OperationalError" or "Timeout" in name):
        return _LOGIN if "password authentication failed" in str(error) else _CONNECT
    if module == "sqlalchemy" and name == "TimeoutError":
        return _MEMORY
    return _UNKNOWN


def _unwrap(error: BaseException) -> BaseException:
    """What a driver raised, where SQLAlchemy has wrapped it."""
    original: BaseException | None = getattr(error, "orig", None) if _is_of(error, "sqlalchemy") else None
    return error if original is None else original


def to_state_error(error: Exception, address: Address) -> StateError:
    """Give the error that a user sees; the original is chained where it can hold no id."""
    explanation = explain(error)
    result = StateError(f"{explanation.words} ({address})", explanation.hint)
    result.__cause__ = _unwrap(error) if explanation.quotable else None
    result.__suppress_context__ = True
    return result


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Turn whatever the database raises into StateError."""
    try:
        yield
    except ReconcileError:
        raise
    except Exception as error:
        if isinstance(error, (sqlite3.Error, OSError)) or _is_of(error, "sqlalchemy", "psycopg", "adbc_driver_manager"):
            raise to_state_error(error, address)  # noqa: B904 (its cause is chosen there)
        raise


def _is_of(error: BaseException, *libraries: str) -> bool:
    """Tell whether it is an error of one of these libraries."""
    return any(kind.__module__.startswith(libraries) for kind in type(error).__mro__)
