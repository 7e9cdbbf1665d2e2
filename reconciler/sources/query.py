"""A segment's query, ready to be run as a derived table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from reconciler.errors import SourceError
from reconciler.models.fields import Scalar
from reconciler.models.spec import Segment
from reconciler.models.sql import Statement, lexicon_of, parse


@dataclass(frozen=True)
class Query:
    """One query with its params, and which column is wanted."""

    statement: Statement
    params: dict[str, Scalar]
    id_column: str | None

    @classmethod
    def of(cls, segment: Segment, dialect: str) -> "Query":
        """Read a segment's query as this dialect does. Raises SourceError unless it is one query."""
        statement = parse(segment.query, segment.params.keys(), lexicon_of(dialect))
        return cls(statement, {name: segment.params[name] for name in statement.names()}, segment.id_column)

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


# --- the column of ids --------------------------------------------------------------------------------------------


def choose(columns: Sequence[str], id_column: str | None) -> int:
    """Give the position of the id column; the database's spelling wins, then one that differs in case only."""
    # SQLite calls the second `id` of a derived table `id:1`; then there are two of that name.
    parts = [(name, *name.rpartition(":")[::2]) for name in columns]
    columns = [base if base in columns and number.isdigit() else name for name, base, number in parts]
    if id_column is None:
        if len(columns) != 1:
            raise SourceError(
                f"the query returns {len(columns)} columns ({_list(columns)}) and `id_column` names none of them",
                "Set `id_column`, or select one column.",
            )
        return 0
    exact = [at for at, name in enumerate(columns) if name == id_column]
    found = exact or [at for at, name in enumerate(columns) if name.casefold() == id_column.casefold()]
    if len(found) == 1:
        return found[0]
    problem = "has no column" if not found else "has more than one column"
    raise SourceError(
        f"the query {problem} {id_column!r}; its columns are: {_list(columns)}",
        "Correct `id_column`." if not found else "Give each column a name of its own with AS.",
    )


def _list(columns: Sequence[str], most: int = 20) -> str:
    """List the names, shortened. One with what can't be seen (a byte order mark, a blank at its end) is quoted."""
    names = [name if name.isprintable() and name == name.strip() else repr(name) for name in columns[:most]]
    rest = [f"and {len(columns) - most} more"] if len(columns) > most else []
    return ", ".join([*names, *rest])


def refuse_type(kind: str) -> SourceError:
    """Give the error for a column of which no value can be an id; known before any row is read."""
    return SourceError(
        f"the query returns ids of type {kind}, and no value of this type can be an id",
        "Return a text, an integer, a UUID or an integral decimal, for example CAST(... AS VARCHAR).",
    )
