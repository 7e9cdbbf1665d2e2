"""`sources.NAME.dbt`: the connection of a target of profiles.yml as a URL and options, or what is wrong and where."""

# ruff: noqa: E501 (tables: one situation a line)

import pytest

from reconciler.errors import SpecError
from reconciler.models.spec import SourceSettings
from reconciler.spec import Needed, load

SPEC = """\
version: 1
sources:
  warehouse:
    dbt: {project: shop%s}
destination: {site_id: s, api_key: k}
segments: {vip: {segment_id: 1, query: SELECT 1}}
"""

POSTGRES = ["type: postgres", "host: db.example", "user: etl", "dbname: shop", "schema: prod"]
SNOWFLAKE = ["type: snowflake", "account: org-acc", "user: etl", "database: shop", "schema: prod"]
BIGQUERY = ["type: bigquery", "project: acme", "dataset: prod"]
DATABRICKS = [
    "type: databricks",
    "host: dbc-1.cloud.databricks.com",
    "http_path: /sql/1.0/warehouses/abc",
    "schema: prod",
]
REDSHIFT = ["type: redshift", "host: cluster.example", "user: etl", "password: p@ss", "dbname: shop", "schema: prod"]


@pytest.fixture(autouse=True)
def no_home(tmp_path, monkeypatch):
    """No profile of the machine's own is met."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def profile(write):
    """Write a project with one target `prod` of these lines, and a spec that uses it."""

    def write_all(*lines: str, target: str = "") -> str:
        write("name: shop\nprofile: shop\n", "shop/dbt_project.yml")
        body = "".join(f"      {line}\n" for line in lines)
        write(f"shop:\n  target: prod\n  outputs:\n    prod:\n{body}", "shop/profiles.yml")
        return write(SPEC % (f", target: {target}" if target else ""))

    return write_all


def source_of(name: str, **variables: str) -> SourceSettings:
    (spec,) = load([name], variables)
    return spec.sources["warehouse"]


def problems_of(name: str, **variables: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load([name], variables)
    return caught.value.problems


@pytest.mark.parametrize(
    ("lines", "url", "options"),
    [
        ([*POSTGRES, "password: 's#cret/'"], "postgresql+psycopg://etl:s%23cret%2F@db.example:5432/shop", {}),
        ([*POSTGRES, "pass: x", "port: 6432", "sslmode: verify-full", "connect_timeout: 7", "threads: 4"], "postgresql+psycopg://etl:x@db.example:6432/shop", {"sslmode": "verify-full", "connect_timeout": 7}),
        ([*POSTGRES, "role: reader", "search_path: 'a, b'"], "postgresql+psycopg://etl@db.example:5432/shop", {"options": "-c search_path=a,\\ b -c role=reader"}),
        (["type: postgres", "host: /run/pg", "user: etl", "dbname: shop", "schema: prod"], "postgresql+psycopg://etl@:5432/shop?host=%2Frun%2Fpg", {}),
        (["type: postgres", "host: '::1'", "user: etl", "dbname: shop", "schema: prod"], "postgresql+psycopg://etl@[::1]:5432/shop", {}),
        (REDSHIFT, "redshift+redshift_connector://etl:p%40ss@cluster.example:5439/shop", {"ssl": True, "sslmode": "verify-ca"}),
        ([*REDSHIFT, "sslmode: disable", "connect_timeout: 5"], "redshift+redshift_connector://etl:p%40ss@cluster.example:5439/shop", {"ssl": False, "timeout": 5}),
        ([*SNOWFLAKE, "password: pw", "warehouse: big wh", "role: r"], "snowflake://etl:pw@org-acc/shop/prod?warehouse=big%20wh&role=r", {}),
        ([*SNOWFLAKE, "private_key_path: /keys/k.p8", "private_key_passphrase: pp", "query_tag: t"], "snowflake://etl@org-acc/shop/prod", {"authenticator": "SNOWFLAKE_JWT", "private_key_file": "/keys/k.p8", "private_key_file_pwd": "pp", "session_parameters": {"QUERY_TAG": "t"}}),
        ([*SNOWFLAKE, "authenticator: oauth", "token: tok"], "snowflake://etl@org-acc/shop/prod", {"authenticator": "OAUTH", "token": "tok"}),
        ([*SNOWFLAKE, "authenticator: programmatic_access_token", "token: tok"], "snowflake://etl@org-acc/shop/prod", {"authenticator": "PROGRAMMATIC_ACCESS_TOKEN", "token": "tok"}),
        ([*BIGQUERY, "method: oauth", "location: EU", "maximum_bytes_billed: 1000"], "bigquery://acme/prod?maximum_bytes_billed=1000", {"location": "EU"}),
        ([*BIGQUERY, "method: service-account", "keyfile: /keys/k.json"], "bigquery://acme/prod", {"credentials_path": "/keys/k.json"}),
        ([*BIGQUERY, "method: service-account-json", "keyfile_json: {type: service_account, private_key: pem}"], "bigquery://acme/prod", {"credentials_info": {"type": "service_account", "private_key": "pem"}}),
        ([*DATABRICKS, "token: tok", "catalog: main"], "databricks://dbc-1.cloud.databricks.com?http_path=%2Fsql%2F1.0%2Fwarehouses%2Fabc&catalog=main&schema=prod", {"access_token": "tok"}),
        ([*DATABRICKS, "auth_type: oauth", "client_id: c", "client_secret: s"], "databricks://dbc-1.cloud.databricks.com?http_path=%2Fsql%2F1.0%2Fwarehouses%2Fabc&schema=prod", {"oauth_client_id": "c", "oauth_client_secret": "s"}),
        (["type: duckdb", "path: /data/shop 1.duckdb"], "duckdb:////data/shop 1.duckdb", {}),
    ],
)  # fmt: skip
def test_a_target_becomes_a_url_and_options(profile, lines, url, options):
    found = source_of(profile(*lines))

    assert (found.url.reveal(), found.options.reveal()) == (url, options)


@pytest.mark.parametrize(
    ("lines", "line", "says"),
    [
        (["type: trino"], 5, "is `trino`, and these are read: postgres, snowflake, bigquery, databricks, redshift, duckdb"),
        (["host: x"], 4, "`type` of target `prod` is missing"),
        ([*POSTGRES, "iam_profile: x"], 10, "`iam_profile` of target `prod` is not known here"),
        ([*POSTGRES, "port: many"], 10, "`port` of target `prod` must be a whole number"),
        ([*POSTGRES, "password: [secret-1]"], 10, "`password` of target `prod` must be a text"),
        (["type: postgres", "host: 'db.example:x'", "user: e", "dbname: d", "schema: s"], 6, "is no name and no address of a host"),
        ([*REDSHIFT, "method: iam"], 11, "is a login that can't be used here"),
        ([*SNOWFLAKE, "authenticator: externalbrowser", "password: secret-1"], 10, "where nobody looks on"),
        ([*SNOWFLAKE, "private_key: secret-1"], 10, "write it to a file, and name that: private_key_path"),
        ([*BIGQUERY, "method: oauth-secrets"], 8, "use oauth (Application Default Credentials), service-account"),
        ([*BIGQUERY, "method: oauth", "impersonate_service_account: x"], 9, "is not known here"),
        ([*DATABRICKS, "auth_type: oauth"], 9, "opens a browser"),
        ([*DATABRICKS, "catalog: main"], 4, "`token` of target `prod` is missing or empty"),
        (["type: duckdb", "path: ':memory:'"], 6, "names no file"),
        (["type: duckdb", "path: md:shop"], 6, "must be a file on this machine"),
        (["type: duckdb", "path: a.duckdb", "attach: [{path: b.duckdb}]"], 7, "`attach` of target `prod` is not known here"),
        ([*POSTGRES, "password: \"{{ env_var('NONE') }}\""], 10, "`password` needs NONE, which is not set in the environment"),
        ([*POSTGRES, "password: \"{{ var('x') }}\""], 10, "holds Jinja of which only env_var"),
        ([*POSTGRES, "password: \"{% if 1 %}secret-1{% endif %}\""], 10, "holds Jinja of which only env_var"),
        ([*POSTGRES, "password: \"{{ env_var('A') ~ 'x' }}\""], 10, "holds Jinja of which only env_var"),
    ],
)  # fmt: skip
def test_what_cannot_be_passed_on_is_refused_where_it_stands(profile, lines, line, says):
    (problem,) = problems_of(profile(*lines), A="secret-1")

    assert problem.startswith(f"shop/profiles.yml:{line}:") or f"/shop/profiles.yml:{line}:" in problem
    assert says in problem
    assert "secret-1" not in problem


def test_env_var_is_read_in_every_form_and_its_value_is_a_secret(profile):
    name = profile(
        "type: snowflake", "account: org-acc", "user: \"u_{{ env_var('WHO') }}\"", "database: \"{{ env_var('DB', 'shop') }}\"",
        "schema: \"{{ env_var(\"S\", 'prod') | as_text }}\"".replace('"S"', "'S'"), "authenticator: oauth", "token: \"{{ env_var('TOKEN') }}\"",
    )  # fmt: skip

    found = source_of(name, WHO="etl", TOKEN="123", S="other")

    assert found.url.reveal() == "snowflake://u_etl@org-acc/shop/other"
    assert found.options.reveal()["token"] == "123"
    assert "123" in found.options.secrets


def test_a_value_from_a_variable_is_never_read_as_jinja_again(profile):
    name = profile(*POSTGRES, "password: \"{{ env_var('P') }}\"")

    assert "%7B%7B%20x%20%7D%7D" in source_of(name, P="{{ x }}").url.reveal()


def test_the_target_is_that_of_the_spec_else_of_the_variable_else_of_the_profile(write):
    write("name: shop\nprofile: shop\n", "shop/dbt_project.yml")
    outputs = "".join(f"    {name}: {{type: duckdb, path: /data/{name}.duckdb}}\n" for name in ("a", "b", "c"))
    write(f"shop:\n  target: c\n  outputs:\n{outputs}", "shop/profiles.yml")

    assert "/c.duckdb" in source_of(write(SPEC % "")).url.reveal()
    assert "/b.duckdb" in source_of(write(SPEC % ""), DBT_TARGET="b").url.reveal()
    assert "/a.duckdb" in source_of(write(SPEC % ", target: a"), DBT_TARGET="b").url.reveal()
    (problem,) = problems_of(write(SPEC % ", target: d"))
    assert "profile `shop` has no target `d`; it has: a, b, c" in problem


def test_the_profiles_are_those_of_the_variable_alone_else_of_project_working_folder_and_home(write, tmp_path):
    write("name: shop\nprofile: shop\n", "shop/dbt_project.yml")
    spec = write(SPEC % "")

    def put(folder: str) -> None:
        text = f"shop: {{target: x, outputs: {{x: {{type: duckdb, path: /data/{folder}.duckdb}}}}}}\n"
        write(text, f"{folder}/profiles.yml".removeprefix("here/"))

    (problem,) = problems_of(spec)
    assert problem.startswith("spec.yaml:4: `sources.warehouse.dbt.project` has no profiles.yml in ")
    put("home/.dbt")
    assert "/data/home/.dbt.duckdb" in source_of(spec).url.reveal()
    put("here")
    assert "/data/here.duckdb" in source_of(spec).url.reveal()
    put("shop")
    assert "/data/shop.duckdb" in source_of(spec).url.reveal()
    put("else")
    assert "/data/else.duckdb" in source_of(spec, DBT_PROFILES_DIR="else").url.reveal()
    (problem,) = problems_of(spec, DBT_PROFILES_DIR="nowhere")
    assert "has no profiles.yml in nowhere;" in problem


def test_a_relative_file_begins_at_the_project_and_the_options_of_the_spec_win(profile, write, tmp_path):
    assert source_of(profile("type: duckdb", "path: data/shop.duckdb")).url.reveal() == (
        f"duckdb:///{tmp_path}/shop/data/shop.duckdb"
    )
    profile(*POSTGRES, "sslmode: require", "sslrootcert: ca.pem")
    spec = write((SPEC % "").replace("destination", "    options: {sslmode: verify-full}\ndestination"))

    assert source_of(spec).options.reveal() == {"sslmode": "verify-full", "sslrootcert": f"{tmp_path}/shop/ca.pem"}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "names a folder without a dbt_project.yml"),
        ({"dbt_project.yml": "name: shop\n"}, "dbt_project.yml:1: `profile` is missing"),
        ({"dbt_project.yml": "profile: dev\n# pasted\nprofile: shop\n"}, "dbt_project.yml:3: The key `profile` stands twice"),
        ({"dbt_project.yml": "x: &x {profile: shop}\n<<: *x\nprofile: dev\n"}, "dbt_project.yml:2: Merge keys (<<) are not read"),
        ({"dbt_project.yml": "profile: shop\n", "profiles.yml": "- x\n"}, "profiles.yml:1: The file is no mapping"),
        ({"dbt_project.yml": "profile: shp\n", "profiles.yml": "shop: {}\n"}, "there is no profile `shp`; did you mean `shop`?"),
        ({"dbt_project.yml": "profile: shop\n", "profiles.yml": "x: &x {a: b}\nshop: {<<: *x}\n"}, "profiles.yml:2: Merge keys (<<) are not read"),
        ({"dbt_project.yml": "profile: shop\n", "profiles.yml": "shop: {outputs: {}}\n"}, "has no target `default`; it has: none"),
    ],
)  # fmt: skip
def test_a_project_that_cannot_be_read_is_named(write, files, says):
    for name, text in files.items():
        write(text, f"shop/{name}")

    (problem,) = problems_of(write(SPEC % ""))

    assert says in problem


def test_url_and_dbt_exclude_each_other_and_one_is_needed(profile, write):
    profile(*POSTGRES)
    both = write((SPEC % "").replace("    dbt", "    url: sqlite:///a.db\n    dbt"))

    assert any("`sources.warehouse.url` stands next to `dbt`" in each for each in problems_of(both))
    neither = write((SPEC % "").replace("dbt: {project: shop}", "options: {a: b}"))
    assert any("`sources.warehouse.url` is missing" in each for each in problems_of(neither))


def test_what_reads_the_state_alone_needs_no_profile(write):
    (spec,) = load([write(SPEC % "")], {}, Needed.STATE)

    assert spec.unset == ("dbt's profile of warehouse",)
    assert spec.segments[0].query == "SELECT 1"
