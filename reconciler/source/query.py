"""A segment's query, ready to be run as a derived table."""

from dataclasses import dataclass

from reconciler.core.spec import Scalar, Segment
from reconciler.core.tokens import Statement, lexicon_of, parse


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

    def numbered(self, mark: str) -> str:
        """Write it with numbered marks (`$1`, `?1`), in the order of `params`."""
        numbers = {name: f"{mark}{number}" for number, name in enumerate(self.params, start=1)}
        return self.statement.write(numbers.__getitem__)

    @property
    def values(self) -> tuple[Scalar, ...]:
        return tuple(self.params.values())


def derived(what: str, query: str, columns: str = "") -> str:
    """Put a query where only a query may stand; line breaks, since it may end in a comment."""
    return f"SELECT {what} FROM (\n{query}\n) q{columns}"
