"""Members in tables of a source: appended, checked and compared there by the statements of `members_sql`."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol
from urllib.parse import unquote

from reconciler.errors import SourceError
from reconciler.models.batches import Direction
from reconciler.models.comparison import ROW_END, ArrowStream, NotPossible
from reconciler.models.freshness import DataTime
from reconciler.models.members import Answer, MembersHead, check_members, disagree
from reconciler.models.spec import Segment
from reconciler.sources.failures import Kind
from reconciler.sources.members_sql import BASE, CHANGES, HEADS, TABLES, Statements

IDS_AT_ONCE = 250_000
"""Ids of one statement that appends. 150 bytes each, as an id may have, they stay below the 128 MB of a message."""

BYTES_AT_ONCE = 128_000_000

_NOT_OURS = frozenset(
    {
        Kind.SYNTAX,
        Kind.TYPES,
        Kind.DATA,
        Kind.RAISED,
        Kind.PARAMS,
        Kind.READ_ONLY,
        Kind.OTHER,
        Kind.MISSING,
        Kind.OPTIONS,
    }
)
"""What would have a user mend a query, or a login."""


@dataclass(frozen=True)
class Asked:
    """A segment's query, ready to be read in a statement; `values` has the columns `value` (text) and `typed`."""

    values: str
    laid: str
    """The table with the rows of the overlay."""
    stream: Callable[[str], AbstractContextManager[ArrowStream]]
    """Runs a statement around it. Raises SourceError, also while the rows are read."""
    data_time: DataTime | None = None
    all_typed: bool = False
    """`typed` is true in each row."""


class Session(Protocol):
    """Statements that one method of `MembersInTables` runs. Raises SourceError."""

    def check_schema(self) -> None:
        """Raise SourceError where the schema for our tables is not there, unless `create` makes it."""
        ...

    def names(self) -> Collection[str]:
        """List the tables of our schema that are there."""
        ...

    def create(self) -> None:
        """Make the tables that are missing."""
        ...

    def run(self, statement: str, /) -> None: ...

    def fetch(self, statement: str, /) -> Sequence[Sequence[Any]]: ...

    def stream_ids(self, statement: str, /) -> AbstractContextManager[Iterator[list[str]]]:
        """Stream the one column of a statement in lists."""
        ...

    def lend(self, ids: Sequence[str], /) -> AbstractContextManager[str]:
        """Lend ids to statements while the block runs: gives a table with the column `id`."""
        ...


class TablesAtSource(Protocol):
    """What one kind of database does for `MembersInTables`. Raises SourceError."""

    @property
    def statements(self) -> Statements: ...

    @property
    def takes_delete(self) -> bool: ...

    def begin(self) -> AbstractContextManager[Session]:
        """Begin a session, which may hold a connection while the block runs."""
        ...

    def ask(self, segment: Segment, overlay: ArrowStream, /) -> AbstractContextManager[Asked | NotPossible]:
        """Prepare a segment's query, next to the rows of an overlay, or say why its ids can't be compared there."""
        ...


def refuse_schema(source: str, named: str, option: str = "schema") -> SourceError:
    """Give the error for a schema for our tables that is not there."""
    return SourceError(
        f"source {source}: {named} is not there",
        f"Create it (CREATE SCHEMA), or name another one in the source's `options.{option}`. "
        "See docs/members-at-the-source.md.",
    )


def explain_ours(error: SourceError, database: str) -> SourceError:
    """Give the error for a statement of ours that `database` refused: no query or login is to be mended for it."""
    if error.hint not in _NOT_OURS:
        return error
    hint = (
        "The statement is one of `members: source`, and no query of the spec: nothing of it counts until the "
        "next run has written it. If that is refused, too, move the members into the state (`reconcile state "
        f"copy SPEC --members local`), and report what {database} says."
    )
    return SourceError(error.message, hint, code=error.code)


def list_spark_tables(
    source: str, fetch: Callable[[str], Sequence[Sequence[Any]]], schema: str, option: str
) -> set[str]:
    """List those of our tables that are in a schema of Spark SQL. Raises SourceError."""
    *catalog, name = schema.split(".")
    try:
        rows = fetch(f"SHOW TABLES IN {quote_schema(schema)} LIKE 'reconcile_*'")
    except SourceError as error:
        where = f" IN {quote_schema('.'.join(catalog))}" if catalog else ""
        try:
            is_there = bool(fetch(f"SHOW DATABASES{where} LIKE '{name}'"))
        except SourceError:
            raise error from None
        if is_there:
            raise
        raise refuse_schema(source, f"the schema {schema}, which is to hold members,", option) from None
    return {str(row[1]) for row in rows} & TABLES.keys()


def quote_schema(schema: str) -> str:
    """Quote each part of a schema's name, as Spark SQL does."""
    return ".".join(f"`{part}`" for part in schema.split("."))


@dataclass(frozen=True)
class MembersInTables:
    """The `MembersAtSource` of a database with such tables."""

    source: str
    """Its name in the spec."""
    tables: TablesAtSource
    bytes_at_once: int = BYTES_AT_ONCE
    """The most that the ids of one statement may take, with a byte more each."""

    # --- heads --------------------------------------------------------------------------------------------------------

    def check_schema(self) -> None:
        with self.tables.begin() as session:
            session.check_schema()

    def last(self, key: str) -> MembersHead | None:
        with self.tables.begin() as session:
            session.check_schema()
            return max(self._read_heads(session, key), default=None) if HEADS in session.names() else None

    def check(self, key: str, head: MembersHead, attempted: tuple[int, int]) -> None:
        with self.tables.begin() as session:
            missing = TABLES.keys() - set(session.names())
            if missing:
                raise disagree(self.source, f"the table {min(missing)} is not there")
            heads = self._read_heads(session, key)
        if head not in heads:
            raise disagree(self.source, "its last number that the state knows is not there")
        greater = [each for each in heads if (each.generation, each.serial) > (head.generation, head.serial)]
        if any(each.lineage != head.lineage for each in greater):
            raise disagree(self.source, "another state writes there, too")
        if any((each.generation, each.serial) > attempted for each in greater):
            raise disagree(self.source, "they are newer than the state, which may be an older copy")

    def _read_heads(self, session: Session, key: str) -> list[MembersHead]:
        found = session.fetch(self.tables.statements.heads(key))
        if any(int(folded) for *_, folded in found):
            raise SourceError(
                f"source {self.source}: its tables of members have a collation, so ids would be the same that are not",
                f"Drop {', '.join(TABLES)}, give their schema the binary collation, and run `reconcile refresh SPEC`.",
            )
        return [
            MembersHead(int(generation), int(serial), int(members), int(total), unquote(lineage))
            for generation, serial, members, total, lineage, _ in found
        ]

    # --- what is written ----------------------------------------------------------------------------------------------

    def write_generation(self, key: str, lineage: str, generation: int, ids: Iterator[list[str]]) -> MembersHead:
        statements, rows, total = self.tables.statements, 0, 0
        with self.tables.begin() as session:
            session.create()
            for some in _gather(ids, self.bytes_at_once):
                with session.lend(some) as given:
                    session.run(statements.add_base(key, generation, given))
                rows, total = rows + len(some), total + statements.dialect.sum_of(some)
            return self._finish_base(session, key, MembersHead(generation, 0, rows, total, lineage))

    def append(
        self, key: str, head: MembersHead, serial: int, changes: Iterator[tuple[Direction, list[str]]]
    ) -> MembersHead:
        statements, rows, total = self.tables.statements, 0, 0
        with self.tables.begin() as session:
            for direction, lists in groupby(changes, itemgetter(0)):
                op = 1 if direction is Direction.ADD else 0
                for some in _gather((ids for _, ids in lists), self.bytes_at_once):
                    with session.lend(some) as given:
                        session.run(statements.add_changes(key, head.generation, serial, op, given))
                    rows, total = rows + len(some), total + statements.dialect.sum_of(some)
            (found,) = session.fetch(statements.count_changes(key, head, serial))
            before, sum_before, after, sum_after, arrived, sum_arrived = (int(number or 0) for number in found)
            check_members(self.source, head, before, sum_before)
            if (arrived, sum_arrived) != (rows, total):
                raise self._incomplete(rows, arrived)
            new = replace(head, serial=serial, rows=after, sum=sum_after)
            session.run(statements.add_head(key, new))
        return new

    def rewrite(self, key: str, head: MembersHead, generation: int) -> MembersHead:
        statements = self.tables.statements
        with self.tables.begin() as session:
            session.run(statements.add_base(key, generation, f"({statements.members(key, head)})"))
            return self._finish_base(session, key, replace(head, generation=generation, serial=0))

    def _finish_base(self, session: Session, key: str, head: MembersHead) -> MembersHead:
        """Write the head of a new base, if that has come whole."""
        statements = self.tables.statements
        (found,) = session.fetch(statements.count_base(key, head.generation))
        rows, distinct, total = (int(number or 0) for number in found)
        if (rows, distinct, total) != (head.rows, head.rows, head.sum):
            raise self._incomplete(head.rows, rows)
        session.run(statements.add_head(key, head))
        return head

    def drop(self, key: str, keep: Collection[int]) -> bool:
        with self.tables.begin() as session:
            if not session.names():
                return True
            if not self.tables.takes_delete:
                return False
            for statement in self.tables.statements.drop(key, keep):
                session.run(statement)
        return True

    def generations_of(self, key: str, ids: Sequence[str]) -> set[int]:
        with self.tables.begin() as session:
            if not {BASE, CHANGES} <= set(session.names()):
                return set()
            return {int(number) for (number,) in session.fetch(self.tables.statements.generations_of(key, ids))}

    # --- what is read -------------------------------------------------------------------------------------------------

    @contextmanager
    def read(self, key: str, head: MembersHead) -> Iterator[Iterator[str]]:
        with (
            self.tables.begin() as session,
            session.stream_ids(self.tables.statements.members(key, head)) as lists,
        ):
            yield self._verify(head, lists)

    def _verify(self, head: MembersHead, lists: Iterable[list[str]]) -> Iterator[str]:
        rows, total, sum_of = 0, 0, self.tables.statements.dialect.sum_of
        for ids in lists:
            rows, total = rows + len(ids), total + sum_of(ids)
            if ids:
                yield chr(ROW_END).join(ids)
        check_members(self.source, head, rows, total)

    def holds(self, key: str, head: MembersHead, ids: Sequence[str]) -> set[str]:
        if not ids:
            return set()
        with self.tables.begin() as session, session.lend(ids) as given:
            return {str(member) for (member,) in session.fetch(self.tables.statements.held_of(key, head, given))}

    @contextmanager
    def compare(
        self,
        segment: Segment,
        key: str,
        head: MembersHead,
        overlay: ArrowStream,
        left: Collection[int],
        kept: Collection[int],
    ) -> Iterator[Answer | NotPossible]:
        with self.tables.ask(segment, overlay) as asked:
            if isinstance(asked, NotPossible):
                yield asked
                return
            statements, laid = self.tables.statements, asked.laid
            statement = statements.compare(
                key, head, segment.id_type, asked.values, laid, left, kept, all_typed=asked.all_typed
            )
            with asked.stream(statement) as rows:
                yield Answer(rows, asked.data_time)

    def _incomplete(self, sent: int, found: int) -> SourceError:
        return SourceError(
            f"source {self.source}: of {sent:,} ids that were appended, its tables show {found:,}",
            "Run again: what is there already does no harm.",
        )


def _gather(lists: Iterable[list[str]], most: int) -> Iterator[list[str]]:
    """Give the ids in longer lists, each for one statement, with `most` bytes in none of them."""
    gathered: list[str] = []
    size = 0
    for ids, bytes_of_ids in _split(lists, most):
        if gathered and (len(gathered) + len(ids) > IDS_AT_ONCE or size + bytes_of_ids > most):
            yield gathered
            gathered, size = [], 0
        gathered += ids
        size += bytes_of_ids
    if gathered:
        yield gathered


def _split(lists: Iterable[list[str]], most: int) -> Iterator[tuple[list[str], int]]:
    """Give each list with its number of bytes; one that has too many in halves."""
    for ids in lists:
        size = len("".join(ids).encode()) + len(ids)
        if size > most and len(ids) > 1:
            middle = len(ids) // 2
            yield from _split((ids[:middle], ids[middle:]), most)
        else:
            yield ids, size
