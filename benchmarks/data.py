"""Makes the data: ids that look real, in no order, with one percent of churn between desired and stored."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import duckdb

from reconciler.models.comparison import Adoption
from reconciler.models.ids import IdType
from reconciler.models.spec import Segment, Target
from reconciler.spec import load
from reconciler.state import open_store

SEGMENT = 56
IDS = "SELECT 'cus_' || lower(lpad(to_hex(hash(i)), 16, '0'))[3:16] AS id, i FROM range({size}) t(i)"
"""18 characters; `hash` scatters them."""

SPEC = """\
version: 1
sources:
  warehouse:
    url: {url}
destination:
  workspace: bench
  site_id: bench
  api_key: bench
{destination}
defaults: {{guards: {{max_additions: 100000000}}}}
segments:
  big:
    segment_id: {segment}
    query: {query}
"""


def write_spec(folder: Path, name: str, url: str, query: str, destination: str = "", state: str = "") -> Path:
    """Write a spec with one segment."""
    path = folder / name
    text = SPEC.format(url=url, query=query, segment=SEGMENT, destination=destination)
    path.write_text(text + (f"state: {{url: '{state}'}}\n" if state else ""))
    return path


def write_many(folder: Path, name: str, number: int, size: int, destination: str) -> Path:
    """Write a spec with `number` segments of `size` ids each; the state has the spec's name."""
    path = folder / f"{name}.yaml"
    text = SPEC.format(url="'duckdb:///:memory:'", query="", segment="", destination=destination).split("segments:")[0]
    text += f"state: {{url: 'sqlite:///{name}.db'}}\nsegments:\n"
    for each in range(number):
        query = f"SELECT 's{each}-' || i FROM range({size}) t(i)"
        text += f'  s{each}: {{segment_id: {each + 1}, query: "{query}"}}\n'
    path.write_text(text)
    return path


def make_parquet(folder: Path, size: int) -> tuple[Path, Path]:
    """Write `desired.parquet` (one percent apart) and `stored.parquet`, both in no order."""
    desired, stored = folder / "desired.parquet", folder / "stored.parquet"
    with duckdb.connect() as connection:
        every = IDS.format(size=size + size // 200)
        connection.execute(f"COPY (SELECT id FROM ({every}) WHERE i < {size}) TO '{stored}'")
        connection.execute(f"COPY (SELECT id FROM ({every}) WHERE i >= {size // 200}) TO '{desired}'")
    return desired, stored


def read(path: Path, order: str = "") -> Iterator[list[str]]:
    """Read a Parquet file's ids in lists."""
    with duckdb.connect() as connection:
        connection.execute(f"SELECT id FROM '{path}' {order}")
        while rows := connection.fetchmany(50_000):
            yield [row[0] for row in rows]


def make_sqlite(folder: Path, ids: Path, name: str = "warehouse.db") -> Path:
    """Write the warehouse as a SQLite file."""
    path = folder / name
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("CREATE TABLE customers (id TEXT, country TEXT)")
        for block in read(ids):
            connection.executemany("INSERT INTO customers VALUES (?, 'DE')", ((id_,) for id_ in block))
        connection.commit()
    return path


def make_text(folder: Path, ids: Path, name: str) -> Path:
    """Write a text export, an id a line."""
    path = folder / name
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT id FROM '{ids}') TO '{path}' (HEADER false, QUOTE '')")
    return path


def seed_state(spec: Path, stored: Path) -> None:
    """Make the snapshot of a spec's one segment hold the stored ids, as `refresh` would."""
    seed_segments(spec, lambda _: read(stored, "ORDER BY id"))


def seed_segments(spec: Path, read_ids: Callable[[Segment], Iterator[list[str]]]) -> None:
    """Make the snapshot of each segment hold the ids that `read_ids` gives, in their order."""
    (loaded,) = load([str(spec)], {})
    with open_store(loaded.state) as store:
        for segment in loaded.segments:
            nobody = partial(iter, ())
            adoption = Adoption(IdType.ID, partial(read_ids, segment), nobody, nobody, nobody, nobody)
            with store.lock(Target(loaded, segment), "seed", "apply", None) as held:
                held.replace_snapshot(adoption)
                held.complete()


def make_postgres_table(url: str, ids: Path) -> None:
    """Write the warehouse into PostgreSQL by COPY."""
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE customers (id text, country text)")
        with cursor.copy("COPY customers FROM STDIN") as copy:
            for block in read(ids):
                copy.write("".join(f"{id_}\tDE\n" for id_ in block))
        cursor.execute("ANALYZE customers")


def make_reader(url: str) -> str:
    """Make a role that may read the warehouse, and nothing of the state; gives its URL."""
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT SELECT ON customers TO reader")
    return url.replace("//postgres@", "//reader@")
