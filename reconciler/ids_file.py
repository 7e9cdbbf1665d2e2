"""The CSV of `plan --ids`: every change with its id, for a review. It holds ids exactly as they are sent."""

import csv
import io
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from reconciler.files import OutputFile
from reconciler.models.batches import Batch

HEADER = b"workspace,segment,change,id\n"

FORMULA = ("=", "+", "-", "@")
"""With what a spreadsheet takes a cell for a formula. Source: https://owasp.org/www-community/attacks/CSV_Injection."""


def ids_output(named: str) -> OutputFile:
    """The file that `--ids` names: only a CSV of ids, or an empty file, is replaced."""
    is_ours = (HEADER, HEADER.replace(b"\n", b"\r\n"))
    return OutputFile(named, "--ids", "CSV of ids", lambda head: head.startswith(is_ours))


@dataclass
class IdsDraft:
    """A CSV that is being made: several threads may spool segments; there is no file until it is written."""

    output: OutputFile
    spooled: IO[bytes]
    spans: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Where the rows of each batch of a segment are in the spool, and their length."""
    formulas: int = 0
    """How many ids begin as a formula does."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def spool(self, index: int, workspace: str, segment: str, batches: Iterable[Batch]) -> None:
        """Keep the rows of segment number `index`, in the order in which they are sent. Raises ReconcileError."""
        for batch in batches:
            text = io.StringIO()
            changes = ("resend" if id in batch.resends else batch.direction.value for id in batch.ids)
            rows = ((workspace, segment, change, id) for change, id in zip(changes, batch.ids, strict=True))
            csv.writer(text, lineterminator="\n").writerows(rows)
            written = text.getvalue().encode()
            with self.lock, self.output.explained():
                self.spans.setdefault(index, []).append((self.spooled.tell(), len(written)))
                self.spooled.write(written)
                self.formulas += sum(id.startswith(FORMULA) for id in batch.ids)

    def write(self, indexes: Sequence[int]) -> None:
        """Write the file, 0600, whole or not at all, with the segments of these numbers. Raises ReconcileError."""
        with self.output.explained(), self.output.replaced() as path, path.open("wb") as file:
            file.write(HEADER)
            for index in indexes:
                for offset, length in self.spans.get(index, ()):
                    self.spooled.seek(offset)
                    file.write(self.spooled.read(length))


@contextmanager
def drafting_ids(output: OutputFile) -> Iterator[IdsDraft]:
    """Start a CSV of ids. An older one is deleted at once: it is of another plan. Raises UsageError."""
    output.discard()
    with output.explained():
        spool = tempfile.TemporaryFile(dir=output.path.parent)  # noqa: SIM115 (closed by the next line)
    with spool:
        yield IdsDraft(output, spool)
