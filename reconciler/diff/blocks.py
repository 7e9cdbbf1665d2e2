"""Blocks of text: how rows from Python come into tables (see `models.columns.Rows`)."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from reconciler.models.batches import Batch, Direction
from reconciler.models.columns import FIELD_END, ROW_END, Rows
from reconciler.models.remote import Page
from reconciler.models.spec import MAX_BATCH

BATCHES_PER_BLOCK = 50
_ROW, _FIELD = chr(ROW_END), chr(FIELD_END)


def unless_empty(rows: Rows) -> "Rows | None":
    """The same rows, or None where it is known that there are none."""
    if not isinstance(rows, Iterator):
        return rows
    first = next(rows, None)
    return None if first is None else chain([first], rows)


def write_page(page: Page) -> tuple[str, str]:
    """Members as a block for each column: `cio_id`, `key`. A key that would break its row apart is no key."""
    cio_ids, keys = _ROW.join(page.cio_ids), _ROW.join([key or "" for key in page.keys])
    ends = len(page.cio_ids) - 1
    if cio_ids.count(_ROW) != ends:
        cio_ids = _ROW.join(cio_id.replace(_ROW, " ") for cio_id in page.cio_ids)
    if keys.count(_ROW) != ends:
        keys = _ROW.join("" if key is None or _ROW in key else key for key in page.keys)
    return cio_ids, keys


def write_batches(batches: Iterable[Batch]) -> Iterator[str]:
    """Batches as rows of `id`, `adds`, many batches in a block."""
    rest = iter(batches)
    while some := list(islice(rest, BATCHES_PER_BLOCK)):
        yield _ROW.join(_write_batch(batch) for batch in some)


def read_batches(direction: Direction, joined: str, resends: str | None) -> Iterator[Batch]:
    """Ids that are joined by line feeds, as in the journal, as batches; all are full but the last."""
    ids = sorted(joined.split("\n"))
    again = frozenset(resends.split("\n") if resends else ())
    for start in range(0, len(ids), MAX_BATCH):
        batch = ids[start : start + MAX_BATCH]
        yield Batch(direction, tuple(batch), again.intersection(batch))


def _write_batch(batch: Batch) -> str:
    end = f"{_FIELD}{'true' if batch.direction is Direction.ADD else 'false'}"
    return f"{end}{_ROW}".join(batch.ids) + end
