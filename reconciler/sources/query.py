"""A segment's query, ready to be run as a derived table."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from reconciler.models.spec import Scalar, Segment
from reconciler.models.tokens import Statement, lexicon_of, parse


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
        """Names what is ours beside the query; the query can't hold it, as no text holds its own digest."""
        return f"reconcile_{sha256(self.statement.write(str).encode()).hexdigest()[:12]}"

    def derived(self, what: str, text: str, columns: str = "") -> str:
        """Put its text where only a query may stand; line breaks, since it may end in a comment."""
        return f"SELECT {what} FROM (\n{text}\n) {self.name}{columns}"

    def numbered(self, mark: str) -> str:
        """Write it with numbered marks (`$1`, `?1`), in the order of `params`."""
        numbers = {name: f"{mark}{number}" for number, name in enumerate(self.params, start=1)}
        return self.statement.write(numbers.__getitem__)

    @property
    def values(self) -> tuple[Scalar, ...]:
        return tuple(self.params.values())
