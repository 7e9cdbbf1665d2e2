"""Sealed plans that the state keeps, line by line as a plan file has them, until they are spent or have expired."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

import orjson
from sqlalchemy import Connection

from reconciler.clock import Clock
from reconciler.models.spec import StateSettings
from reconciler.state import open_database, open_reader
from reconciler.state.database import execute, run
from reconciler.state.tables import PLAN_LINES

LINES_AT_ONCE = 50
"""A line has up to 1,000 ids."""

_LINES = "SELECT line FROM reconcile_plan_lines WHERE plan_id = :plan_id ORDER BY number"
_HOLDING = "SELECT plan_id, line FROM reconcile_plan_lines WHERE number > 0 AND {} > 0"
"""The lines that may have an id: `line` holds `:written`, the id as JSON. Line 0 is the header, which has no id."""


def store(settings: StateSettings, plan_id: str, expires_at: datetime, lines: Iterable[bytes]) -> None:
    """Keep a sealed plan, whole or not at all. Nothing else is written; a missing state is made. Raises StateError."""
    rows = ((plan_id, number, expires_at.timestamp(), line) for number, line in enumerate(lines))
    with open_database(settings, Clock()) as database, database.write() as connection:
        while some := list(islice(rows, LINES_AT_ONCE)):
            database.load(connection, PLAN_LINES, some)


def read(settings: StateSettings, plan_id: str) -> Iterator[bytes]:
    """Read the lines of a plan; none where the state does not keep it. Raises StateError."""
    with open_reader(settings, Clock()).read() as connection:
        if connection is not None:
            yield from execute(connection, _LINES, {"plan_id": plan_id}, rows_at_once=LINES_AT_ONCE).scalars()


# --- the end of a plan -------------------------------------------------------------------------------------------


def drop(connection: Connection, plan_id: str) -> None:
    """Delete a plan that is spent."""
    run(connection, "DELETE FROM reconcile_plan_lines WHERE plan_id = :plan_id", plan_id=plan_id)


def drop_expired(connection: Connection, now: float) -> None:
    """Delete the plans that can't be applied any more."""
    run(connection, "DELETE FROM reconcile_plan_lines WHERE expires_at <= :now", now=now)


def find_holding(connection: Connection, forms: Iterable[str]) -> dict[str, set[tuple[str, int]]]:
    """Find the plans that have an id in one of these forms, with the workspaces and numbers of their segments."""
    function = "position(:written in line)" if connection.dialect.name == "postgresql" else "instr(line, :written)"
    found: dict[str, set[tuple[str, int]]] = {}
    for form in forms:
        lines = execute(connection, _HOLDING.format(function), {"written": orjson.dumps(form)}).all()
        for plan_id, line in lines:
            if line.startswith(b'{"segment"') and form in orjson.loads(line)["ids"]:
                found.setdefault(plan_id, set())
    for plan_id, places in found.items():
        header = execute(connection, f"{_LINES} LIMIT 1", {"plan_id": plan_id}).scalar_one()
        places |= {(each["workspace"], each["segment_id"]) for each in orjson.loads(header)["segments"]}
    return found
