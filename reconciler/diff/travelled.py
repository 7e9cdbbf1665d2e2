"""The statements on `travelled`: what a comparison in the database gave, on its way into the tables of `sets`.

Its rows are as `postgres` writes them: of each id that may change how many rows of the query have it (`typed`: null,
none has) and what the state knows of it (`flags`: null, nothing); and numbers of what stayed behind.
"""

from reconciler.diff.postgres import KNOWN, MOVED, STAYED
from reconciler.diff.rules import refusal
from reconciler.models.ids import IdType

COLUMNS = {
    "kind": "VARCHAR",
    "id": "VARCHAR",
    "typed": "BOOLEAN",
    "number": "BIGINT",
    "flags": "UTINYINT",
    "add_at": "DOUBLE",
    "remove_at": "DOUBLE",
}


class Travelled:
    """The statements for one comparison, whose tables are in the database `name`."""

    def __init__(self, name: str, id_type: IdType) -> None:
        self._db = name
        self._id_type = id_type

    def begin(self) -> str:
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        return f"CREATE OR REPLACE TABLE {self._db}.travelled ({columns})"

    def take(self) -> str:
        """Add the rows of the stream `incoming`."""
        return f"INSERT INTO {self._db}.travelled SELECT {', '.join(COLUMNS)} FROM incoming"

    def desire(self) -> str:
        """Into `desired`: each id once or why there is none, and how many rows have it."""
        refused = refusal("id", "typed", self._id_type)
        return f"""CREATE OR REPLACE TABLE {self._db}.desired AS
            SELECT refused, if(refused IS NULL, id, NULL) AS id, number
            FROM (SELECT id, number, {refused} AS refused FROM {self._moved("typed")})"""

    def know(self) -> str:
        """Into `known`."""
        return f"CREATE OR REPLACE TABLE {self._db}.known AS SELECT id, flags FROM {self._moved('flags')}"

    def lay_over(self) -> str:
        """Into `overlay`: its times."""
        source = self._moved("coalesce(add_at, remove_at)")
        return f"CREATE OR REPLACE TABLE {self._db}.overlay AS SELECT id, add_at, remove_at FROM {source}"

    def _moved(self, present: str) -> str:
        return f"(SELECT * FROM {self._db}.travelled WHERE kind = '{MOVED}' AND {present} IS NOT NULL)"

    def tally_desired(self) -> str:
        """Why it is no id (null: it is one), number of rows; those of `desired`, and those that stayed behind."""
        return f"""SELECT refused, sum(number)::BIGINT FROM (
            SELECT refused, number FROM {self._db}.desired UNION ALL
            SELECT NULL, number FROM {self._db}.travelled WHERE kind = '{STAYED}') GROUP BY refused"""

    def tally_known(self) -> str:
        """flags, number of ids; all that the state knows."""
        return f"SELECT flags, number FROM {self._db}.travelled WHERE kind = '{KNOWN}'"

    def drop(self) -> str:
        return f"DROP TABLE {self._db}.travelled"
