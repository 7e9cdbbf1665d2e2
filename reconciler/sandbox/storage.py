"""What the sandbox reads from and writes to disk: people, its own state; and segments as text.

The state is a workspace as one JSON document: people, segments with members, pending writes. `people` are lists of id
(or null), email (or null) and cio_id; a segment's `members` are cio_ids; `due_in` is seconds:

    {
        "format": 1,
        "people": [["1", "a@example.com", "a3000001"]],
        "segments": [{"id": 56, "name": "vip", "type": "manual", "members": ["a3000001"]}],
        "pending": [{"due_in": 1.5, "segment_id": 56, "direction": "add", "id_type": "id", "ids": ["1"]}]
    }
"""

import csv
import errno
import io
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from reconciler.sandbox.settings import NEVER, SandboxError, parse_seconds
from reconciler.sandbox.workspace import Direction, IdType, SegmentType, UsedBy, Workspace

FORMAT = 1


def parse_segment(text: str) -> dict[str, Any]:
    """Parse `56:vip_customers` or `57:churn:dynamic`, as arguments of `create_segment`. Raises `SandboxError`."""
    number, _, rest = text.partition(":")
    name, kind = rest, SegmentType.MANUAL
    for choice in SegmentType:
        if rest.endswith(f":{choice}"):
            name, kind = rest.removesuffix(f":{choice}"), choice
    if not (number.isascii() and number.isdigit() and name):
        raise SandboxError(f"segment {text!r}: write ID:NAME or ID:NAME:dynamic, for example 56:vip_customers")
    return {"id": int(number), "name": name, "type": kind}


def read_people(path: Path) -> Iterator[tuple[str | None, str | None]]:
    """Yield (id, email) pairs from a CSV with a header, or from JSON objects, one a line (`.jsonl`, `.ndjson`).

    The columns are `id` and `email`; one of them is enough, others are ignored, empty means none. Integers are
    accepted, unlike in the API: files come out of databases. Raises `SandboxError` with the line that cannot be read.
    """
    try:
        with _open_plain(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as lines:
            is_json = path.suffix.lower() in (".jsonl", ".ndjson", ".json")
            for number, person in _read_json_lines(path, lines) if is_json else _read_csv(path, lines):
                values = (person.get("id"), person.get("email"))
                id, email = (None if value is None or value == "" else str(value) for value in values)
                if id is None and email is None:
                    raise SandboxError(f"people file {path}, line {number}: neither id nor email")
                yield id, email
    except OSError as error:
        raise SandboxError(f"people file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SandboxError(f"people file {path} is not UTF-8") from None


def _read_csv(path: Path, lines: IO[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(lines, strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if not {"id", "email"} & set(header):
            raise SandboxError(f"people file {path}: the first line must name the columns id, email or both")
        for cells in filter(None, reader):
            yield reader.line_num, dict(zip(header, cells, strict=False))
    except csv.Error as error:
        raise SandboxError(f"people file {path}, line {reader.line_num}: {error}") from None


def _read_json_lines(path: Path, lines: IO[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            person = json.loads(line)
        except ValueError:
            person = None
        if not isinstance(person, dict):
            raise SandboxError(f"people file {path}, line {number}: one JSON object a line is needed")
        yield number, person


def _open_plain(path: Path) -> IO[bytes]:
    """Open without waiting for a FIFO; raises `OSError` for what is no plain file."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "must be a plain file")
    return os.fdopen(handle, "rb")


def save_state(path: Path, workspace: Workspace, now: float) -> None:
    """Write a workspace whole or not at all, readable by the owner only; `now` is the time on its clock.

    Raises `SandboxError`.
    """
    pending = []
    for write in workspace.pending():
        fields = asdict(write)
        due = fields.pop("due")
        pending.append({"due_in": "never" if due == NEVER else max(0.0, due - now), **fields})
    document = {
        "format": FORMAT,
        "people": [[person.id, person.email, person.cio_id] for person in workspace.people()],
        "segments": [
            {**asdict(segment), "members": [person.cio_id for person in workspace.members(segment.id)]}
            for segment in workspace.segments()
        ],
        "pending": pending,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(document, file, separators=(",", ":"))
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        raise SandboxError(f"state file {path}: {error.strerror}") from None


def load_state(path: Path, workspace: Workspace) -> None:
    """Fill an empty workspace from a file. Raises `SandboxError` when it cannot be read or is none of ours."""
    try:
        with _open_plain(path) as file:
            document = json.loads(file.read())
    except OSError as error:
        raise SandboxError(f"state file {path}: {error.strerror}") from None
    except ValueError:
        raise SandboxError(f"state file {path} is not JSON") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise SandboxError(f"not a sandbox state of format {FORMAT}")
    try:
        workspace.add_people(tuple(person) for person in document["people"])
        for fields in document["segments"]:
            fields = dict(fields)
            members, tags, uses = fields.pop("members"), fields.pop("tags", None), fields.pop("used_by", {})
            used_by = UsedBy(**{name: tuple(numbers) for name, numbers in uses.items()})
            workspace.create_segment(**fields, tags=None if tags is None else tuple(tags), used_by=used_by)
            workspace.set_members(fields["id"], members, IdType.CIO_ID)
        for write in document.get("pending", ()):
            direction, id_type = Direction(write["direction"]), IdType(write["id_type"])
            due_in = parse_seconds("due_in", write["due_in"])
            workspace.submit(write["segment_id"], direction, id_type, write["ids"], due_in)
    except SandboxError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise SandboxError(f"the sandbox state is damaged ({type(error).__name__})") from None
