"""The errors of a comparison that DuckDB's own words do not tell (see `embedded_duckdb.translating`)."""

from reconciler.errors import SourceError, StateError


def broken_query() -> SourceError:
    """The source failed while its rows were read."""
    return SourceError(
        "the source failed while the result of the query was being read",
        "run the query by hand to its last row",
    )


def broken_state() -> StateError:
    """The state failed while its rows were read."""
    return StateError(
        "the state database failed while the snapshot was being read",
        "check that it can be reached, then run again",
    )
