"""`sources.NAME.options`: what a driver takes next to the URL, with its secrets and its files.

A check raises ValueError, or PydanticCustomError where the place is known better than pydantic knows it. No message
repeats a value, which may be a secret.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

from reconciler.models.fields import Reference, Resolved, Scalar, Unset, read_scalar
from reconciler.models.urls import WAREHOUSES, DatabaseUrl, resolve_path

Place: TypeAlias = tuple[str | int, ...]
"""The way to a value of the options: names, and positions in lists from 0."""

SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|credential|auth|signature", re.IGNORECASE)
"""The names of parameters with values that are, or may be, secrets; in a URL, too."""

_TEXT_NAME = re.compile(r"(pass(word|wd|code|phrase)?|pwd|secret|token)$", re.IGNORECASE)
"""Names of secrets that every driver takes as a text, also where they look like a number."""

_FILES = frozenset(
    {"private_key_file", "token_file_path", "credentials_path"}  # Snowflake, BigQuery
    | {"sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile"}  # PostgreSQL
    | {"ssl_ca", "ssl_cert", "ssl_key", "read_default_file"}  # MySQL
    | {"ca_cert", "client_cert", "client_cert_key"}  # ClickHouse
    | {"_tls_trusted_ca_file", "_tls_client_cert_file", "_tls_client_cert_key_file"}  # Databricks
)
"""Options that name a file. In `ssl`, a mapping of MySQL, `ca`, `cert` and `key` do, too."""

_NO_FILES = frozenset({"system", "certifi"})
"""Words that drivers take instead of a file: the authorities of the system, or of a package."""

_FIXED = frozenset(
    {"autocommit", "charset", "client_encoding", "encoding", "paramstyle", "use_inline_params", "use_unicode"}
)
"""Options on which it depends that ids arrive as they are, and that nothing is committed."""

_ENCODINGS = frozenset({"charset", "client_encoding", "encoding", "use_unicode"})
_UTF_8 = re.compile(r"utf-?8(mb4)?|al32utf8|1|true", re.IGNORECASE)
"""What a URL may say of an encoding."""

_OVERRIDDEN = {("mysql", ""), ("mysql", "pymysql"), ("mariadb", ""), ("mariadb", "pymysql"), ("postgresql", "psycopg")}
"""Dialects and drivers that are told the encoding whatever the URL says of it."""

_CANT_BE_SET = "can't be set: what is read depends on it"

OF_MEMBERS = {
    "schema": (
        r"\w+(\.\w+)*",
        "must be the name of a schema, of letters, digits and `_`, with dots between its parts",
    ),
    "table_format": ("(?i:delta|parquet)", "must be delta or parquet"),
    "location": (
        r"(/|[A-Za-z][\w+.-]*:/)[\w.:/@%+=,~ -]*",
        "must be an absolute path or a URL (/lake/reconcile, s3://lake/reconcile), without quotes",
    ),
}
"""What the options of tables of members in Spark may be: a pattern, and how a refusal says it."""

MEMBERS_SCHEMA = "members_schema"
"""The option of the warehouses of which a driver may have a `schema` of its own."""

_A_SCHEMA = (
    r"[\w-]+(\.[\w-]+)?",
    "must be the name of a schema (reconcile, main.reconcile), of letters, digits, `_` and `-`",
)
_UNQUOTED = (
    r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?",
    "must be the name of a schema (reconcile, analytics.reconcile) that needs no quotes: letters, digits and `_`",
)
_OF_MEMBERS_BY_DIALECT: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "sc": OF_MEMBERS,
    **{name: {MEMBERS_SCHEMA: _UNQUOTED if name == "snowflake" else _A_SCHEMA} for name in WAREHOUSES},
}


@dataclass(frozen=True)
class Options:
    """Arguments for a driver, by name. No value shows in `str` and `repr`; `reveal` gives them."""

    text: str = field(default="{}", repr=False)
    """As JSON: equal where all values are, `1` and `true` apart."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """The texts that must not be shown: from variables, or under a name of a secret."""

    def reveal(self) -> dict[str, Any]:
        """Give all values, each time as new objects: a driver may change them."""
        values: dict[str, Any] = json.loads(self.text)
        return values

    def without(self, names: Collection[str]) -> "Options":
        """Give the options but for some."""
        values = {name: value for name, value in self.reveal().items() if name not in names}
        return Options(json.dumps(values, sort_keys=True), self.secrets)

    def files(self) -> Iterator[tuple[Place, str]]:
        """Give the place and the path of each file that is named."""
        for place, text in _walk(self.reveal()):
            is_named = place[-1] in _FILES or (place[-2:-1] == ("ssl",) and place[-1] in ("ca", "cert", "key"))
            if is_named and isinstance(text, str) and text and text not in _NO_FILES:
                yield place, text

    def with_paths(self, resolve: Callable[[Place, str], str]) -> "Options":
        """Give the same options with other paths of files."""
        values, secrets = self.reveal(), list(self.secrets)
        for place, text in self.files():
            *parents, name = place
            inner: Any = values
            for step in parents:
                inner = inner[step]
            inner[name] = resolve(place, text)
            secrets += [inner[name]] if text in secrets else []
        return Options(json.dumps(values, sort_keys=True), tuple(dict.fromkeys(secrets)))

    def names(self) -> list[str]:
        """List the texts that may be shown."""
        return [text for _, text in _walk(self.reveal()) if isinstance(text, str) and text not in self.secrets]


NO_OPTIONS = Options()


def find_refused(url: DatabaseUrl, options: Mapping[str, object]) -> dict[str, str]:
    """Find the options that no source of this URL takes, each with the reason, which continues the name.

    A name that is not known is for the driver, in Spark a header for the server; unless it is close to one of the
    options for tables of members.
    """
    if url.is_file:
        return dict.fromkeys(options, "is not taken: SQLite and DuckDB have no options")
    refused = {name: _CANT_BE_SET for name in options if name.lower() in _FIXED}
    known = _OF_MEMBERS_BY_DIALECT.get(url.dialect, {})
    for name, value in options.items():
        pattern, reason = known.get(name, ("", ""))
        is_left_out = isinstance(value, Unset) or value == ""
        if pattern and not is_left_out and not re.fullmatch(pattern, str(value), re.ASCII):
            refused[name] = reason
        close = get_close_matches(name.lower(), known, n=1, cutoff=0.75)
        if close and name not in known and not name.lower().startswith("x-"):
            one = "option for tables of members is" if len(known) == 1 else "options for tables of members are"
            refused[name] = f"is not known; the {one} {', '.join(known)}"
    return refused


def find_refused_parameters(url: DatabaseUrl) -> dict[str, str]:
    """Find the parameters of a URL that no source takes, each with the reason, which continues the name."""
    if url.is_file or url.dialect == "sc":
        return {}
    is_overridden = (url.dialect, url.driver) in _OVERRIDDEN
    return {
        name: _CANT_BE_SET
        for name, value in url.parameters
        if name.lower() in _FIXED and not (name.lower() in _ENCODINGS and (is_overridden or _UTF_8.fullmatch(value)))
    }


def read_options(value: object) -> Options:
    """Read a mapping of options; a value that is one reference to a variable as a YAML scalar, or left out if empty.

    A secret that is one reference stays a text.
    """
    if isinstance(value, Options):
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    secrets: list[str] = []
    values = _read(value, (), is_secret=False, secrets=secrets)
    options = Options(json.dumps(values, sort_keys=True), tuple(dict.fromkeys(secrets)))
    for place, name in options.files():
        try:
            resolve_path(name, Path())
        except ValueError as error:
            raise _refuse(place, str(error)) from None
    return options


def _read(value: object, at: Place, *, is_secret: bool, secrets: list[str]) -> object:
    """Give a value as JSON has it; None for one that is to be left out. Adds its secrets to `secrets`."""
    if isinstance(value, dict):
        if any(not re.fullmatch(r"[!-~]([ -~]*[!-~])?", str(name)) for name in value):
            raise _refuse(at, "has a key that no driver takes; give it a name in plain ASCII")
        read = {
            name: _read(child, (*at, name), is_secret=is_secret or bool(SECRET_NAME.search(name)), secrets=secrets)
            for name, child in value.items()
        }
        return {name: child for name, child in read.items() if child is not None}
    if isinstance(value, list):
        entries = [
            _read(child, (*at, number), is_secret=is_secret, secrets=secrets) for number, child in enumerate(value)
        ]
        return ["" if entry is None else entry for entry in entries]
    scalar = _read_scalar(value, at, is_secret=is_secret)
    is_hidden = isinstance(value, Resolved) or (is_secret and isinstance(value, str))
    if is_hidden and not isinstance(scalar, bool | None) and str(scalar).strip():
        secrets.append(str(scalar))
    return scalar


def _read_scalar(value: object, at: Place, *, is_secret: bool) -> Scalar:
    if not isinstance(value, str | int | float):
        raise _refuse(at, "must be a text, a number, true, false, or a list or mapping of them")
    if isinstance(value, float) and not isfinite(value):
        raise _refuse(at, "must be a finite number")
    if isinstance(value, str):
        if not isinstance(value, Reference) or (is_secret and value.strip()):
            return str(value)
        quoted = re.fullmatch(r"'(.*)'|\"(.*)\"", value, re.DOTALL)
        scalar = (quoted[1] or quoted[2] or "") if quoted else read_scalar(value.strip())
        return str(value) if isinstance(scalar, str) and not quoted else scalar
    if not isinstance(value, bool) and at and _TEXT_NAME.search(str(at[-1])):
        raise _refuse(at, "must be a text; put it in quotes")
    return value


def _refuse(at: Place, problem: str) -> PydanticCustomError:
    return PydanticCustomError("option", "an option is wrong", {"at": at, "problem": problem})


def _walk(value: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Give the place and the value of each scalar."""
    if isinstance(value, dict | list):
        for step, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _walk(child, (*at, step))
    else:
        yield at, value


SourceOptions = Annotated[
    Options,
    PlainValidator(read_options),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": ["string", "number", "boolean", "array", "object"]},
        }
    ),
    Field(title="mapping"),
]
