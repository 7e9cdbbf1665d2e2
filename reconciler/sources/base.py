"""What a source is to the rest of the program, and what all of them use."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from reconciler.errors import SourceError, stopped
from reconciler.files import NotPlain, check_readable
from reconciler.models.comparison import (
    FIELD_END,
    ROW_END,
    ArrowStream,
    DatabaseIdentity,
    NotPossible,
    Rows,
    StateTables,
)
from reconciler.models.fields import Scalar
from reconciler.models.freshness import DataTime
from reconciler.models.ids import Invalid, has_utf8, write_exactly
from reconciler.models.members import MembersAtSource
from reconciler.models.spec import Segment
from reconciler.models.sql import Statement, lexicon_of, parse

MEMORY_LIMIT = "256MB"
"""Of the embedded DuckDB of one source."""

_NO_QUERIES = frozenset(
    {
        "insert",
        "update",
        "delete",
        "merge",
        "replace",
        "upsert",
        "create",
        "drop",
        "undrop",
        "alter",
        "truncate",
        "rename",
    }
    | {
        "grant",
        "revoke",
        "deny",
        "pragma",
        "attach",
        "detach",
        "install",
        "load",
        "use",
        "begin",
        "start",
        "commit",
        "end",
    }
    | {"rollback", "abort", "savepoint", "set", "reset", "unset", "copy", "put", "get", "vacuum", "analyze", "optimize"}
    | {"checkpoint", "refresh", "call", "exec", "execute", "do", "declare", "prepare", "lock", "kill", "system"}
    | {"explain", "show", "describe", "desc", "summarize", "exists", "check", "list", "help"}
)
"""How a statement begins that is no query in any database, though one may take it for a derived table."""

ALL_TYPED = "SELECT value, true AS typed FROM incoming"


@dataclass(frozen=True)
class ValueStream:
    """What a query returned, before the rules of ids.

    `select` is SQL of DuckDB over `incoming`: the stream, or the lines of the blocks of text (column `line`). It gives
    `value` (text; null: NULL), the value written exactly (`7`, never `7.0`), and `typed` (boolean), true where the
    *source* gave a string, integer, UUID or integral decimal. `value` may be no UTF-8; the rules of ids refuse it then.
    """

    rows: Rows
    select: str = "SELECT value, typed FROM incoming"
    data_time: DataTime | None = None
    """What the query of `freshness` answered, in the same transaction; None where the segment has none."""


class Source(Protocol):
    """One database that answers queries, read-only."""

    def keep(self) -> AbstractContextManager[None]:
        """Keep what its queries share while the block runs, rather than make it again for each."""
        ...

    def stream_values(self, segment: Segment, few: int = 0, /) -> AbstractContextManager[ValueStream]:
        """Run the query and stream its ids. Raises SourceError, also while the stream is read.

        `few`: up to this number of rows are best given as blocks of text, if that costs nothing.
        """
        ...

    def check(self, segment: Segment) -> None:
        """Prepare the queries without reading them (for `validate --connect`). Raises SourceError."""
        ...

    def interrupt(self) -> None:
        """End the statements that run, where the driver can, and let none begin; from any thread, again and again."""
        ...


class Interruption:
    """Ends the statements of one source, and fails what they were for as stopped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: list[Callable[[], object]] = []
        self._is_set = False

    @contextmanager
    def ending(self, end: Callable[[], object]) -> Iterator[None]:
        """Call `end` in another thread at an interruption, while the block runs. Raises SegmentError then."""
        with self._lock:
            if self._is_set:
                raise stopped()
            self._ends.append(end)
        try:
            yield
        except Exception as error:
            if self._is_set:
                raise stopped() from error
            raise
        finally:
            with self._lock:  # `end` needs what is closed next
                self._ends.remove(end)

    def interrupt(self) -> None:
        """See `Source.interrupt`: one that is about to run is ended by the next call."""
        with self._lock:
            self._is_set = True
            for end in self._ends:
                with suppress(Exception):
                    end()


@dataclass(frozen=True)
class PushdownSession:
    """A read-only transaction of a source that sees a state as of one snapshot of it."""

    values: str
    """The segment's query, as one with the columns `value` (text) and `typed` (boolean, never null)."""
    stream: Callable[[str], AbstractContextManager[ArrowStream]] = field(repr=False)
    """Runs one statement and streams its rows. Raises SourceError, also while the stream is read."""
    data_time: DataTime | None = None
    """As in `ValueStream`."""


@runtime_checkable
class PushdownSource(Protocol):
    """A Source with a database in which a statement can read the state, too."""

    def is_database(self, identity: DatabaseIdentity) -> bool:
        """Tell whether it is this database. Raises SourceError."""
        ...

    def open_session(
        self, segment: Segment, state: StateTables
    ) -> AbstractContextManager[PushdownSession | NotPossible]:
        """Begin a transaction that sees the snapshot of the state, or say why not. Raises SourceError."""
        ...


@runtime_checkable
class HoldsMembers(Protocol):
    """A Source with a database that can hold the members of a state."""

    def open_members(self) -> MembersAtSource:
        """Give the tables of members, which work while the source is kept; nothing is asked yet. Raises SourceError."""
        ...


# --- a segment's query, ready to be run as a derived table ------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    """One query with its params, and which column is wanted."""

    statement: Statement
    params: dict[str, Scalar]
    id_column: str | None

    @classmethod
    def of(cls, segment: Segment, dialect: str) -> "Query":
        """Read a segment's query as this dialect does. Raises SourceError unless it is one query."""
        return cls._read(segment.query, segment.params, dialect, segment.id_column)

    @classmethod
    def of_freshness(cls, segment: Segment, dialect: str) -> "Query | None":
        """Read the query of the segment's `freshness` in the same way; None: it has none."""
        settings = segment.guards.freshness
        if settings is None:
            return None
        with naming_freshness():
            return cls._read(settings.query, settings.params, dialect)

    @classmethod
    def _read(cls, text: str, params: Mapping[str, Scalar], dialect: str, id_column: str | None = None) -> "Query":
        statement = parse(text, params.keys(), lexicon_of(dialect))
        if (word := statement.first_word()) in _NO_QUERIES:
            raise SourceError(f"the query is no query: it begins with {word.upper()}", "Write a SELECT.")
        return cls(statement, {name: params[name] for name in statement.names()}, id_column)

    @cached_property
    def name(self) -> str:
        """A name for our own tables and settings; the query can't hold it, as no text holds its own digest."""
        return f"reconcile_{sha256(self.statement.write(str).encode()).hexdigest()[:12]}"

    def derived(self, what: str, text: str, columns: str = "") -> str:
        """Select from its text as a derived table; line breaks around it, since it may end in a comment."""
        return f"SELECT {what} FROM (\n{text}\n) {self.name}{columns}"

    def numbered(self, mark: str) -> str:
        """Write it with numbered marks (`$1`, `?1`), in the order of `params`."""
        numbers = {name: f"{mark}{number}" for number, name in enumerate(self.params, start=1)}
        return self.statement.write(numbers.__getitem__)

    @property
    def values(self) -> tuple[Scalar, ...]:
        return tuple(self.params.values())


@contextmanager
def naming_freshness() -> Iterator[None]:
    """Let a SourceError say that it is about the query of `freshness`."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"the query of `freshness`: {error.message}", error.hint, code=error.code) from error


def require(file: Path, source: str) -> None:
    """Refuse a file that is missing (it is never created) or no plain file. Raises SourceError."""
    try:
        check_readable(file)
    except (FileNotFoundError, NotADirectoryError):
        problem, hint = f"there is no file {file.name}", "Check the path in the source's url."
    except NotPlain as error:
        problem, hint = f"its url must name a plain file; {file.name} is {error.kind}", "Name another file."
    except OSError as error:
        problem, hint = f"{file.name} can't be read: {error.strerror}", "Check who may read it, and open its folders."
    else:
        return
    raise SourceError(f"source {source}: {problem}", hint)


MOST_NAMES = 20
"""Columns that an error lists."""


def choose(columns: Sequence[str], id_column: str | None) -> int:
    """Give the position of the id column; the database's spelling wins, then one that differs in case only."""
    # SQLite calls the second `id` of a derived table `id:1`; then there are two of that name.
    parts = [(name, *name.rpartition(":")[::2]) for name in columns]
    columns = [base if base in columns and number.isdigit() else name for name, base, number in parts]
    # Shortened; a name with what can't be seen (a byte order mark, a blank at its end) is quoted.
    names = [name if name.isprintable() and name == name.strip() else repr(name) for name in columns[:MOST_NAMES]]
    listed = ", ".join(names + ([f"and {len(columns) - MOST_NAMES} more"] if len(columns) > MOST_NAMES else []))
    if id_column is None:
        if len(columns) != 1:
            raise SourceError(
                f"the query returns {len(columns)} columns ({listed}) and `id_column` names none of them",
                "Set `id_column`, or select one column.",
            )
        return 0
    exact = [at for at, name in enumerate(columns) if name == id_column]
    found = exact or [at for at, name in enumerate(columns) if name.casefold() == id_column.casefold()]
    if len(found) == 1:
        return found[0]
    problem = "has no column" if not found else "has more than one column"
    raise SourceError(
        f"the query {problem} {id_column!r}; its columns are: {listed}",
        "Correct `id_column`." if not found else "Give each column a name of its own with AS.",
    )


def refuse_type(kind: str) -> SourceError:
    """Give the error for a column of which no value can be an id; known before any row is read."""
    return SourceError(
        f"the query returns ids of type {kind}, and no value of this type can be an id",
        "Return a text, an integer, a UUID or an integral decimal, for example CAST(... AS VARCHAR).",
    )


# --- rows from Python as blocks of text (see `models.comparison.Rows`), a line for each value, written exactly --------

BLOCK_ROWS = 50_000

_END, _NULL = chr(ROW_END), chr(FIELD_END)
_UNFIT = _NULL * 2
_OTHER_CONTROL = "\x1d"

SELECT_LINES = f"""
SELECT CASE WHEN starts_with(line, chr({FIELD_END})) THEN if(line = chr({FIELD_END}), NULL, '') ELSE line END AS value,
    line <> chr({FIELD_END}) || chr({FIELD_END}) AS typed
FROM incoming"""
"""For `ValueStream.select`: what the lines of these blocks mean."""


def read_blocks(
    fetch: Callable[[int], Sequence[Sequence[object]]],
    at: int,
    explaining: AbstractContextManager[None] | None = None,
    *,
    fit: bool = True,
) -> Iterator[str]:
    """Fetch to the end, `explaining` what fails; column number `at` holds the ids. `fit`: its values may be ids."""
    with explaining or nullcontext():
        while rows := fetch(BLOCK_ROWS):
            values = [row[at] for row in rows]
            yield write_block(values) if fit else _END.join([_NULL if value is None else _UNFIT for value in values])


def write_block(values: Sequence[Any]) -> str:
    """Write values exactly; a column of one plain type is not examined value by value."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {str}:
        block = _END.join([_NULL if value is None else value for value in values])
    elif kinds <= {int}:
        block = _END.join([_NULL if value is None else str(value) for value in values])
    else:
        return _END.join(map(_write_value, values))
    is_separable = block.count(_END) == len(values) - 1 and block.count(_NULL) == values.count(None)
    return block if is_separable and has_utf8(block) else _END.join(map(_write_value, values))


def write_typed(rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Give rows of `value` and `typed` (see `ValueStream`) as a block."""
    if rows:
        values = [_write_value(value) if typed or value is None else _UNFIT for value, typed in rows]
        yield _END.join(values)


def _write_value(value: Any) -> str:
    """Write one value. Half a surrogate pair is no text; such a value is of a wrong type."""
    if value is None:
        return _NULL
    text = write_exactly(value)
    if isinstance(text, Invalid) or not has_utf8(text):
        return _UNFIT
    # No id holds a control character, and the value is refused for the same reason with any other one.
    return text.replace(_END, _OTHER_CONTROL).replace(_NULL, _OTHER_CONTROL)
