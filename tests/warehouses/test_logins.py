"""Each login that docs/databases.md names, with its real driver: what arrives, and what a wrong one is told.

Snowflake, BigQuery, Databricks and ClickHouse meet a server of ours that records the login and lets nobody in;
PostgreSQL and MariaDB are real.
"""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from databricks.sql import client as databricks_cursor
from databricks.sql import utils as databricks_utils

from reconciler.errors import SourceError
from reconciler.models.fields import Secret
from reconciler.models.options import read_options
from reconciler.models.spec import Segment
from reconciler.sources import open_source
from reconciler.sources.drivers import refuse_unknown
from reconciler.sources.failures import Kind
from tests.support.postgres import Postgres
from tests.warehouses.engines import mariadb
from tests.warehouses.recorder import Recorder, record

LOCALHOST = Path(__file__).parents[1] / "unit" / "customerio" / "localhost.pem"
"""A certificate of localhost that signed itself, with its key: server and authority in one."""

TLS_PROXY = Path(__file__).with_name("tls_proxy.py")

PASSPHRASE = "s3cret passphrase"
SEGMENT = Segment(name="vip", segment_id=56, query="SELECT 1", source="warehouse")


def check(url: str, **options: object) -> None:
    open_source("warehouse", Secret(url), read_options(options)).check(SEGMENT)


def refuse(url: str, **options: object) -> SourceError:
    """Check a source that can't be logged into; its error shows no secret."""
    with pytest.raises(SourceError) as caught:
        check(url, **options)
    assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"
    return caught.value


@pytest.fixture(scope="session")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def write_key(key: rsa.RSAPrivateKey, path: Path, passphrase: str = "") -> str:
    secret = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    path.chmod(0o600)
    return str(path)


def read_token(token: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """Give what a signed JWT says. Raises InvalidSignature where another key signed it."""
    content, _, signature = token.rpartition(".")
    key.public_key().verify(decode(signature), content.encode(), padding.PKCS1v15(), hashes.SHA256())
    claims: dict[str, Any] = json.loads(decode(content.partition(".")[2]))
    return claims


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# --- Snowflake -------------------------------------------------------------------------------------------------------

SNOWFLAKE = "snowflake://etl@organisation-account/db/public?warehouse=reporting&role=reader"


@pytest.fixture
def snowflake() -> Iterator[Recorder]:
    refusal = {
        "success": False,
        "code": "390100",
        "message": "Incorrect username or password was specified.",
        "data": {},
    }
    token = {"access_token": "s3cret-of-oauth", "token_type": "Bearer", "expires_in": 600}
    with record({"/session/v1/login-request": (200, refusal), "/oauth/token-request": (200, token)}) as recorder:
        yield recorder


def local(recorder: Recorder) -> dict[str, object]:
    return {"protocol": "http", "host": "127.0.0.1", "port": recorder.port}


def read_login(recorder: Recorder) -> dict[str, Any]:
    data: dict[str, Any] = recorder.requests[-1].json()["data"]
    assert (data["ACCOUNT_NAME"], data["LOGIN_NAME"]) == ("organisation-account", "etl")
    return data


@pytest.mark.parametrize("passphrase", [PASSPHRASE, ""])
def test_snowflake_by_a_key_pair(snowflake, key, tmp_path, passphrase):
    file = write_key(key, tmp_path / "key.p8", passphrase)
    given = {"private_key_file_pwd": passphrase} if passphrase else {}

    error = refuse(SNOWFLAKE, authenticator="SNOWFLAKE_JWT", private_key_file=file, **given, **local(snowflake))

    login = read_login(snowflake)
    claims = read_token(login["TOKEN"], key)
    assert login["AUTHENTICATOR"] == "SNOWFLAKE_JWT"
    assert claims["sub"] == "ORGANISATION-ACCOUNT.ETL"
    assert claims["iss"].startswith("ORGANISATION-ACCOUNT.ETL.SHA256:")
    assert error.hint == Kind.AUTH.value
    assert len(snowflake.requests) == 1


def test_snowflake_by_a_programmatic_token(snowflake):
    refuse(SNOWFLAKE, authenticator="PROGRAMMATIC_ACCESS_TOKEN", token="s3cret-token", **local(snowflake))

    login = read_login(snowflake)
    assert (login["AUTHENTICATOR"], login["TOKEN"]) == ("PROGRAMMATIC_ACCESS_TOKEN", "s3cret-token")


def test_snowflake_by_a_programmatic_token_in_a_file(snowflake, tmp_path):
    (tmp_path / "token").write_text("s3cret-token\n")
    file = str(tmp_path / "token")

    refuse(SNOWFLAKE, authenticator="PROGRAMMATIC_ACCESS_TOKEN", token_file_path=file, **local(snowflake))

    assert read_login(snowflake)["TOKEN"] == "s3cret-token"


def test_snowflake_by_a_token_of_oauth(snowflake):
    refuse(SNOWFLAKE, authenticator="OAUTH", token="s3cret-token", **local(snowflake))

    login = read_login(snowflake)
    assert (login["AUTHENTICATOR"], login["TOKEN"]) == ("OAUTH", "s3cret-token")


def test_snowflake_by_a_client_of_oauth(snowflake):
    refuse(
        SNOWFLAKE,
        authenticator="OAUTH_CLIENT_CREDENTIALS",
        oauth_client_id="client",
        oauth_client_secret="s3cret",
        oauth_token_request_url=f"{snowflake.url}/oauth/token-request",
        oauth_scope="session:role:reader",
        **local(snowflake),
    )

    asked, _ = snowflake.requests
    assert asked.form() == {"grant_type": "client_credentials", "scope": "session:role:reader"}
    assert asked.headers["authorization"] == f"Basic {base64.b64encode(b'client:s3cret').decode()}"
    assert read_login(snowflake)["TOKEN"] == "s3cret-of-oauth"


def test_snowflake_by_the_name_of_a_connection(snowflake, tmp_path, monkeypatch):
    monkeypatch.setenv("SNOWFLAKE_HOME", str(tmp_path))
    lines = ['account = "organisation-account"', 'user = "etl"', 'authenticator = "PROGRAMMATIC_ACCESS_TOKEN"']
    lines += ['token = "s3cret-token"', 'protocol = "http"', 'host = "127.0.0.1"', f"port = {snowflake.port}"]
    file = tmp_path / "connections.toml"
    file.write_text("\n".join(["[production]", *lines]))
    file.chmod(0o600)

    refuse("snowflake://", connection_name="production")

    assert read_login(snowflake)["TOKEN"] == "s3cret-token"
    assert refuse("snowflake://", connection_name="staging").hint == Kind.OPTIONS.value


def test_snowflake_by_a_password(snowflake):
    refuse(SNOWFLAKE.replace("etl@", "etl:s3cret@"), **local(snowflake))

    assert read_login(snowflake)["PASSWORD"] == "s3cret"


@pytest.mark.parametrize("given", [{"private_key_file_pwd": "s3cret of another"}, {}])
def test_snowflake_with_a_key_that_its_passphrase_does_not_open_is_not_asked(snowflake, key, tmp_path, given):
    file = write_key(key, tmp_path / "s3cret.p8", PASSPHRASE)

    error = refuse(SNOWFLAKE, authenticator="SNOWFLAKE_JWT", private_key_file=file, **given, **local(snowflake))

    assert error.hint == Kind.AUTH.value
    assert snowflake.requests == []


def test_a_key_in_the_url_of_snowflake_is_refused_with_the_place_for_it():
    assert refuse(f"{SNOWFLAKE}&private_key_file=s3cret").hint == Kind.OPTIONS.value


@pytest.mark.parametrize(
    ("url", "options", "name", "hint"),
    [
        (SNOWFLAKE, {"privat_key_file_pwd": "s3cret"}, "privat_key_file_pwd", "Did you mean `private_key_file_pwd`?"),
        (SNOWFLAKE, {"login_time_out": 5}, "login_time_out", "Did you mean `login_timeout`?"),
        (f"{SNOWFLAKE}&warehousee=s3cret", {}, "warehousee", "Did you mean `warehouse`?"),
        (SNOWFLAKE, {"zzz_zzz": 5}, "zzz_zzz", "Leave it out, or correct its name."),
        ("databricks://h?http_path=/s3cret", {"acces_token": "s3cret"}, "acces_token", "Did you mean `access_token`?"),
        ("databricks://h?http_pth=/s3cret", {"access_token": "s3cret"}, "http_pth", "Did you mean `http_path`?"),
    ],
)
def test_an_option_that_the_driver_would_pass_over_is_told(url, options, name, hint):
    error = refuse(url, **options)

    assert error.message.startswith(f"source warehouse: `{name}` is no option that ")
    assert error.hint == hint


@pytest.mark.parametrize(
    ("dialect", "names"),
    [
        (
            "snowflake",
            "account user password authenticator token token_file_path private_key private_key_file application role "
            "private_key_file_pwd private_key_passphrase connection_name connections_file_path oauth_client_id schema "
            "oauth_client_secret oauth_scope oauth_token_request_url oauth_authorization_url oauth_redirect_uri host "
            "session_parameters login_timeout network_timeout socket_timeout warehouse database port protocol passcode "
            "client_session_keep_alive timezone proxy_host proxy_port proxy_user proxy_password connect_timeout "
            "validate_default_parameters workload_identity_provider client_prefetch_threads",
        ),
        (
            "databricks",
            "access_token http_path catalog schema oauth_client_id oauth_client_secret auth_type http_headers _port "
            "session_configuration azure_client_id azure_client_secret azure_tenant_id user_agent_entry query_tags "
            "use_cloud_fetch _tls_trusted_ca_file _tls_no_verify _tls_client_cert_file _socket_timeout "
            "_user_agent_entry _retry_stop_after_attempts_count _retry_stop_after_attempts_duration enable_telemetry",
        ),
    ],
)
def test_an_option_of_the_driver_is_known(dialect, names):
    for name in names.split():
        assert refuse_unknown("warehouse", dialect, [name, name.upper()]) is None, name


# --- BigQuery --------------------------------------------------------------------------------------------------------


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Recorder]:
    denied = {"error": {"code": 403, "message": "Access Denied: no right", "errors": [{"reason": "accessDenied"}]}}
    machine = "/computeMetadata/v1/instance/service-accounts/default"
    answers: dict[str, tuple[int, object]] = {
        "/bigquery": (403, denied),
        "/token": (200, {"access_token": "of-the-key", "token_type": "Bearer", "expires_in": 600}),
        f"{machine}/token": (200, {"access_token": "of-the-machine", "expires_in": 600}),
        machine: (200, {"email": "machine@shop", "scopes": ["cloud-platform"], "aliases": ["default"]}),
        "/": (200, {}),
    }
    with record(answers) as recorder:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", recorder.url)
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
        for name in ("GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT"):
            monkeypatch.setenv(name, f"127.0.0.1:{recorder.port}")
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        yield recorder


@pytest.fixture
def account(google: Recorder, key: rsa.RSAPrivateKey, tmp_path: Path) -> dict[str, str]:
    """What the file of a service account says."""
    return {
        "type": "service_account",
        "project_id": "shop",
        "private_key_id": "s3cret-id",
        "private_key": Path(write_key(key, tmp_path / "google.pem")).read_text(),
        "client_email": "etl@shop.iam.gserviceaccount.com",
        "token_uri": f"{google.url}/token",
    }


def write_account(account: dict[str, str], path: Path) -> str:
    path.write_text(json.dumps(account))
    return str(path)


def assert_logged_in(google: Recorder, key: rsa.RSAPrivateKey) -> None:
    asked, query = google.requests
    assert read_token(asked.form()["assertion"], key)["iss"] == "etl@shop.iam.gserviceaccount.com"
    assert query.headers["authorization"] == "Bearer of-the-key"


def test_bigquery_by_the_file_of_a_service_account(google, account, key, tmp_path):
    refuse("bigquery://shop/data", credentials_path=write_account(account, tmp_path / "s3cret.json"), location="EU")

    assert_logged_in(google, key)
    assert google.requests[-1].json()["location"] == "EU"


def test_bigquery_by_the_content_of_that_file(google, account, key):
    refuse("bigquery://shop/data", credentials_info=account)

    assert_logged_in(google, key)


def test_bigquery_by_that_content_in_base64_in_a_variable(google, account, key):
    refuse("bigquery://shop/data", credentials_base64=base64.b64encode(json.dumps(account).encode()).decode())

    assert_logged_in(google, key)


def test_bigquery_by_the_default_credentials_of_a_file(google, account, key, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", write_account(account, tmp_path / "s3cret.json"))

    refuse("bigquery://shop/data")

    assert_logged_in(google, key)


def test_bigquery_by_the_default_credentials_of_the_machine(google):
    refuse("bigquery://shop/data")

    assert google.requests[-1].headers["authorization"] == "Bearer of-the-machine"


@pytest.mark.parametrize("content", ["", "{no json", '{"type": "service_account"}'])
def test_bigquery_with_a_file_that_is_no_account(google, tmp_path, content):
    (tmp_path / "s3cret.json").write_text(content)

    error = refuse("bigquery://shop/data", credentials_path=str(tmp_path / "s3cret.json"))

    assert error.hint in (Kind.OPTIONS.value, Kind.AUTH.value)
    assert google.requests == []


def test_bigquery_with_default_credentials_that_are_missing(google, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))

    assert refuse("bigquery://shop/data").hint in (Kind.OPTIONS.value, Kind.AUTH.value)


# --- Databricks ------------------------------------------------------------------------------------------------------

DATABRICKS = "databricks://localhost?http_path=/sql/1.0/warehouses/1&catalog=main&schema=shop"


@pytest.fixture
def databricks() -> Iterator[Recorder]:
    token = {"access_token": "s3cret-of-oauth", "token_type": "Bearer", "expires_in": 600}
    with record({"/oidc/v1/token": (200, token)}, LOCALHOST) as recorder:
        yield recorder


def local_tls(recorder: Recorder) -> dict[str, object]:
    return {"_port": recorder.port, "_tls_trusted_ca_file": str(LOCALHOST), "_retry_stop_after_attempts_count": 1}


def test_databricks_by_a_token_in_the_url(databricks):
    error = refuse(DATABRICKS.replace("//", "//token:s3cret@", 1), **local_tls(databricks))

    assert [request.headers["authorization"] for request in databricks.requests] == ["Bearer s3cret"]
    assert error.hint == Kind.AUTH.value


def test_databricks_by_a_token_in_the_options(databricks):
    refuse(DATABRICKS, access_token="s3cret", **local_tls(databricks))

    assert [request.headers["authorization"] for request in databricks.requests] == ["Bearer s3cret"]


def test_databricks_by_oauth_as_a_service_principal(databricks, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(LOCALHOST))

    refuse(DATABRICKS, oauth_client_id="client", oauth_client_secret="s3cret", **local_tls(databricks))

    asked, session = databricks.requests
    assert asked.form() == {"grant_type": "client_credentials", "scope": "all-apis"}
    assert asked.headers["authorization"] == f"Basic {base64.b64encode(b'client:s3cret').decode()}"
    assert session.headers["authorization"] == "Bearer s3cret-of-oauth"


def test_databricks_behind_a_certificate_of_an_unknown_authority(databricks):
    options = local_tls(databricks) | {"_tls_trusted_ca_file": certifi.where()}

    assert refuse(DATABRICKS, access_token="s3cret", **options).hint == Kind.CERTIFICATE.value
    assert databricks.requests == []


def test_what_the_reader_of_columns_asks_of_databricks_is_in_its_driver():
    assert callable(databricks_cursor.Cursor.fetchmany_arrow)
    assert databricks_utils.ColumnQueue.__name__ == "ColumnQueue"


# --- ClickHouse ------------------------------------------------------------------------------------------------------


@pytest.fixture
def clickhouse() -> Iterator[Recorder]:
    with record({"/": (403, "Code: 516. DB::Exception: etl: Authentication failed")}, LOCALHOST) as recorder:
        yield recorder


def test_clickhouse_by_a_password(clickhouse):
    error = refuse(f"clickhousedb://etl:s3cret@localhost:{clickhouse.port}/db", secure=True, ca_cert=str(LOCALHOST))

    basic = base64.b64encode(b"etl:s3cret").decode()
    assert [request.headers["authorization"] for request in clickhouse.requests] == [f"Basic {basic}"]
    assert error.hint == Kind.AUTH.value


def test_clickhouse_by_a_token(clickhouse):
    url = f"clickhousedb://localhost:{clickhouse.port}/db"

    refuse(url, secure=True, ca_cert=str(LOCALHOST), access_token="s3cret")

    assert [request.headers["authorization"] for request in clickhouse.requests] == ["Bearer s3cret"]


def test_clickhouse_behind_a_certificate_of_an_unknown_authority(clickhouse):
    url = f"clickhousedb://etl:s3cret@localhost:{clickhouse.port}/db"

    assert refuse(url, secure=True, ca_cert=certifi.where()).hint == Kind.CERTIFICATE.value
    assert clickhouse.requests == []


# --- PostgreSQL over TLS ---------------------------------------------------------------------------------------------

on_servers = pytest.mark.xdist_group("logins")
"""One worker starts the servers."""


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    words = [sys.executable, str(TLS_PROXY), str(postgres_server.folder / ".s.PGSQL.5432"), str(LOCALHOST)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        yield f"postgresql://postgres@localhost:{int(proxy.stdout.readline())}/postgres"
        proxy.terminate()


@on_servers
def test_postgresql_with_an_authority_of_ones_own(postgres_url):
    source = open_source(
        "warehouse", Secret(postgres_url), read_options({"sslmode": "verify-full", "sslrootcert": str(LOCALHOST)})
    )

    source.check(SEGMENT)
    with source.stream_values(SEGMENT) as values:
        assert values.rows is not None


@on_servers
def test_postgresql_behind_a_certificate_of_an_unknown_authority(postgres_url):
    error = refuse(postgres_url, sslmode="verify-full", sslrootcert=certifi.where())

    assert error.hint == Kind.CERTIFICATE.value


@on_servers
def test_postgresql_with_a_key_that_others_may_read(postgres_url, key, tmp_path):
    file = Path(write_key(key, tmp_path / "s3cret.pem"))
    file.chmod(0o644)

    error = refuse(postgres_url, sslmode="require", sslcert=str(LOCALHOST), sslkey=str(file))

    assert "group or world access" in error.message
    assert error.hint == Kind.AUTH.value


@on_servers
@pytest.mark.parametrize("passphrase", ["s3cret of another", "s3cret"])
def test_postgresql_with_a_key_that_its_passphrase_does_not_open(postgres_url, key, tmp_path, passphrase):
    file = write_key(key, tmp_path / "s3cret.pem", PASSPHRASE)

    error = refuse(postgres_url, sslmode="require", sslcert=str(LOCALHOST), sslkey=file, sslpassword=passphrase)

    assert error.hint == Kind.AUTH.value


# --- MariaDB over TLS ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mariadb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mariadb.ENGINE.start(tmp_path_factory.mktemp("mariadb-tls")) as started:
        yield started.url.replace("127.0.0.1", "localhost").replace("mysql+pymysql", "mysql")


@on_servers
@pytest.mark.parametrize("nested", [False, True])
def test_mariadb_with_an_authority_of_ones_own(mariadb_url, nested):
    options = (
        {"ssl": {"ca": str(LOCALHOST), "check_hostname": True}}
        if nested
        else {"ssl_ca": str(LOCALHOST), "ssl_verify_cert": True, "ssl_verify_identity": True}
    )
    source = open_source("warehouse", Secret(mariadb_url), read_options(options))
    query = "SELECT variable_value AS id FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'"

    with source.stream_values(SEGMENT.model_copy(update={"query": query})) as values:
        (cipher,) = values.rows
    assert cipher


@on_servers
def test_mariadb_behind_a_certificate_of_an_unknown_authority(mariadb_url):
    error = refuse(mariadb_url, ssl_ca=certifi.where(), ssl_verify_cert=True, ssl_verify_identity=True)

    assert error.hint == Kind.CERTIFICATE.value


@on_servers
def test_mariadb_gives_an_id_whole_that_the_character_set_of_the_url_lacks(mariadb_url):
    source = open_source("warehouse", Secret(f"{mariadb_url}?charset=latin1"))

    with source.stream_values(SEGMENT.model_copy(update={"query": "SELECT CHAR(0xF09F8E89 USING utf8mb4)"})) as values:
        assert list(values.rows) == ["🎉"]
