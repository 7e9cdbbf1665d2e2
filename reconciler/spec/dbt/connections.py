"""From a target of dbt's `profiles.yml` to the URL and the `options` that docs/databases.md has for its database.

What can't be passed on exactly is refused: a connection that is not the one that dbt makes may see other rows.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from reconciler.models.urls import check_source_url
from reconciler.spec.dbt.profiles import Output
from reconciler.spec.draft import suggest

_INSTEAD = "give the source its `url` and `options` instead"


@dataclass(frozen=True)
class Connection:
    """How a target is reached, and where dbt puts its models; `kind` is dbt's name of the database."""

    kind: str
    database: str | None
    schema: str
    url: str = field(repr=False)
    options: Mapping[str, object] = field(repr=False)


def connect(output: Output) -> Connection:
    """Give the connection of a target. Raises Refused for what this program can't do or does not know."""
    kind = output.need("type")
    make = _MAKERS.get(kind)
    if make is None:
        known = ", ".join(_MAKERS)
        message = f"is `{kind}`, and these are read: {known}{suggest(kind, _MAKERS)}; {_INSTEAD}"
        raise output.refuse("type", message)
    connection = make(output)
    try:
        check_source_url(connection.url)
    except ValueError as error:
        raise output.refuse("type", f"makes a URL that {error}") from None
    return connection


def _postgres(output: Output) -> Connection:
    options = _given(output, "sslmode")
    options |= {key: path for key in ("sslcert", "sslkey", "sslrootcert") if (path := output.path(key))}
    options |= {key: number for key in ("connect_timeout", "keepalives_idle") if (number := output.number(key))}
    settings = [(key, text) for key in ("search_path", "role") if (text := output.text(key))]
    if settings:  # libpq: a backslash keeps a space from ending the setting
        escaped = {key: re.sub(r"([ \\])", r"\\\1", text) for key, text in settings}
        options["options"] = " ".join(f"-c {key}={text}" for key, text in escaped.items())
    database, schema = output.need("dbname", "database"), output.need("schema")
    url = _write_server(output, "postgresql", database, output.need("user"), output.text("password", "pass"), 5432)
    output.finish(("retries",))
    return Connection("postgres", database, schema, url, options)


def _redshift(output: Output) -> Connection:
    method = output.text("method") or "database"
    if method != "database":
        raise output.refuse("method", f"is a login that can't be used here (a user with a password can); {_INSTEAD}")
    mode = output.text("sslmode") or "prefer"
    options: dict[str, object] = {"ssl": False}
    if mode != "disable":  # what dbt makes of the modes: each but verify-full is verify-ca
        options = {"ssl": True, "sslmode": "verify-full" if mode == "verify-full" else "verify-ca"}
    if timeout := output.number("connect_timeout"):
        options["timeout"] = timeout
    database, schema = output.need("dbname", "database"), output.need("schema")
    user, password = output.need("user"), output.need("password", "pass")
    url = _write_server(output, "redshift+redshift_connector", database, user, password, 5439)
    output.finish(("retries", "region", "ra3_node", "autocommit", "tcp_keepalive", "retry_all", "cluster_id"))
    return Connection("redshift", database, schema, url, options)


def _snowflake(output: Output) -> Connection:
    options: dict[str, object] = {}
    authenticator = (output.text("authenticator") or "").lower()
    key_file, password, token = output.path("private_key_path"), output.text("password"), output.text("token")
    if output.value("private_key"):
        raise output.refuse("private_key", "is the text of a key; write it to a file, and name that: private_key_path")
    if key_file and authenticator in ("", "snowflake_jwt", "snowflake"):
        options = {"authenticator": "SNOWFLAKE_JWT", "private_key_file": key_file}
        if passphrase := output.text("private_key_passphrase"):
            options["private_key_file_pwd"] = passphrase
        password = None
    elif authenticator == "programmatic_access_token" and (token or password):
        options, password = {"authenticator": "PROGRAMMATIC_ACCESS_TOKEN", "token": token or password}, None
    elif authenticator == "oauth" and token and not output.value("oauth_client_id"):
        options, password = {"authenticator": "OAUTH", "token": token}, None
    elif authenticator == "oauth_client_credentials":
        names = ("oauth_client_id", "oauth_client_secret", "oauth_token_request_url", "oauth_scope")
        options, password = {"authenticator": "OAUTH_CLIENT_CREDENTIALS", **_given(output, *names)}, None
    elif authenticator not in ("", "snowflake") or not password:
        can = "a key pair (private_key_path), a programmatic access token, an OAuth token that is there, a password"
        raise output.refuse("authenticator", f"is a login that can't be used here, where nobody looks on; use {can}")
    if tag := output.text("query_tag"):
        options["session_parameters"] = {"QUERY_TAG": tag}
    database, schema = output.need("database"), output.need("schema")
    account = output.need("account")
    if not re.fullmatch(r"[\w.-]+", account):
        raise output.refuse("account", "is no account, such as organisation-account")
    login = quote(output.text("user") or "", safe="") + (f":{quote(password, safe='')}" if password else "")
    query = _write_query(output, "warehouse", "role")
    url = f"snowflake://{login}@{account}/{quote(database, safe='')}/{quote(schema, safe='')}{query}"
    ignored = ("client_session_keep_alive", "connect_retries", "connect_timeout", "retry_on_database_errors")
    output.finish((*ignored, "retry_all", "reuse_connections", "private_key_passphrase"))
    return Connection("snowflake", database, schema, url, options)


def _bigquery(output: Output) -> Connection:
    method = output.need("method")
    options = _given(output, "location")
    match method:
        case "oauth":  # Application Default Credentials
            pass
        case "service-account":
            options["credentials_path"] = output.path("keyfile") or output.need("keyfile")
        case "service-account-json":
            content = output.value("keyfile_json")
            if not isinstance(content, dict):
                raise output.refuse("keyfile_json", "must be a mapping: the content of the key's file")
            options["credentials_info"] = content
        case _:
            can = "oauth (Application Default Credentials), service-account or service-account-json"
            raise output.refuse("method", f"is a login that can't be used here; use {can}")
    project, dataset = output.need("project", "database"), output.need("dataset", "schema")
    for name, text in (("project", project), ("dataset", dataset)):
        if not re.fullmatch(r"[\w.-]+", text):
            raise output.refuse(name, "holds a character that can't stand in it")
    url = f"bigquery://{project}/{dataset}{_write_query(output, 'maximum_bytes_billed')}"
    timeouts = ("job_execution_timeout_seconds", "job_creation_timeout_seconds", "timeout_seconds")
    ignored = ("priority", "job_retries", "retries", "job_retry_deadline_seconds", "scopes")
    output.finish((*timeouts, *ignored))
    return Connection("bigquery", project, dataset, url, options)


def _databricks(output: Output) -> Connection:
    if (output.text("auth_type") or "token") == "oauth":
        client, secret = output.text("client_id"), output.text("client_secret")
        if not client or not secret:
            can = "give client_id and client_secret of a service principal, or a token"
            raise output.refuse("auth_type", f"opens a browser, where nobody looks on; {can}")
        options: dict[str, object] = {"oauth_client_id": client, "oauth_client_secret": secret}
    else:
        options = {"access_token": output.need("token")}
    catalog, schema = output.text("catalog", "database"), output.need("schema")
    query = {"http_path": output.need("http_path"), "catalog": catalog, "schema": schema}
    host = output.need("host")
    if not re.fullmatch(r"[\w.-]+", host):
        raise output.refuse("host", "is no name of a host, such as dbc-1234.cloud.databricks.com")
    url = f"databricks://{host}?{urlencode({key: text for key, text in query.items() if text})}"
    output.finish(("connect_retries", "connect_timeout", "retry_all", "connect_max_idle"))
    return Connection("databricks", catalog, schema, url, options)


def _duckdb(output: Output) -> Connection:
    path = output.text("path") or ":memory:"
    if path.startswith(":memory:"):
        raise output.refuse("path", "names no file, and what dbt makes in memory is gone when it ends")
    if re.match(r"[A-Za-z]\w+:", path):
        raise output.refuse("path", "must be a file on this machine")
    file = output.path("path") or path
    name = file.rpartition("/")[2].rpartition(".")[0] or file.rpartition("/")[2]
    url = f"duckdb:///{quote(file, safe='/', errors='surrogateescape')}"
    database = output.text("database") or name
    schema = output.text("schema") or "main"
    output.finish(("extensions", "external_root", "retries", "keep_open"))
    return Connection("duckdb", database, schema, url, {})


_MAKERS: Mapping[str, Callable[[Output], Connection]] = {
    "postgres": _postgres,
    "snowflake": _snowflake,
    "bigquery": _bigquery,
    "databricks": _databricks,
    "redshift": _redshift,
    "duckdb": _duckdb,
}


def _given(output: Output, *keys: str) -> dict[str, object]:
    return {key: text for key in keys if (text := output.text(key))}


def _write_query(output: Output, *keys: str) -> str:
    given = _given(output, *keys)
    return f"?{urlencode(given, quote_via=quote)}" if given else ""


def _write_server(output: Output, dialect: str, database: str, user: str, password: str | None, port: int) -> str:
    host = output.need("host")
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    place = f"{dialect}://{login}@{{}}:{output.number('port') or port}/{quote(database, safe='')}"
    if host.startswith("/"):  # the folder of a socket
        return f"{place.format('')}?host={quote(host, safe='')}"
    if not re.fullmatch(r"[\w.-]+|[0-9A-Fa-f:.]+", host):
        raise output.refuse("host", "is no name and no address of a host")
    return place.format(f"[{host}]" if ":" in host else host)
