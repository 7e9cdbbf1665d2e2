"""How a plan file is written: whole, 0600, or not at all."""

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson

from reconciler.errors import ReconcileError
from reconciler.files import OutputFile
from reconciler.models.batches import Batch
from reconciler.planfile.layout import FORMAT, is_head
from reconciler.planfile.sealed import SealedPlan


class Draft:
    """A plan file on its way: segments may be spooled from several threads; nothing has a name until it is sealed."""

    def __init__(self, output: OutputFile, spool: IO[bytes]) -> None:
        self._output = output
        self._spool = spool
        self._spans: dict[int, list[tuple[int, int]]] = {}
        self._lock = threading.Lock()

    def spool(self, index: int, batches: Iterable[Batch]) -> None:
        """Keep the batches of segment number `index`, in the order in which they are sent: removals first."""
        for batch in batches:
            line = _write_line({"segment": index, "direction": batch.direction, "ids": batch.ids})
            with self._lock, self._output.explained():
                offset = self._spool.seek(0, os.SEEK_END)
                self._spool.write(line)
                self._spans.setdefault(index, []).append((offset, len(line)))

    def seal(self, plan: SealedPlan) -> None:
        """Write the file, 0600, whole or not at all. Raises ReconcileError."""
        with self._lock, self._output.explained(), self._output.replaced() as path, path.open("wb") as file:
            file.writelines(self._lines(plan))

    def _lines(self, plan: SealedPlan) -> Iterator[bytes]:
        digest = hashlib.sha256()
        for line in self._body(plan):
            digest.update(line)
            yield line
        yield _write_line({"sha256": digest.hexdigest()})

    def _body(self, plan: SealedPlan) -> Iterator[bytes]:
        yield _write_line({"reconcile_plan": FORMAT, **_fields(plan)})
        for index in range(len(plan.segments)):
            for offset, length in self._spans.get(index, ()):
                self._spool.seek(offset)
                yield self._spool.read(length)


def plan_output(named: str) -> OutputFile:
    """The file that `--out` names: only a plan file, or an empty one, is replaced."""
    return OutputFile(named, "--out", "plan file", is_head, code="plan_file")


@contextmanager
def drafting(output: OutputFile) -> Iterator[Draft]:
    """Start a plan file. An older one goes at once: unless the draft is sealed, no file is there afterwards.

    Raises UsageError, with nothing changed, where the file may not be written.
    """
    output.discard()
    with output.explained():
        spool = tempfile.TemporaryFile(dir=output.path.parent)  # noqa: SIM115 (closed by the next line)
    with spool:
        yield Draft(output, spool)


def write(path: Path, plan: SealedPlan, batches: Callable[[int], Iterable[Batch]]) -> None:
    """Write a plan whose batches are at hand: `batches(index)` gives those of one segment, removals first."""
    with drafting(plan_output(str(path))) as draft:
        for index in range(len(plan.segments)):
            draft.spool(index, batches(index))
        draft.seal(plan)


def _fields(plan: SealedPlan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in SealedPlan.__dataclass_fields__}


def _write_line(value: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(value, default=_write_set, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # Not chained: its message may hold what could not be written.
        raise ReconcileError("A name or an id is not valid Unicode, so no plan file can be written.") from None


def _write_set(value: object) -> list[str]:
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError
