"""The plan file: a plan that is sealed and kept in a file; operations/plan_checks.py says whether it may be applied.

Lines, each ended by a line feed:

    {"reconcile_plan": 1, "plan_id": ..., "segments": [...]}
    {"segment": 0, "direction": "remove", "ids": [up to 1,000]}      in the order in which they are sent
    {"sha256": "..."}                                                over every byte before this line

The checksum detects damage; it is no signature. The file holds ids, and no secrets.

The plan of an `undo` has format 2, so that a version that does not know undo says so: `undo_of` in its header is the
run that it reverses, `desired` is null, and only segments that change are in it.
"""

import hashlib
import os
import tempfile
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson
from pydantic import AwareDatetime, NonNegativeInt, TypeAdapter, ValidationError

from reconciler.errors import PlanFileError, ReconcileError, fill_hint
from reconciler.files import OutputFile, open_plain
from reconciler.models.batches import MAX_BATCH, Batch, Direction
from reconciler.models.comparison import Counts
from reconciler.models.guards import Guard
from reconciler.models.ids import IdType, can_be_stored, is_id
from reconciler.models.plan import Plan, PlanStatus

FORMAT, UNDO_FORMAT = 1, 2
"""The versions of the format that are written and read: of a plan, and of an undo."""

MAGIC = b'{"reconcile_plan":'
MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_BATCH_BYTES = 1024 * 1024

LIFETIME = timedelta(hours=24)
"""How long a plan file can be applied."""

PLAN_AGAIN = "reconcile plan SPEC... --out FILE"
STATE = "state:"
"""What `--out` names for a plan that the state is to keep."""

STORED = "plan:"
"""With what a plan that the state keeps is named: `plan:ID`."""

AGAIN = f"Make a new plan file: {PLAN_AGAIN}"
"""The next step after most refusals."""


@dataclass(frozen=True)
class SealedSegment:
    """One segment as it was planned. `spec` is relative to the working folder; `definition` as Target.definition()."""

    spec: str
    workspace: str
    name: str
    segment_id: NonNegativeInt | None
    """None: it is to be created."""
    id_type: IdType
    definition: str
    environment_id: NonNegativeInt | None
    lineage: str | None
    serial: NonNegativeInt
    status: PlanStatus
    counts: Counts
    allowed: frozenset[Guard] = frozenset()
    change_token: str | None = None
    retired: bool = False

    def __str__(self) -> str:
        return f"segment {self.name} in {self.spec}"


@dataclass(frozen=True)
class SealedPlan:
    """All segments of one plan file."""

    plan_id: str
    created_at: AwareDatetime
    expires_at: AwareDatetime
    tool_version: str
    segments: tuple[SealedSegment, ...]
    undo_of: str | None = None
    """The run that it reverses; None: it makes segments equal to their queries."""
    reason: str | None = None
    """Of an undo: why, for the history."""

    @property
    def format(self) -> int:
        return FORMAT if self.undo_of is None else UNDO_FORMAT

    def specs(self) -> tuple[str, ...]:
        """The spec files to load, each once, in order."""
        return tuple(dict.fromkeys(segment.spec for segment in self.segments))


def seal(plan: Plan, plan_id: str, tool_version: str, folder: Path, reason: str | None = None) -> SealedPlan:
    """Seal a plan that has no blocked or failed segment; its specs are named from `folder`.

    `reason`: of an undo, why, for the history.
    """
    is_undo = plan.undo_of is not None
    segments = []
    for each in plan.segments:
        if each.counts is None or each.status in (PlanStatus.BLOCKED, PlanStatus.FAILED):
            raise ReconcileError("A plan with a blocked or failed segment can't be sealed.", AGAIN)
        target, head = each.target, each.head
        spec = os.path.relpath(target.spec.path, folder)
        real = os.path.realpath(target.spec.path)
        if os.path.realpath(folder / spec) != real:  # a link comes before a `..`: the short name would lead elsewhere
            spec = os.path.relpath(real, os.path.realpath(folder))
        segments.append(
            SealedSegment(
                spec=spec,
                workspace=target.workspace,
                name=target.segment.name,
                segment_id=target.segment.segment_id,
                id_type=target.segment.id_type,
                definition=target.definition(is_undo=is_undo),
                environment_id=head.environment_id,
                lineage=head.lineage,
                serial=head.serial,
                status=each.status,
                counts=each.counts,
                allowed=each.allowed,
                change_token=head.change_token,
                retired=target.segment.retired,
            )
        )
    ends_at = plan.created_at + LIFETIME
    return SealedPlan(plan_id, plan.created_at, ends_at, tool_version, tuple(segments), plan.undo_of, reason)


# --- writing -----------------------------------------------------------------------------------------------------


@dataclass
class Draft:
    """A plan file that is being made: several threads may spool segments; there is no file until it is sealed.

    `output` is None where the state is to keep it.
    """

    output: OutputFile | None
    spooled: IO[bytes]
    spans: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Where each batch of a segment is in the spool, and its length."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def spool(self, index: int, batches: Iterable[Batch]) -> None:
        """Keep the batches of segment number `index`, in the order in which they are sent: removals first."""
        for batch in batches:
            line = _write_line({"direction": batch.direction, "ids": batch.ids})
            with self.lock, self.output.explained() if self.output else nullcontext():
                offset = self.spooled.seek(0, os.SEEK_END)
                self.spooled.write(line)
                self.spans.setdefault(index, []).append((offset, len(line)))

    def seal(self, plan: SealedPlan, spooled: Sequence[int] | None = None) -> None:
        """Write the file, 0600, whole or not at all. Raises ReconcileError."""
        assert self.output is not None
        with self.output.explained(), self.output.replaced() as path, path.open("wb") as file:
            file.writelines(self.lines(plan, spooled))

    def lines(self, plan: SealedPlan, spooled: Sequence[int] | None = None) -> Iterator[bytes]:
        """Write the lines of the file; every segment is spooled by now. Raises ReconcileError.

        `spooled`: the numbers under which its segments were spooled, where others were left out.
        """
        values = {name: value for name, value in vars(plan).items() if plan.format > FORMAT or value is not None}
        header = _write_line({"reconcile_plan": plan.format, **values})
        digest = hashlib.sha256(header)
        yield header
        for index, former in enumerate(range(len(plan.segments)) if spooled is None else spooled):
            for offset, length in self.spans.get(former, ()):
                self.spooled.seek(offset)
                line = b'{"segment":%d,' % index + self.spooled.read(length).removeprefix(b"{")
                digest.update(line)
                yield line
        yield _write_line({"sha256": digest.hexdigest()})


def plan_output(named: str) -> OutputFile:
    """The file that `--out` names: only a plan file, or an empty one, is replaced."""
    return OutputFile(named, "--out", "plan file", lambda head: head.startswith(MAGIC), code="plan_file")


@contextmanager
def drafting(output: OutputFile | None) -> Iterator[Draft]:
    """Start a plan file. An older one is deleted at once: unless the draft is sealed, no file is there afterwards.

    None: it is for the state, and what is spooled is in the folder for temporary files.

    Raises UsageError, with nothing changed, where the file may not be written.
    """
    if output is not None:
        output.discard()
    with output.explained() if output else nullcontext():
        spool = tempfile.TemporaryFile(dir=output.path.parent if output else None)  # noqa: SIM115 (closed below)
    with spool:
        yield Draft(output, spool)


def _write_line(value: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(value, default=sorted, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # Not chained: its message may hold what could not be written.
        raise ReconcileError("A name or an id is not valid Unicode, so no plan file can be written.") from None


# --- reading -----------------------------------------------------------------------------------------------------


def is_plan_file(path: Path) -> bool:
    """Tell a plan file from a spec, by its first bytes; false where nothing can be read.

    One that was cut off in its first bytes counts, too, unless it has a spec's name.
    """
    try:
        with open_plain(path) as file:
            head = file.read(len(MAGIC))
    except OSError:
        return False
    return head == MAGIC or (MAGIC.startswith(head) and path.suffix not in (".yaml", ".yml"))


class Span(NamedTuple):
    """One line of the file; `crc` shows that it is still the one that was verified."""

    offset: int
    length: int
    crc: int


@dataclass(frozen=True)
class PlanFile:
    """A verified plan file; batches are read from disk as they are asked for, from any thread.

    `path` is `plan:ID` for a copy of a plan that the state keeps.
    """

    path: Path
    plan: SealedPlan
    file: IO[bytes]
    spans: Sequence[Sequence[Span]]

    @property
    def is_stored(self) -> bool:
        return str(self.path).startswith(STORED)

    def batches(self, index: int) -> Iterator[Batch]:
        """The batches of segment number `index`, removals first. Raises PlanFileError if the file has changed."""
        for span in self.spans[index]:
            with _explained(self.path):
                line = os.pread(self.file.fileno(), span.length, span.offset)
                if zlib.crc32(line) != span.crc:
                    raise _Damage("it changed after it was verified")
                _, batch = _parse_batch(line)
            yield batch

    def name_in(self, error: ReconcileError) -> None:
        """Name the specs, the file and the run that is undone in the next step of an error of this plan."""
        if self.plan.undo_of is not None:
            spec = "SPEC..." if len(self.plan.specs()) == 1 else "SPEC"
            error.hint = error.hint.replace(PLAN_AGAIN, f"reconcile undo {spec} {self.plan.undo_of[:8]} --out FILE")
        out = STATE if self.is_stored else str(self.path)
        error.hint = fill_hint(error.hint, {"SPEC...": self.plan.specs(), "FILE": [out]})

    def close(self) -> None:
        self.file.close()


def open_plan_file(path: Path) -> PlanFile:
    """Read and verify a whole plan file. Raises PlanFileError; the file stays open until `close()`."""
    with _explained(path):
        return _verify(path, open_plain(path))


def copy_stored_plan(name: str, lines: Iterable[bytes]) -> PlanFile:
    """Copy a plan that the state keeps into a file without a name, and verify it. Raises PlanFileError, OSError."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 (`PlanFile.close` does)
    try:
        file.writelines(lines)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    with _explained(Path(name)):
        return _verify(Path(name), file)


def _verify(path: Path, file: IO[bytes]) -> PlanFile:
    try:
        plan, digest = _read_header(path, file)
        return PlanFile(path, plan, file, _verify_body(file, plan, digest))
    except BaseException:
        file.close()
        raise


class _Damage(Exception):
    """The content of a plan file is wrong; its text says how."""


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a plan file is read into PlanFileError."""
    try:
        yield
    except OSError as error:
        raise PlanFileError(f"The plan file {path} can't be read: {error.strerror}.", AGAIN) from None
    except _Damage as damage:
        raise PlanFileError(f"The plan file {path} is damaged or was edited: {damage}.", AGAIN) from None


def _read_header(path: Path, file: IO[bytes]) -> tuple[SealedPlan, Any]:
    """Give the plan of the first line, and the digest of that line."""
    if file.read(len(MAGIC)) != MAGIC:
        raise PlanFileError(f"{path} is not a plan file.", AGAIN)
    file.seek(0)
    line = _read_line(file, MAX_HEADER_BYTES)
    header = _parse_line(line)
    version = header.pop("reconcile_plan", None)
    if type(version) is int and version > UNDO_FORMAT:
        message = f"The plan file {path} has format {version}; this version of reconcile reads up to {UNDO_FORMAT}."
        raise PlanFileError(message, "Apply it with the version that made it, or make a new plan file.")
    if type(version) is not int or version < FORMAT:
        raise _Damage("its header is wrong")
    try:
        plan = TypeAdapter(SealedPlan).validate_json(orjson.dumps(header), strict=True)
    except (ValidationError, TypeError):
        raise _Damage("its header is wrong") from None
    numbers = [number for segment in plan.segments for number in vars(segment.counts).values()]
    kinds = {each.counts.desired is None for each in plan.segments} | {plan.undo_of is not None}
    if plan.format != version or len(kinds) > 1:  # all of it is an undo, or nothing
        raise _Damage("its header is wrong")
    if plan.expires_at - plan.created_at > LIFETIME or any(number is not None and number < 0 for number in numbers):
        raise _Damage("its header is wrong")
    return plan, hashlib.sha256(line)


def _verify_body(file: IO[bytes], plan: SealedPlan, digest: Any) -> list[list[Span]]:
    """Read to the end, and give the places of each segment's batches, which come as the header says: segment by
    segment, removals first, and no id more or fewer."""
    sent = [Counts() if each.status is PlanStatus.PAUSED else each.counts for each in plan.segments]
    left = [number for each in sent for number in (each.remove, each.add + each.resend)]
    spans: list[list[Span]] = [[] for _ in plan.segments]
    latest, offset = 0, file.tell()
    while not (line := _read_line(file, MAX_BATCH_BYTES)).startswith(b'{"sha256"'):
        index, batch = _parse_batch(line)
        place = 2 * index + (batch.direction is Direction.ADD)
        if not latest <= place < len(left) or left[place] < len(batch.ids):
            raise _Damage("its batches are not what its header says")
        latest = place
        left[place] -= len(batch.ids)
        if batch.direction is Direction.REMOVE:  # it may be any id that a state can hold
            are_ids = all(map(can_be_stored, batch.ids))
        else:
            are_ids = all(is_id(each, plan.segments[index].id_type) for each in batch.ids)
        if not are_ids:
            raise _Damage("it holds a text that can't be an id")
        digest.update(line)
        spans[index].append(Span(offset, len(line), zlib.crc32(line)))
        offset += len(line)
    if _parse_line(line) != {"sha256": digest.hexdigest()}:
        raise _Damage("its checksum does not match its content")
    if file.read(1):
        raise _Damage("something follows its end")
    if any(left):
        raise _Damage("its batches are not what its header says")
    return spans


def _read_line(file: IO[bytes], limit: int) -> bytes:
    line = file.readline(limit)
    if not line.endswith(b"\n"):
        raise _Damage("a line is too long" if len(line) >= limit else "it is cut short")
    return line


def _parse_line(line: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise _Damage("a line is not JSON") from None
    if not isinstance(value, dict):
        raise _Damage("a line is not what it should be")
    return value


def _parse_batch(line: bytes) -> tuple[int, Batch]:
    value = _parse_line(line)
    index, direction, ids = value.get("segment"), value.get("direction"), value.get("ids")
    if type(index) is not int or index < 0 or direction not in ("add", "remove") or not isinstance(ids, list):
        raise _Damage("a batch is not what it should be")
    if not 0 < len(ids) <= MAX_BATCH or set(map(type, ids)) != {str} or "" in ids:
        raise _Damage("a batch does not hold ids")
    return index, Batch(Direction(direction), tuple(ids))
