"""How a plan file is written: whole, 0600, or not at all."""

import hashlib
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import orjson

from reconciler.core.batches import Batch
from reconciler.errors import ReconcileError, UsageError
from reconciler.planfile.layout import FORMAT
from reconciler.planfile.reading import is_planfile
from reconciler.planfile.sealed import SealedPlan

MODE = 0o600

PRECIOUS = (".yaml", ".yml", ".sql")
"""Where `--out` is a slip of the hand, these are never deleted."""

NAME_ANOTHER = "Name another file after --out."


class Draft:
    """A plan file on its way: segments may be spooled from several threads; nothing has a name until it is sealed."""

    def __init__(self, path: Path, spool: IO[bytes]) -> None:
        self._path = path
        self._spool = spool
        self._spans: dict[int, list[tuple[int, int]]] = {}
        self._lock = threading.Lock()

    def spool(self, index: int, batches: Iterable[Batch]) -> None:
        """Keep the batches of segment number `index`, in the order in which they are sent: removals first."""
        for batch in batches:
            line = _write_line({"segment": index, "direction": batch.direction, "ids": batch.ids})
            with self._lock, _writing(self._path):
                offset = self._spool.seek(0, os.SEEK_END)
                self._spool.write(line)
                self._spans.setdefault(index, []).append((offset, len(line)))

    def seal(self, plan: SealedPlan) -> None:
        """Write the file, 0600, whole or not at all. Raises ReconcileError."""
        with self._lock, _writing(self._path):
            _replace(self._path, self._lines(plan))

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


@contextmanager
def drafting(path: Path) -> Iterator[Draft]:
    """Start a plan file. What is at `path` goes at once: unless the draft is sealed, no file is there afterwards."""
    discard(path)
    with _writing(path):
        spool = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (closed by the next line)
    with spool:
        yield Draft(path, spool)


def discard(path: Path) -> None:
    """Leave no file at `path`. Raises UsageError where something else than a file is in the way, or a spec or query."""
    with _writing(path), suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path} is not a file, so no plan can be written there.", NAME_ANOTHER)
        if path.suffix in PRECIOUS and not is_planfile(path):
            raise UsageError(f"{path} is there already, and is no plan file.", NAME_ANOTHER)
    with _writing(path):
        path.unlink(missing_ok=True)


def write(path: Path, plan: SealedPlan, batches: Callable[[int], Iterable[Batch]]) -> None:
    """Write a plan whose batches are at hand: `batches(index)` gives those of one segment, removals first."""
    with drafting(path) as draft:
        for index in range(len(plan.segments)):
            draft.spool(index, batches(index))
        draft.seal(plan)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"The plan file {path} can't be written: {error.strerror}."
        raise ReconcileError(message, "Name a file in a writable folder after --out.", code="plan_file") from error


def _replace(path: Path, lines: Iterable[bytes]) -> None:
    """Write beside `path`, then rename over it: nobody ever sees half a file."""
    # 61 characters of four bytes, two dots, and the eight letters that mkstemp adds: a file name may have 255 bytes.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:61]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), MODE)
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
