"""BigQuery, emulated: the real driver and dialect, with the key of a service account, against bqemulator (DuckDB)."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.warehouses.engine import Engine, Started, Value
from tests.warehouses.engines._serve import serve

UUID = "0b7c1a52-6c1f-4a55-9f4c-0d5b4f2f9a11"
HOST = "BIGQUERY_EMULATOR_HOST"
"""The variable by which Google's client finds an emulator."""


@contextmanager
def start(folder: Path) -> Iterator[Started]:
    """Serve a project with one data set from the memory of the emulator."""
    from google.cloud import bigquery

    public_key = folder / "public.pem"
    (folder / "account.json").write_text(json.dumps(account := make_account(public_key)))
    (folder / "wrong.json").write_text(json.dumps(make_account(folder / "other.pem")))
    with serve("bigquery", "_bqemulator.py", folder, str(public_key)) as port:
        for name in ("account", "wrong"):
            file = folder / f"{name}.json"
            file.write_text(file.read_text().replace("TOKENS", f"http://127.0.0.1:{port}/token"))
        os.environ[HOST] = f"http://127.0.0.1:{port}"
        client = bigquery.Client.from_service_account_json(str(folder / "account.json"))
        try:
            with closing(client):
                client.create_dataset("shop")
                default = bigquery.QueryJobConfig(default_dataset=f"{account['project_id']}.shop")
                url = f"bigquery://{account['project_id']}/shop?credentials_path={folder}"
                yield Started(
                    url=f"{url}/account.json",
                    execute=lambda sql: client.query_and_wait(sql, job_config=default),
                    wrong_password=f"{url}/wrong.json",
                )
        finally:
            del os.environ[HOST]


def make_account(public_key: Path) -> dict[str, str]:
    """Make what Google gives for the key of a service account; the public half goes to a file."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM
    public_key.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "type": "service_account",
        "project_id": "shop-project",
        "private_key_id": "1",
        "private_key": private.decode(),
        "client_email": "reader@shop-project.iam.gserviceaccount.com",
        "token_uri": "TOKENS",
    }


VALUES = {
    "an integer": Value("7", "7"),
    "the smallest integer": Value(str(-(2**63)), str(-(2**63))),
    "the largest integer": Value(str(2**63 - 1), str(2**63 - 1)),
    "an integer that a double can't hold": Value("9007199254740993", "9007199254740993"),
    "an integral decimal": Value("NUMERIC '7.00'", "7"),
    "a decimal": Value("NUMERIC '7.50'", None, told=False),
    "the widest decimal": Value(f"NUMERIC '{'9' * 29}'", "9" * 29),
    "a boolean": Value("TRUE", None),
    "a date": Value("DATE '2026-01-01'", None),
    "a timestamp": Value("TIMESTAMP '2026-01-01 00:00:00+00'", None),
    "a timestamp without a zone": Value("DATETIME '2026-01-01 00:00:00'", None),
    "a time": Value("TIME '10:11:12'", None),
    "a float": Value("CAST(7 AS FLOAT64)", None),
    "bytes": Value("b'ab'", None),
    "an array": Value("['a']", None, told=False, nullable=False),
    "a struct": Value("STRUCT('a' AS a)", None),
    "JSON": Value("JSON '{\"a\": 1}'", None),
}


ESCAPED = {"\n": "\\n", "\r": "\\r"}


def write_text(text: str) -> str:
    """Write what ends a literal with a backslash; the emulator does not read `\\x00`, so the rest is as it is."""
    return "'" + re.sub(r"[\\\\'\n\r]", lambda found: ESCAPED.get(found[0], f"\\{found[0]}"), text) + "'"


ENGINE = Engine(
    name="BigQuery (emulated)",
    venv="warehouses",
    start=start,
    emulated=True,
    values=VALUES,
    lacks={
        "a UUID": "a text here: BigQuery has GENERATE_UUID",
        "an unreachable server": "its address is Google's",
        "a name without a param": "the emulator's tokenizer fails, in words that BigQuery has not",
    },
    text=write_text,
    text_type="STRING",
    table="CREATE TABLE {name} (id STRING, number INT64)",
    quote="`",
    comments=("-- {}\n", "/* {} */", "# {}\n"),
    strings={
        r"'it\'s :low'": "it's :low",
        '"it\'s :low"': "it's :low",
        r"'\\'": "\\",
        "r'\\d :low'": "\\d :low",
        "'''it's :low'''": "it's :low",
        "'# :low'": "# :low",
    },
    writes=("SELECT id FROM kept; DROP TABLE kept", "EXECUTE IMMEDIATE 'DROP TABLE kept'"),
    errors_with_rows=(
        "SELECT CAST(id AS INT64) AS id FROM {name}",
        "SELECT PARSE_DATE('%F', id) AS id FROM {name}",
        "SELECT ERROR(id) AS id FROM {name}",
    ),
)
