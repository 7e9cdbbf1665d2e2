"""Which column of a query holds the ids."""

from collections.abc import Sequence

from reconciler.errors import SourceError


def choose(columns: Sequence[str], id_column: str | None) -> int:
    """Give the position of the id column; the database's spelling wins, then one that differs in case only."""
    columns = _undo_renaming(columns)
    if id_column is None:
        if len(columns) != 1:
            raise SourceError(
                f"the query returns {len(columns)} columns ({_listed(columns)}) and `id_column` names none of them",
                "Set `id_column`, or select one column.",
            )
        return 0
    exact = [at for at, name in enumerate(columns) if name == id_column]
    found = exact or [at for at, name in enumerate(columns) if name.casefold() == id_column.casefold()]
    if len(found) == 1:
        return found[0]
    problem = "has no column" if not found else "has more than one column"
    raise SourceError(
        f"the query {problem} {id_column!r}; its columns are: {_listed(columns)}",
        "Correct `id_column`." if not found else "Give each column a name of its own with AS.",
    )


def refuse_type(kind: str) -> SourceError:
    """The error for a column of which no value can be an id; known before any row is read."""
    return SourceError(
        f"the query returns ids of type {kind}, and no value of this type can be an id",
        "Return a text, an integer, a UUID or an integral decimal, for example CAST(... AS VARCHAR).",
    )


def _undo_renaming(names: Sequence[str]) -> list[str]:
    """SQLite calls the second `id` of a derived table `id:1`; then there are two of that name."""
    bases = [(name, *name.rpartition(":")[::2]) for name in names]
    return [base if base in names and number.isdigit() else name for name, base, number in bases]


def _listed(columns: Sequence[str], most: int = 20) -> str:
    """The names, shortened. One with what can't be seen (a byte order mark, a blank at its end) stands in quotes."""
    names = [name if name.isprintable() and name == name.strip() else repr(name) for name in columns[:most]]
    rest = [f"and {len(columns) - most} more"] if len(columns) > most else []
    return ", ".join([*names, *rest])
