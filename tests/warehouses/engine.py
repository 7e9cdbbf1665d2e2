"""What the file of an engine gives: how it is started, and the words of its dialect."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.models.fields import Secret
from reconciler.models.options import read_options
from reconciler.sources import open_source
from reconciler.sources.base import Source

ERRORS = ("a wrong password", "an unreachable server", "an error of a row", "a name without a param")


MARKS = "%(x)s in a string"
"""A mark of other drivers in a query with params."""


class NotHad(Exception):
    """The engine can't be had on this machine; the text says what to install."""


@dataclass(frozen=True)
class Value:
    """An expression of the engine's SQL, and what it becomes."""

    sql: str
    id: str | None
    """None: it is refused."""

    told: bool = True
    """For what is refused: the type is told before a row is read, so `validate --connect` refuses it."""

    rows: bool = True
    """The reader of rows, which is the oracle of one that reads columns, takes it alike."""

    nullable: bool = True
    """There may be a NULL of this type."""


@dataclass(frozen=True)
class Started:
    """A running engine, with an empty database that the tests may fill."""

    url: str
    execute: Callable[[str], object]
    """Runs one statement through the plain driver, and commits it."""

    options: Mapping[str, object] = field(default_factory=dict)
    """What the spec's `sources.NAME.options` are to say."""

    wrong_password: str = ""
    """The same URL with a password that is not right; empty where there is none to be wrong."""

    unreachable: str = ""
    """The same URL with a port at which nothing listens; empty where there is no port."""


@dataclass(frozen=True)
class Engine:
    """One database as its real driver reaches it. `{…}` in a text is replaced by the tests."""

    name: str
    venv: str
    """The virtual environment that has its driver: the one of `requirements/<venv>.lock`."""

    start: Callable[[Path], AbstractContextManager[Started]]
    """Starts it in an empty folder, on loopback only; ends it, and nothing else. Raises NotHad."""

    values: Mapping[str, Value]
    """For each of `test_values.KINDS` and for what else is odd in this database."""

    emulated: bool = False
    lacks: Mapping[str, str] = field(default_factory=dict)
    """What the engine can't have (of `test_values.KINDS`, of `test_values.TEXTS`, ERRORS or MARKS), with reasons."""

    text: Callable[[str], str] = lambda text: "'" + text.replace("'", "''") + "'"
    """Writes a text as a literal."""

    text_type: str = "VARCHAR"
    """What a param is cast to in `CAST(:param AS …)` to be a text."""

    table: str = "CREATE TABLE {name} (id VARCHAR(200), number INTEGER)"
    """Makes a table of a text and an integer."""

    quote: str = '"'
    """What stands around a quoted name; doubled inside of it."""

    comments: tuple[str, ...] = ("-- {}\n", "/* {} */")
    strings: Mapping[str, str] = field(default_factory=dict)
    """Literals with quotes, backslashes and the like in them, and the texts that they are."""

    writes: tuple[str, ...] = ()
    """Queries of its own that would change the table `kept`, or make the table `made`, if anything let them."""

    errors_with_rows: tuple[str, ...] = ("SELECT CAST(id AS INTEGER) AS id FROM {name}",)
    """Queries that fail with an id of the table in the driver's message."""

    fails: str = "1 / (a.number - a.number)"
    """An expression that fails when it is evaluated, for each row of a table `a` with a column `number`."""


@dataclass(frozen=True)
class Warehouse:
    """An engine that runs, as the tests use it."""

    engine: Engine
    started: Started

    @property
    def url(self) -> str:
        return self.started.url

    def execute(self, sql: str) -> None:
        self.started.execute(sql)

    def open(self, url: str | None = None, options: Mapping[str, object] = {}) -> Source:
        """The source as a spec with this URL would have it."""
        given = {**self.started.options, **options}
        return open_source("warehouse", Secret(url or self.url), read_options(given))

    def fill(self, name: str, ids: list[str]) -> None:
        """Make a table anew, with these ids numbered from 0."""
        self.execute(f"DROP TABLE IF EXISTS {name}")
        self.execute(self.engine.table.format(name=name))
        rows = ", ".join(f"({self.engine.text(id)}, {number})" for number, id in enumerate(ids))
        if rows:
            self.execute(f"INSERT INTO {name} (id, number) VALUES {rows}")
