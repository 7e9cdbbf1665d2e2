"""Blocks of text: how rows from Python come into tables (see `engine.ports.Rows`)."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from reconciler.core.batches import Batch, Direction
from reconciler.engine.ports import FIELD_END, ROW_END, Member

BATCHES_PER_BLOCK = 50
_ROW, _FIELD = chr(ROW_END), chr(FIELD_END)


def write_page(page: Sequence[Member]) -> str:
    """Members as rows of `cio_id`, `key`. A key that would break its row apart is no key."""
    rows = (f"{_strip(member.cio_id)}{_FIELD}{member.key or ''}" for member in page)
    block = _ROW.join(rows)
    is_whole = block.count(_ROW) == len(page) - 1 and block.count(_FIELD) == len(page)
    return block if is_whole else write_page([_mend(member) for member in page])


def _mend(member: Member) -> Member:
    key = member.key or ""
    return Member(member.cio_id, None if _ROW in key or _FIELD in key else key)


def _strip(cio_id: str) -> str:
    return cio_id.replace(_ROW, " ").replace(_FIELD, " ")


def write_batches(batches: Iterable[Batch]) -> Iterator[str]:
    """Batches as rows of `id`, `adds`, many batches in a block."""
    rest = iter(batches)
    while some := list(islice(rest, BATCHES_PER_BLOCK)):
        yield _ROW.join(_write_batch(batch) for batch in some)


def _write_batch(batch: Batch) -> str:
    end = f"{_FIELD}{'true' if batch.direction is Direction.ADD else 'false'}"
    return f"{end}{_ROW}".join(batch.ids) + end
