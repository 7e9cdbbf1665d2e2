"""Comparing a segment in the database of its query, where the state stands too: only what may change travels.

What travels goes into the same tables as everything else, is held against the same rules and compared once more. So the
database decides nothing but what may stay behind, and the numbers of that.
"""

import logging
from contextlib import ExitStack
from dataclasses import dataclass

from reconciler.diff.census import Numbers, Returned
from reconciler.diff.failures import broken_query, translating
from reconciler.diff.postgres import write
from reconciler.diff.standing import Flag
from reconciler.diff.tables import Tables
from reconciler.diff.travelled import Travelled
from reconciler.models.plan import Head
from reconciler.models.pushdown import Unfit
from reconciler.models.spec import Target
from reconciler.sources.base import Host, Visit
from reconciler.state.base import Sited, Snapshot

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What the database counted, with what the rules said of the rows that travelled."""

    head: Head
    returned: Returned
    known: Numbers


def compare_there(target: Target, host: Host, snapshot: Snapshot, tables: Tables) -> Found | Unfit:
    """Fill `desired`, `known` and `overlay` with what may change; nothing where the segment is unfit for it."""
    segment = target.segment
    travelled = Travelled(tables.name, segment.id_type)
    with ExitStack() as stack:
        with snapshot.open(target.workspace, segment.segment_id) as stored:
            if not isinstance(stored, Sited):
                return Unfit("the state has nothing of this segment yet")
            head, site = stored.head, stored.site()
            visit = stack.enter_context(host.visit(segment, site))
        # The visit sees the state's moment by itself from here on: the state's own connection is given back.
        if isinstance(visit, Unfit):
            return visit
        statement = write(visit.values, site, segment.id_type, segment.guards.must_include)
        number = _fetch(visit, statement, tables, travelled)
    log.debug("%s: compared in the database; rows that travelled: %d", target.label, number)
    return Found(head, *_unpack(tables, travelled))


def _fetch(visit: Visit, statement: str, tables: Tables, travelled: Travelled) -> int:
    """Give the number of rows."""
    tables.run(travelled.begin())
    with translating(broken_query(), tables.limits), visit.open(statement) as stream:
        return tables.read(travelled.take(), stream)


def _unpack(tables: Tables, travelled: Travelled) -> tuple[Returned, Numbers]:
    for statement in (travelled.desire(), travelled.know(), travelled.lay_over()):
        tables.work(statement)
    returned = Returned(dict(tables.fetch(travelled.tally_desired())))
    known = {Flag(flags): number for flags, number in tables.fetch(travelled.tally_known())}
    tables.run(travelled.drop())
    return returned, known
