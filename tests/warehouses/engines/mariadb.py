"""MariaDB through PyMySQL: the distribution's server, started here as a process of its own."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.warehouses.engine import Engine, NotHad, Started, Value

PASSWORD = "p@ss:w/rd?#%1"
ENCODED = "p%40ss%3Aw%2Frd%3F%23%251"
UUID = "0b7c1a52-6c1f-4a55-9f4c-0d5b4f2f9a11"
CERTIFICATE = Path(__file__).parents[2] / "unit" / "customerio" / "localhost.pem"
SCRIPTS = Path("/usr/share/mysql")


@contextmanager
def start(folder: Path) -> Iterator[Started]:
    """Make a database in the folder and serve it on a port of 127.0.0.1."""
    import pymysql

    server = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not server or not SCRIPTS.is_dir():
        raise NotHad("there is no mariadbd; install the package mariadb-server-core (Debian, Ubuntu)")
    data, own = folder / "data", f"{folder}/mariadb.sock"
    user = ["--user=root"] if os.geteuid() == 0 else []
    make_database(data, server, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(server, "--no-defaults", f"--datadir={data}", f"--socket={own}", f"--log-error={folder}/log", *user),
            *("--bind-address=127.0.0.1", f"--port={port}", f"--pid-file={folder}/pid", "--skip-name-resolve"),
            *("--character-set-server=utf8mb4", "--innodb-flush-log-at-trx-commit=0"),
            "--innodb-buffer-pool-size=64M",
            *(f"--ssl-cert={CERTIFICATE}", f"--ssl-key={CERTIFICATE}"),
        ]
    )
    try:
        while True:
            with suppress(pymysql.err.OperationalError):
                pymysql.connect(unix_socket=own, user="root").close()
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
                raise NotHad(f"mariadbd ended: {(folder / 'log').read_text()[-1000:]}")
        with closing(pymysql.connect(unix_socket=own, user="root", autocommit=True)) as connection:

            def execute(sql: str) -> object:
                with connection.cursor() as cursor:
                    return cursor.execute(sql)

            execute("CREATE DATABASE shop")
            execute(f"CREATE USER reader IDENTIFIED BY '{PASSWORD}'")
            # All rights: what keeps a query from writing is to be the session.
            execute("GRANT ALL ON *.* TO reader")
            execute("USE shop")
            execute("CREATE FUNCTION write_it() RETURNS TEXT BEGIN INSERT INTO kept (id) VALUES ('z'); RETURN 'z'; END")
            execute(
                "CREATE FUNCTION raise_it(id TEXT) RETURNS TEXT "
                "BEGIN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = id; RETURN id; END"
            )
            server_url = "mysql+pymysql://reader:{}@127.0.0.1:{}/shop"
            yield Started(
                url=server_url.format(ENCODED, port),
                execute=execute,
                wrong_password=server_url.format("wr0ng-%40secret", port),
                unreachable=server_url.format(ENCODED, 1),
            )
    finally:
        process.terminate()
        process.wait(timeout=60)


def make_database(data: Path, server: str, user: list[str]) -> None:
    """Make the system tables, as `mariadb-install-db` does; that script needs the package that starts a service."""
    scripts = [f"mysql_{name}.sql" for name in ("system_tables", "performance_tables", "system_tables_data")]
    text = "\n".join([
        "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;",
        *((SCRIPTS / name).read_text() for name in scripts),
    ])  # fmt: skip
    data.mkdir()
    words = [server, "--no-defaults", f"--datadir={data}", "--bootstrap", *user]
    made = subprocess.run(words, input=text, capture_output=True, text=True, timeout=120)
    if made.returncode:
        raise NotHad(f"mariadbd --bootstrap failed: {made.stderr[-1000:]}")


VALUES = {
    "an integer": Value("7", "7"),
    "the smallest integer": Value(f"CAST({-(2**63)} AS SIGNED)", str(-(2**63))),
    "the largest integer": Value(f"CAST({2**64 - 1} AS UNSIGNED)", str(2**64 - 1)),
    "an integer that a double can't hold": Value("9007199254740993", "9007199254740993"),
    "an integral decimal": Value("CAST(7 AS DECIMAL(10, 2))", "7"),
    "a decimal": Value("CAST(7.5 AS DECIMAL(10, 2))", None, told=False),
    "the widest decimal": Value(f"CAST('{'9' * 65}' AS DECIMAL(65, 0))", "9" * 65),
    "a UUID": Value(f"CAST('{UUID.upper()}' AS UUID)", UUID),
    "a boolean": Value("TRUE", "1"),  # a TINYINT, as everywhere in MariaDB
    "a date": Value("DATE '2026-01-01'", None),
    "a timestamp": Value("TIMESTAMP '2026-01-01 00:00:00'", None),
    "a time": Value("TIME '10:11:12'", None),
    "a float": Value("CAST(7 AS DOUBLE)", None),
    "bytes": Value("CAST('a' AS BINARY)", None, told=False),
    "a real": Value("CAST(7 AS FLOAT)", None),
    "a date that is none": Value("STR_TO_DATE('0000-00-00', '%Y-%m-%d')", None),
    "a time of many hours": Value("TIME '100:00:00'", None),
    "a padded char": Value("CAST('a ' AS CHAR(5))", None, told=False),
    "a text in another encoding": Value("CONVERT('né' USING latin1)", "né"),
    "an address": Value("CAST('::1' AS INET6)", "::1"),
    "bits": Value("b'101'", None, told=False),
    "JSON, which is a text": Value("JSON_QUOTE('a')", '"a"'),
    "a geometry": Value("POINT(1, 2)", None),
}


def write_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


ENGINE = Engine(
    name="MariaDB",
    venv="warehouses",
    start=start,
    values=VALUES,
    text=write_text,
    text_type="CHAR",
    quote="`",
    comments=("-- {}\n", "/* {} */", "# {}\n", "/*/ {} /*/", "--\x01{}\n"),
    strings={
        r"'it\'s :low'": "it's :low",
        '"a ""b"" \' :low"': 'a "b" \' :low',
        r"'\\'": "\\",
        "'a''b -- c'": "a'b -- c",
        "'# :low'": "# :low",
    },
    writes=(
        "SELECT id FROM kept INTO OUTFILE '/tmp/made'",
        "INSERT INTO kept (id) VALUES ('z') RETURNING id",
        "SELECT id FROM kept; DROP TABLE kept",
        "SELECT write_it() AS id",
    ),
    fails="(SELECT raise_it(a.id))",
    errors_with_rows=(
        "SELECT UPDATEXML(1, (SELECT CONCAT('~', id) FROM {name} LIMIT 1), 1) AS id",
        "SELECT raise_it(id) AS id FROM {name}",
    ),
)
