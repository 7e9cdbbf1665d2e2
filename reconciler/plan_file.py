"""The sealed plan file: the value (`sealed`), whether it may be applied (`checks`), its format and its keeper.

Lines, each ended by a line feed:

    {"reconcile_plan": 1, "plan_id": ..., "segments": [...]}
    {"segment": 0, "direction": "remove", "ids": [up to 1,000]}      in the order in which they are sent
    {"sha256": "..."}                                                over every byte before this line

The checksum tells damage; it is no signature. The file holds ids, and no secrets.
"""

import hashlib
import os
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import orjson

from reconciler.errors import PlanFileError, ReconcileError, fill_hint
from reconciler.files import OutputFile, open_plain
from reconciler.models.batches import Batch, Direction
from reconciler.models.counts import Counts
from reconciler.models.guards import Guard
from reconciler.models.ids import IdType, can_be_held, is_id
from reconciler.models.plan import Head, Plan, PlanStatus, SegmentPlan
from reconciler.models.spec import MAX_BATCH, Target

LIFETIME = timedelta(hours=24)
"""How long a plan file can be applied."""

AGAIN = "Make a new plan file: reconcile plan SPEC... --out FILE"
"""The next step after most refusals."""


@dataclass(frozen=True)
class SealedSegment:
    """One segment as it was planned. `spec` is relative to the working folder; `definition` as Target.definition()."""

    spec: str
    workspace: str
    name: str
    segment_id: int
    id_type: IdType
    definition: str
    environment_id: int | None
    lineage: str | None
    serial: int
    status: PlanStatus
    counts: Counts
    allowed: frozenset[Guard] = frozenset()
    change_token: str | None = None

    @property
    def version(self) -> tuple[str | None, int, str | None]:
        """As `Head.version`."""
        return self.lineage, self.serial, self.change_token

    @property
    def label(self) -> str:
        """`workspace/name`."""
        return f"{self.workspace}/{self.name}"

    def size(self, direction: Direction) -> int:
        """How many ids the file holds for it; additions include the resends."""
        return self.counts.remove if direction is Direction.REMOVE else self.counts.add + self.counts.resend


@dataclass(frozen=True)
class SealedPlan:
    """All segments of one plan file; times are aware."""

    plan_id: str
    created_at: datetime
    expires_at: datetime
    tool_version: str
    segments: tuple[SealedSegment, ...]

    def specs(self) -> tuple[str, ...]:
        """The spec files to load, each once, in order."""
        return tuple(dict.fromkeys(segment.spec for segment in self.segments))


def seal(plan: Plan, plan_id: str, tool_version: str, folder: Path) -> SealedPlan:
    """Turn a plan without blocked and failed segments into what a plan file says; specs are named from `folder`."""
    segments = tuple(_seal_segment(segment, folder) for segment in plan.segments)
    return SealedPlan(plan_id, plan.created_at, plan.created_at + LIFETIME, tool_version, segments)


def _name(spec: Path, folder: Path) -> str:
    """Name a file from a folder. Where a link stands before a `..` the short name would lead elsewhere."""
    name = os.path.relpath(spec, folder)
    is_same = os.path.realpath(folder / name) == os.path.realpath(spec)
    return name if is_same else os.path.relpath(os.path.realpath(spec), os.path.realpath(folder))


def _seal_segment(plan: SegmentPlan, folder: Path) -> SealedSegment:
    if plan.counts is None or plan.status not in (PlanStatus.CHANGES, PlanStatus.UNCHANGED):
        raise ReconcileError("A plan with a blocked or failed segment can't be sealed.", AGAIN)
    target, head = plan.target, plan.head
    return SealedSegment(
        spec=_name(target.spec.path, folder),
        workspace=target.workspace,
        name=target.segment.name,
        segment_id=target.segment.segment_id,
        id_type=target.segment.id_type,
        definition=target.definition(),
        environment_id=head.environment_id,
        lineage=head.lineage,
        serial=head.serial,
        status=plan.status,
        counts=plan.counts,
        allowed=plan.allowed,
        change_token=head.change_token,
    )


AHEAD = timedelta(minutes=5)
"""How far the clock of the machine that made a plan file may be ahead of ours."""


def check(
    sealed: SealedPlan, targets: Sequence[Target], heads: Sequence[Head], now: datetime, *, spent: bool = False
) -> None:
    """Raise PlanFileError, naming every reason of the first kind there is, unless the whole plan may be applied.

    `targets`: what the specs say now; `heads`: what the state says now, one for each of `sealed.segments`.
    """
    check_age(sealed, now, spent=spent)
    check_specs(sealed, targets)
    check_heads(sealed, heads)


def check_age(sealed: SealedPlan, now: datetime, *, spent: bool = False) -> None:
    """Raise PlanFileError if the plan was applied already, is older than 24 hours, or was made in the future."""
    if spent:
        _refuse(["The plan file is spent: it has been applied already."])
    if now >= sealed.expires_at:
        _refuse([f"The plan file has expired: it was made at {sealed.created_at:%Y-%m-%d %H:%M} and lasts 24 hours."])
    if sealed.created_at > now + AHEAD:
        _refuse(
            [
                f"The plan file was made at {sealed.created_at:%Y-%m-%d %H:%M}, and it is {now:%Y-%m-%d %H:%M} here: "
                "one of the two clocks is wrong, so its age is not known."
            ]
        )


def check_place(sealed: SealedPlan) -> None:
    """Raise PlanFileError unless each of its specs is a file, seen from the working folder."""
    absent = [spec for spec in sealed.specs() if not os.path.isfile(spec)]  # noqa: PTH113 (Path.is_file may raise)
    if absent:
        is_or_are = "is" if len(absent) == 1 else "are"
        raise PlanFileError(
            f"The plan file was made for {', '.join(absent)}, which {is_or_are} not here.",
            "run it from the folder where the plan was made",
        )


def check_specs(sealed: SealedPlan, targets: Sequence[Target]) -> None:
    """Raise PlanFileError, naming each segment that the specs no longer list, or that has changed in them."""
    known = {(os.path.normpath(target.spec.path), target.segment.name): target for target in targets}
    found = [_compare(segment, known.get((segment.spec, segment.name))) for segment in sealed.segments]
    _refuse([problem for problem in found if problem])


def _compare(segment: SealedSegment, target: Target | None) -> str:
    """Say how a segment differs from what was sealed; an empty text if it does not."""
    where = f"segment {segment.name} in {segment.spec}"
    if target is None:
        return f"{where} is no longer there"
    now = target.segment
    if target.workspace != segment.workspace:
        return f"{where} is now in workspace {target.workspace}; the plan was made for {segment.workspace}"
    if now.segment_id != segment.segment_id:
        return f"{where} has another segment_id now: {now.segment_id}; the plan was made for {segment.segment_id}"
    if now.id_type is not segment.id_type:
        return f"{where} has another id_type now: {now.id_type}; the plan was made for {segment.id_type}"
    if target.definition() != segment.definition:
        return f"{where} has changed since the plan was made (query, params, source, ownership, guards or region)"
    return ""


def check_heads(sealed: SealedPlan, heads: Sequence[Head]) -> None:
    """Raise PlanFileError, naming each segment whose environment or state is not the one the plan was made from."""
    pairs = list(zip(sealed.segments, heads, strict=True))
    _refuse([_another(segment, head.environment_id) for segment, head in pairs if _has_moved(segment, head)])
    _refuse(
        [
            f"segment {segment.name} in {segment.spec} is stale: its state has changed since the plan was made"
            for segment, head in pairs
            if is_stale(sealed.plan_id, segment, head)
        ]
    )


def check_environment(sealed: SealedPlan, workspace: str, environment_id: int | None) -> None:
    """Raise PlanFileError if Customer.io reports another environment for a workspace than the plan was made for."""
    head = Head(environment_id=environment_id)
    found = (each for each in sealed.segments if each.workspace == workspace and _has_moved(each, head))
    _refuse([_another(segment, environment_id) for segment in found])


def _has_moved(segment: SealedSegment, head: Head) -> bool:
    """An environment that is not known yet differs from none."""
    known = segment.environment_id is not None and head.environment_id is not None
    return known and segment.environment_id != head.environment_id


def _another(segment: SealedSegment, environment_id: int | None) -> str:
    return (
        f"segment {segment.name} in {segment.spec}: the plan was made for environment {segment.environment_id} "
        f"of Customer.io; workspace {segment.workspace} is now environment {environment_id}"
    )


def is_stale(plan_id: str, segment: SealedSegment, head: Head) -> bool:
    """Tell whether the state moved since; what this plan itself changed does not count (it may be a first fill)."""
    if head.plan_id == plan_id and head.plan_base == segment.serial and segment.lineage in (None, head.lineage):
        return False
    return head.version != segment.version


def _refuse(problems: Sequence[str]) -> None:
    if len(problems) == 1:
        raise PlanFileError(problems[0][0].upper() + problems[0][1:], AGAIN)
    if problems:
        raise PlanFileError(f"The plan file can't be applied: {'; '.join(problems)}", AGAIN)


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


def is_plan_file(path: Path) -> bool:
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


def open_plan_file(path: Path) -> "PlanFile":
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


FORMAT = 1
"""The version of the format that is written, and the newest that is read."""

MAGIC = b'{"reconcile_plan":'
MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_BATCH_BYTES = 1024 * 1024

Fail = Callable[[str], NoReturn]


def is_head(head: bytes) -> bool:
    """Tell whether a file is a plan file, by its first bytes."""
    return head.startswith(MAGIC)


def parse_line(line: bytes, fail: Fail) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        fail("a line is not JSON")
    if not isinstance(value, dict):
        fail("a line is not what it should be")
    return value


def parse_batch(line: bytes, fail: Fail) -> tuple[int, Batch]:
    value = parse_line(line, fail)
    index, direction, ids = value.get("segment"), value.get("direction"), value.get("ids")
    if type(index) is not int or index < 0 or direction not in ("add", "remove") or not isinstance(ids, list):
        fail("a batch is not what it should be")
    if not 0 < len(ids) <= MAX_BATCH or set(map(type, ids)) != {str} or "" in ids:
        fail("a batch does not hold ids")
    return index, Batch(Direction(direction), tuple(ids))


def holds_ids(batch: Batch, id_type: IdType) -> bool:
    """Hold the ids of a batch against the rules of ids; what is removed may be whatever a state can hold."""
    if batch.direction is Direction.REMOVE:
        return all(map(can_be_held, batch.ids))
    return all(is_id(member, id_type) for member in batch.ids)


def parse_plan(header: dict[str, Any], fail: Fail) -> SealedPlan:
    # Here, since it takes a while and most commands read no plan file.
    from pydantic import TypeAdapter, ValidationError

    try:
        plan = TypeAdapter(SealedPlan).validate_json(orjson.dumps(header), strict=True)
    except (ValidationError, TypeError):
        fail("its header is wrong")
    if not _is_sound(plan):
        fail("its header is wrong")
    return plan


def _is_sound(plan: SealedPlan) -> bool:
    if plan.created_at.tzinfo is None or plan.expires_at.tzinfo is None:
        return False
    numbers = [number for segment in plan.segments for number in _numbers(segment)]
    return plan.expires_at - plan.created_at <= LIFETIME and all(number >= 0 for number in numbers)


def _numbers(segment: SealedSegment) -> list[float]:
    said = [*vars(segment.counts).values(), segment.segment_id, segment.serial, segment.environment_id]
    return [number for number in said if number is not None]
