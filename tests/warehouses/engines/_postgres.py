"""The PostgreSQL of the tests with a port on loopback, for drivers that are not psycopg."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg

from tests.support.postgres import run_postgres
from tests.warehouses.engine import Started, Value

PASSWORD = "p@ss:w/rd?#%1"
ENCODED = "p%40ss%3Aw%2Frd%3F%23%251"
UUID = "0b7c1a52-6c1f-4a55-9f4c-0d5b4f2f9a11"
UNDERSTOOD = (b"user", b"database", b"application_name", b"client_encoding")
"""What PostgreSQL takes in the message that begins a connection; Redshift's driver says more."""

ASKS_FOR_TLS = 80877103


@contextmanager
def start(url: str) -> Iterator[Started]:
    """Start the server and a port for it; `url` has `{password}` and `{port}`."""
    with run_postgres() as server:
        (server.folder / "pg_hba.conf").write_text("local all reader md5\nlocal all all trust\n")
        for statement in (
            "SELECT pg_reload_conf()",
            "SET password_encryption = 'md5'",
            "CREATE DATABASE shop",
        ):
            server.execute(statement)
        admin = psycopg.connect(f"postgresql://postgres@/shop?host={server.folder}", autocommit=True)
        with closing(admin), run_port(Path(server.folder, ".s.PGSQL.5432")) as port:
            # All rights: what keeps a query from writing is to be the transaction, or that nothing is committed.
            for statement in (
                "SET password_encryption = 'md5'",
                f"CREATE ROLE reader SUPERUSER LOGIN PASSWORD '{PASSWORD}'",
                "CREATE TYPE mood AS ENUM ('a', 'b')",
                "CREATE TYPE pair AS (a integer, b text)",
                "CREATE TYPE span AS RANGE (SUBTYPE = integer)",
                "CREATE DOMAIN word AS text",
                "CREATE FUNCTION write_it() RETURNS text LANGUAGE plpgsql AS "
                "$$ BEGIN INSERT INTO kept VALUES ('z'); RETURN 'z'; END $$",
                "CREATE FUNCTION raise_it(id text) RETURNS text LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION '%', id; END $$",
            ):
                admin.execute(statement.encode())
            yield Started(
                url=url.format(password=ENCODED, port=port),
                execute=lambda sql: admin.execute(sql.encode()),
                wrong_password=url.format(password="wr0ng-%40secret", port=port),
                unreachable=url.format(password=ENCODED, port=1),
            )


@contextmanager
def run_port(target: Path) -> Iterator[int]:
    """Forward from a port of 127.0.0.1 to the socket of the server, without what that does not understand."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=_accept, args=(listener, target), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, target: Path) -> None:
    with suppress(OSError):
        while True:
            front, _ = listener.accept()
            back = socket.socket(socket.AF_UNIX)
            back.connect(str(target))
            back.sendall(_strip(front))
            for one, other in ((front, back), (back, front)):
                threading.Thread(target=_forward, args=(one, other), daemon=True).start()


def _strip(front: socket.socket) -> bytes:
    """The message that begins a connection: its length, the version of the protocol, then names and values."""
    length, code = struct.unpack("!ii", front.recv(8, socket.MSG_WAITALL))
    if code == ASKS_FOR_TLS:
        front.sendall(b"N")
        return _strip(front)
    message = struct.pack("!i", code) + front.recv(length - 8, socket.MSG_WAITALL)
    words = message[4:].rstrip(b"\0").split(b"\0")
    kept = [(name, value) for name, value in zip(words[::2], words[1::2], strict=True) if name in UNDERSTOOD]
    body = message[:4] + b"".join(name + b"\0" + value + b"\0" for name, value in kept) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def _forward(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


VALUES = {
    "an integer": Value("7", "7"),
    "the smallest integer": Value(f"CAST('{-(2**63)}' AS bigint)", str(-(2**63))),
    "the largest integer": Value(f"CAST('{2**63 - 1}' AS bigint)", str(2**63 - 1)),
    "an integer that a double can't hold": Value("9007199254740993", "9007199254740993"),
    "an integral decimal": Value("CAST(7 AS numeric(10, 2))", "7"),
    "a decimal": Value("CAST(7.5 AS numeric(10, 2))", None, told=False),
    "the widest decimal": Value(f"CAST('{'9' * 38}' AS numeric(38, 0))", "9" * 38),
    "a UUID": Value(f"CAST('{UUID.upper()}' AS uuid)", UUID),
    "a boolean": Value("true", None),
    "a date": Value("DATE '2026-01-01'", None),
    "a timestamp": Value("TIMESTAMP '2026-01-01 00:00:00'", None),
    "a time": Value("TIME '10:11:12'", None),
    "a float": Value("CAST(7 AS double precision)", None),
    "bytes": Value("CAST('a' AS bytea)", None),
    "a small integer": Value("CAST(-7 AS smallint)", "-7"),
    "a large negative decimal": Value(f"CAST('-{'9' * 30}.000' AS numeric(38, 3))", "-" + "9" * 30),
    "a small decimal": Value("CAST('0.001' AS numeric(38, 3))", None, told=False),
    "an infinite date": Value("DATE 'infinity'", None),
    "a date before Christ": Value("DATE '0044-03-15 BC'", None),
    "a timestamp of a zone": Value("TIMESTAMPTZ '2026-01-01 00:00:00+01'", None),
    "a time of a zone": Value("TIMETZ '10:11:12+01'", None),
    "an interval": Value("INTERVAL '3 days'", None),
    "a short float": Value("CAST(7 AS real)", None),
    "JSON": Value("""CAST('{"a": 1}' AS jsonb)""", None),
    "a full char": Value("CAST('ab' AS char(2))", "ab"),
    "a name": Value("CAST('a' AS name)", "a"),
    "an array": Value("ARRAY['a']", None),
    "money": Value("CAST('1.5' AS money)", None),
    "bits": Value("B'101'", None),
    "an address": Value("CAST('10.0.0.1' AS inet)", None),
    "a point": Value("point(1, 2)", None),
    "a range": Value("int4range(1, 2)", None),
    "words": Value("CAST('a b' AS tsvector)", None),
    "a domain": Value("CAST('a' AS word)", "a"),
    "an oid": Value("CAST(7 AS oid)", "7"),
    "a letter": Value("""CAST('x' AS "char")""", "x"),
    "an array of enums": Value("ARRAY[CAST('a' AS mood)]", None),
    "an array of dates": Value("ARRAY[DATE '2026-01-01']", None),
    "an array of numbers": Value("ARRAY[1.5]", None),
    "an array of names": Value("ARRAY[CAST('a' AS name)]", None),
    "a row": Value("CAST(ROW(1, 'a') AS pair)", None),
    "a row of no type": Value("ROW(1, 'a')", None),
    "a range of one's own": Value("CAST('[1,2]' AS span)", None),
    "a multirange": Value("CAST('{[1,2)}' AS int4multirange)", None),
    "a place of a row": Value("CAST('(1,2)' AS tid)", None),
    "a table": Value("CAST('pg_class' AS regclass)", None),
    "a place in the log": Value("CAST('0/1' AS pg_lsn)", None),
    "a transaction": Value("CAST('7' AS xid8)", None),
    "a snapshot": Value("txid_current_snapshot()", None),
    "a cursor": Value("CAST('x' AS refcursor)", None),
    "oids": Value("CAST('1 2' AS oidvector)", None),
    "small integers": Value("CAST('1 2' AS int2vector)", None),
}

WRITES = (
    "WITH gone AS (DELETE FROM kept RETURNING id) SELECT id FROM gone",
    "SELECT id FROM kept; DROP TABLE kept",
    "SELECT write_it() AS id",
    "SELECT set_config('transaction_read_only', 'off', true) || write_it() AS id",
    "SELECT id FROM kept) q; DROP TABLE kept; COMMIT; --",
)
ERRORS = (
    "SELECT CAST(id AS integer) AS id FROM {name}",
    "SELECT CAST(id AS date) AS id FROM {name}",
    "SELECT raise_it(id) AS id FROM {name}",
)
