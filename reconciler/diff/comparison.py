"""The comparison of one segment's sets: in Python's sets where they hold few ids, else in tables.

DuckDB, and what uses it, is loaded when the first segment needs tables.
"""

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from reconciler.diff.changes import Changes
from reconciler.diff.decide import broken_query
from reconciler.diff.few import compare_few, take_few
from reconciler.errors import StateError, no_spill_folder, stopped
from reconciler.models.batches import Batch
from reconciler.models.comparison import (
    BUCKETED_FROM,
    FEW_IDS,
    Adoption,
    DriftCounts,
    Findings,
    Page,
    RemoteCount,
    Rows,
)
from reconciler.models.members import OF_ANOTHER, MembersAtSource
from reconciler.models.spec import CompareAt, Target
from reconciler.sources.base import PushdownSource, Source
from reconciler.state.base import FewStored, Snapshot, Stored

if TYPE_CHECKING:
    from reconciler.diff.in_tables import ComparisonInTables
    from reconciler.embedded_duckdb import EmbeddedDuckDB


class SetEngine:
    """Compares sets, in one DuckDB for the whole run. Segments may be compared in several threads, one each."""

    def __init__(
        self,
        memory_limit: str | None,
        spill_parent: Path,
        source_of: Callable[[Target], Source],
        snapshot_of: Callable[[Target], Snapshot],
        pushdown_source_of: Callable[[Target], PushdownSource | None] = lambda _: None,
        few: int = FEW_IDS,
        queried: Callable[[Target], None] = lambda _: None,
        members_of: Callable[[Target], MembersAtSource | None] = lambda _: None,
        bucketed_from: int = BUCKETED_FROM,
    ) -> None:
        """`members_of` gives where members stand, if not in the state.

        `pushdown_source_of` gives the source where its database may be that of the state; then it compares in it.

        Up to `few` ids on each side are compared in sets, without tables. `memory_limit`: a size such as `2GB`; None: a
        quarter of the memory that the process may use, 512 MB at least. `queried` is told once a query has been read.
        From `bucketed_from` ids on each side, they are compared bucket by bucket before they are joined.
        """
        self.source_of = source_of
        self.snapshot_of = snapshot_of
        self.pushdown_source_of = pushdown_source_of
        self.few = few
        self.queried = queried
        self.members_of = members_of
        self.bucketed_from = bucketed_from
        self._memory_limit = memory_limit
        self._spill_parent = spill_parent
        self._interrupted = False
        self._lock = threading.Lock()
        self._kept = ExitStack()
        self._database: EmbeddedDuckDB | None = None

    @contextmanager
    def keep(self) -> Iterator[Self]:
        """Keep the database while the block runs, once it is made. Raises SegmentError where it could not spill."""
        try:
            self._spill_parent.mkdir(parents=True, exist_ok=True)
            Path(tempfile.mkdtemp(prefix="reconcile-", dir=self._spill_parent)).rmdir()
        except OSError as error:
            raise no_spill_folder(self._spill_parent) from error
        with self._kept:
            yield self

    def interrupt(self) -> None:
        """End the comparisons that run: they fail. May be called by a signal's handler."""
        self._interrupted = True
        if self._database is not None:
            self._database.interrupt()

    def open_database(self) -> "EmbeddedDuckDB":
        """Give the database, made for the first that asks. Raises SegmentError, UsageError."""
        from reconciler.diff.tables import make_database

        with self._lock:
            if self._database is None:
                database = make_database(self._memory_limit, self._spill_parent)
                self._kept.enter_context(database.keep())
                self._database = database
        if self._interrupted:
            raise stopped()
        return self._database

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Explain what fails while the result of a query is read. Raises SegmentError once there is a stop."""
        if self._interrupted:
            raise stopped()
        try:
            yield
        except Exception:
            if self._database is None:
                raise
            with self._database.translating(broken_query()):
                raise

    @contextmanager
    def read_segment(self, target: Target, lacks: Callable[[StateError], None] | None = None) -> Iterator[Stored]:
        """Read the state of a segment; of members at the source, it is checked which they are.

        Raises StateError, for those members given to `lacks` instead, and SourceError where they can't be read.
        """
        source = self.members_of(target)
        with self.snapshot_of(target).read_segment(target.workspace, target.segment_id, source) as stored:
            try:
                if source is not None:
                    _check_members(source, target, stored)
            except StateError as error:
                if lacks is None:
                    raise
                lacks(error)
            yield stored

    @contextmanager
    def begin(self, target: Target) -> Iterator["Comparison"]:
        """Begin the comparison of one segment; its tables go when it is left."""
        with ExitStack() as stack:
            yield Comparison(target, self, stack)


def _check_members(source: MembersAtSource, target: Target, stored: Stored) -> None:
    """Check the heads at the source. Raises StateError, SourceError."""
    there = stored.at_source
    if there is not None:
        source.check(there.key, there.head, there.attempted)
    else:
        last = source.last(f"{target.workspace}/{target.segment_id}")
        if last is not None and last.lineage != stored.head.lineage:
            raise StateError(*OF_ANOTHER)


@dataclass(eq=False, repr=False)
class Comparison:
    """One segment's sets side by side. Either `compare`, `resume` or `undo` is called, once.

    `load_remote`, `drift`, `examine` and `adoption` may be called again and again: each reads the snapshot afresh.
    """

    _target: Target
    _engine: SetEngine
    _stack: ExitStack

    @cached_property
    def _in_tables(self) -> "ComparisonInTables":
        from reconciler.diff.in_tables import ComparisonInTables
        from reconciler.diff.tables import Tables

        database = self._engine.open_database()
        catalog = self._stack.enter_context(database.catalog())
        cursor = self._stack.enter_context(database.cursor(catalog))
        return ComparisonInTables(self._target, self._engine, Tables(database, catalog, cursor))

    def compare(self) -> Changes:
        """Run the query and compare: with the snapshot; under `exclusive` with the loaded membership, too."""
        segment, few = self._target.segment, self._read_few()
        if few is None:
            return self._in_tables.compare()
        most = self._engine.few if few.members else 0  # a first fill may be large
        with self._engine.reading(), self._engine.source_of(self._target).stream_values(segment, most) as values:
            lines, rows = take_few(values.rows, self._engine.few)
            if rows is not None:
                self._in_tables.load(replace(values, rows=rows))
        if rows is not None:
            return self._in_tables.compare(values)
        self._engine.queried(self._target)
        return compare_few(segment, few, lines, values.data_time)

    def _read_few(self) -> FewStored | None:
        """Read the state of a segment with few ids; None: it has more, or they can't be compared in sets."""
        segment, engine = self._target.segment, self._engine
        if self._target.is_at_source:
            return None
        is_here = (
            not segment.reads_members and not segment.retired and self._target.compare_at is not CompareAt.PUSHDOWN
        )
        if not engine.few or not is_here or engine.pushdown_source_of(self._target):
            return None
        few = engine.snapshot_of(self._target).read_few(self._target.workspace, self._target.segment_id, engine.few)
        return few if few and few.head.id_type in (None, segment.id_type) else None

    def resume(self, sealed: Iterable[Batch], *, is_undo: bool = False) -> Changes:
        """Instead of running the query, take a plan file's changes; those that are already so in the state drop out.

        `is_undo`: they reverse a run, and nobody says who is desired.
        """
        return self._in_tables.resume(sealed, is_undo=is_undo)

    def undo(self, sent: Rows) -> Changes:
        """Instead of running the query, reverse what a run sent, but for the ids that later runs have touched.

        `sent` has the columns of the table of this name. Of an id that was added nothing is left to undo once the state
        does not hold it; of one that was removed, once it is stored.
        """
        return self._in_tables.undo(sent)

    # --- what a read-back shows ----------------------------------------------------------------------------------

    def do_without_members(self) -> None:
        """Go on without members at the source that were lost or changed: a refresh takes over what is there."""
        self._in_tables.does_without_members = True

    @property
    def lost(self) -> StateError | None:
        """Why it went on without the members at the source; None: it did not."""
        return self._in_tables.lost

    def load_remote(self, pages: Iterable[Page]) -> RemoteCount:
        """Load the real membership; called again, it starts afresh."""
        return self._in_tables.load_remote(pages)

    def drift(self) -> DriftCounts:
        """Compare the loaded membership with the snapshot."""
        return self._in_tables.drift()

    def examine(self) -> Findings:
        """Like `drift`, but give the ids, for recording."""
        return self._in_tables.examine()

    def adoption(self, known_only: bool) -> Adoption:
        """For `refresh`; `known_only` leaves out ids that the state does not hold."""
        return self._in_tables.adoption(known_only)
