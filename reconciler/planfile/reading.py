"""How a plan file is read: verified as a whole first, then streamed from disk."""

import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from reconciler.errors import PlanFileError, ReconcileError, fill_hint
from reconciler.files import open_plain
from reconciler.models.batches import Batch, Direction
from reconciler.planfile.layout import (
    FORMAT,
    MAGIC,
    MAX_BATCH_BYTES,
    MAX_HEADER_BYTES,
    holds_ids,
    is_head,
    parse_batch,
    parse_line,
    parse_plan,
)
from reconciler.planfile.sealed import AGAIN, SealedPlan


def is_planfile(path: Path) -> bool:
    """Tell a plan file from a spec, by how it begins; false where nothing can be read."""
    try:
        with open_plain(path) as file:
            return is_head(file.read(len(MAGIC)))
    except OSError:
        return False


def is_remnant(path: Path) -> bool:
    """Tell whether a file may be a plan file that was cut off in its first bytes; with a spec's name it is none."""
    try:
        with open_plain(path) as file:
            return MAGIC.startswith(file.read(len(MAGIC))) and path.suffix not in (".yaml", ".yml")
    except OSError:
        return False


def open_planfile(path: Path) -> "PlanFile":
    """Read and verify a whole plan file. Raises PlanFileError; the file stays open until `close()`."""
    try:
        file = open_plain(path)
    except OSError as error:
        raise PlanFileError(f"The plan file {path} can't be read: {error.strerror}.", AGAIN) from None
    try:
        return PlanFile(file, _Verifier(path, file).verify(), path)
    except BaseException:
        file.close()
        raise


class Span(NamedTuple):
    """One line of the file; `crc` tells that it is still the one that was verified."""

    offset: int
    length: int
    crc: int


@dataclass(frozen=True)
class _Verified:
    """What verifying found: the plan, and where each segment's batches are."""

    plan: SealedPlan
    spans: tuple[tuple[Span, ...], ...]


class PlanFile:
    """A verified plan file; batches are read from disk as they are asked for, from any thread."""

    def __init__(self, file: IO[bytes], verified: _Verified, path: Path) -> None:
        self._file = file
        self._spans = verified.spans
        self.path = path
        self.plan = verified.plan

    def batches(self, index: int) -> Iterator[Batch]:
        """The batches of segment number `index`, removals first. Raises PlanFileError if the file has changed."""
        for span in self._spans[index]:
            yield parse_batch(self._read(span), partial(_damaged, self.path))[1]

    def _read(self, span: Span) -> bytes:
        try:
            line = os.pread(self._file.fileno(), span.length, span.offset)
        except OSError as error:
            raise PlanFileError(f"The plan file {self.path} can't be read: {error.strerror}.", AGAIN) from None
        if zlib.crc32(line) != span.crc:
            _damaged(self.path, "it changed after it was verified")
        return line

    def name_in(self, error: ReconcileError) -> None:
        """Name the specs and the file in the next step of an error of this plan."""
        error.hint = fill_hint(error.hint, {"SPEC...": self.plan.specs(), "FILE": [str(self.path)]})

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "PlanFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class _Verifier:
    """Reads a plan file once, line by line, with a bound on every line."""

    path: Path
    file: IO[bytes]
    digest: Any = field(default_factory=hashlib.sha256)

    def verify(self) -> _Verified:
        try:
            plan = self._read_header()
            return _Verified(plan, self._read_body(plan))
        except OSError as error:
            raise PlanFileError(f"The plan file {self.path} can't be read: {error.strerror}.", AGAIN) from None

    def _read_header(self) -> SealedPlan:
        if not is_head(self.file.read(len(MAGIC))):
            raise PlanFileError(f"{self.path} is not a plan file.", AGAIN)
        self.file.seek(0)
        line = self._read_line(MAX_HEADER_BYTES)
        header = parse_line(line, self._fail)
        version = header.pop("reconcile_plan", None)
        if type(version) is int and version > FORMAT:
            message = f"The plan file {self.path} has format {version}; this version of reconcile reads {FORMAT}."
            raise PlanFileError(message, "Apply it with the version that made it, or make a new plan file.")
        if type(version) is not int or version != FORMAT:
            self._fail("its header is wrong")
        self.digest.update(line)
        return parse_plan(header, self._fail)

    def _read_body(self, plan: SealedPlan) -> tuple[tuple[Span, ...], ...]:
        spans: list[list[Span]] = [[] for _ in plan.segments]
        expected = _Expected(plan)
        offset = self.file.tell()
        while True:
            line = self._read_line(MAX_BATCH_BYTES)
            if line.startswith(b'{"sha256"'):
                break
            index, batch = parse_batch(line, self._fail)
            if not expected.take(index, batch):
                self._fail("its batches are not what its header says")
            if not holds_ids(batch, plan.segments[index].id_type):
                self._fail("it holds a text that can't be an id")
            self.digest.update(line)
            spans[index].append(Span(offset, len(line), zlib.crc32(line)))
            offset += len(line)
        self._read_footer(line, expected)
        return tuple(tuple(each) for each in spans)

    def _read_footer(self, line: bytes, expected: "_Expected") -> None:
        if parse_line(line, self._fail) != {"sha256": self.digest.hexdigest()}:
            self._fail("its checksum does not match its content")
        if self.file.read(1):
            self._fail("something follows its end")
        if not expected.is_complete():
            self._fail("its batches are not what its header says")

    def _read_line(self, limit: int) -> bytes:
        line = self.file.readline(limit)
        if not line.endswith(b"\n"):
            self._fail("a line is too long" if len(line) >= limit else "it is cut short")
        return line

    def _fail(self, reason: str) -> NoReturn:
        _damaged(self.path, reason)


class _Expected:
    """What the header says of the batches, crossed off as they come: segment by segment, removals first."""

    def __init__(self, plan: SealedPlan) -> None:
        order = (Direction.REMOVE, Direction.ADD)
        self._left = [segment.size(direction) for segment in plan.segments for direction in order]
        self._order = order
        self._latest = 0

    def take(self, index: int, batch: Batch) -> bool:
        place = 2 * index + self._order.index(batch.direction)
        if not self._latest <= place < len(self._left):
            return False
        self._latest = place
        self._left[place] -= len(batch.ids)
        return self._left[place] >= 0

    def is_complete(self) -> bool:
        return not any(self._left)


def _damaged(path: Path, reason: str) -> NoReturn:
    raise PlanFileError(f"The plan file {path} is damaged or was edited: {reason}.", AGAIN)
