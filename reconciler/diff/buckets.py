"""Where query and state surely agree, so that only the rest of their ids is joined.

Each id falls into a bucket. Of a bucket both sides have a number of ids and two sums of their hashes: where all three
are equal, so are the ids. Nothing of it is kept: each comparison sums both sides anew.
"""

import os
from collections.abc import Sequence

from reconciler.diff.decide import POSSIBLE, Change, Flag, decide
from reconciler.diff.tables import Tables, list_flags

_BITS = 12
"""Of the number of a bucket. Measured: with 14 the sums take a third longer, with 16 twice as long."""

_SAMPLED = 16
"""One bucket in sixteen is compared first: where much changes, that takes 3% of the time of a plan."""

_MOST = 2**_BITS // _SAMPLED // 3
"""If more of them differ, it is faster to join all ids."""

_HASH = "hash(id)"
BUCKET = f"({_HASH} >> {64 - _BITS})"
"""An SQL expression: the bucket of an id."""


def choose_hashes() -> tuple[str, str]:
    """Give two SQL expressions: hashes of an `id`, 64 bits each; `hashed` is the one that its bucket is of.

    The second one has a salt, new each time, so that nobody can make ids that are alike to it. DuckDB hashes eight
    bytes at a time; a salt of twelve moves the id by half of that: ids that are alike to one are not to the other.
    """
    return "hashed", f"hash('{os.urandom(6).hex()}' || id)"


def find_differing(tables: Tables, exclusive: bool, hashes: Sequence[str]) -> int | None:
    """Make `differing`: the buckets in which an id of `desired` or `known` may change; give their number.

    None: they are too many to be of use.
    """
    stays = list_flags(flags for flags in POSSIBLE if decide(flags | Flag.DESIRED, exclusive) is Change.NONE)
    sums = [f"sum({each})" for each in hashes]
    columns = ", ".join(f"{each} AS sum{at}" for at, each in enumerate(["count(*)", *sums]))
    equal = " AND ".join(f"desired.sum{at} = known.sum{at}" for at in range(len(sums) + 1))
    tables.run("CREATE OR REPLACE TABLE differing (bucket UBIGINT)")
    differing = 0
    for part in ("= 0", "<> 0"):
        where = f"id IS NOT NULL AND bucket % {_SAMPLED} {part}"
        desired, known = (
            f"""(SELECT bucket, {columns} FROM (SELECT id, {_HASH} AS hashed, {BUCKET} AS bucket FROM {table})
            WHERE {where} GROUP BY bucket) AS {table}"""
            for table in ("desired", "known")
        )
        differing += tables.fetch(
            f"""INSERT INTO differing
            SELECT coalesce(desired.bucket, known.bucket) FROM {desired} FULL JOIN {known}
                ON desired.bucket = known.bucket WHERE ({equal}) IS NOT TRUE
            UNION SELECT {BUCKET} AS bucket FROM known WHERE {where} AND flags NOT IN ({stays})"""
        )[0][0]
        if part == "= 0" and differing > _MOST:
            return None
    return differing
