"""`sources.NAME.options`: what a spec may say, what it means, and that no value of it is ever shown."""

# ruff: noqa: E501 (tables: one situation a line)

import pytest

from reconciler.errors import SpecError
from reconciler.models.options import Options
from reconciler.models.spec import Spec
from reconciler.spec import Needed, load, make_schema

HEAD = "version: 1\nsources:\n  warehouse:\n    url: snowflake://etl@account/db\n    options:\n"
REST = "destination: {site_id: s, api_key: k}\nsegments: {vip: {segment_id: 1, query: SELECT 1}}\n"


@pytest.fixture
def options(write):
    """Give the options that lines of a spec mean, with these variables."""

    def read(*lines: str, **variables: str) -> Options:
        text = HEAD + "".join(f"      {line}\n" for line in lines) + REST
        return load_one(write(text), variables).sources["warehouse"].options

    return read


def load_one(name: str, variables: dict[str, str]) -> Spec:
    (spec,) = load([name], variables)
    return spec


def problems_of(name: str, variables: dict[str, str]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load([name], variables)
    return caught.value.problems


def test_scalars_lists_and_mappings_are_given_as_they_are_written(options):
    found = options(
        "role: ANALYST",
        "login_timeout: 20",
        "ratio: 0.5",
        "secure: true",
        "session_parameters:",
        "  QUERY_TAG: plan",
        "hosts: [a, b]",
    )

    assert found.reveal() == {
        "role": "ANALYST", "login_timeout": 20, "ratio": 0.5, "secure": True,
        "session_parameters": {"QUERY_TAG": "plan"}, "hosts": ["a", "b"],
    }  # fmt: skip
    assert found.reveal() is not found.reveal()


@pytest.mark.parametrize(
    ("line", "value", "made"),
    [
        ("login_timeout: ${V}", "20", 20),
        ("secure: ${V}", "true", True),
        ("role: ${V}", "ANALYST", "ANALYST"),
        ("role: ${V}", "007", "007"),
        ("role: ${V}", "'1e5'", "1e5"),
        ("role: ${V}", "''", ""),
        ("role: x${V}", "5", "x5"),
        ("password: ${V}", "20", "20"),
        ("password: ${V}", "true", "true"),
        ("password: ${V}", "'20'", "'20'"),
        ("credentials_info: {private_key_id: '${V}'}", "1234567890e12", "1234567890e12"),
    ],
)
def test_a_value_that_is_one_variable_is_read_as_yaml_reads_it_but_a_secret_stays_a_text(options, line, value, made):
    found = options(line, V=value).reveal()

    (inner,) = found.values()
    assert (next(iter(inner.values())) if isinstance(inner, dict) else inner) == made


@pytest.mark.parametrize("value", ["", "  "])
def test_a_value_that_is_one_empty_variable_counts_as_left_out(options, value):
    assert options("private_key_file_pwd: ${V}", "role: ${V}", "user: a", V=value).reveal() == {"user": "a"}


def test_a_path_of_a_file_starts_at_the_file_that_it_stands_in(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    base = "sources:\n  warehouse:\n    url: snowflake://a\n    options: {private_key_file: keys/a.p8, ssl: {ca: ca.pem}}\n"
    write(base, "envs/base.yaml")
    own = "      token_file_path: ~/token\n      ssl_ca: ''\n      sslrootcert: system\n      http_path: sql/1\n"

    found = load_one(write("extends: envs/base.yaml\n" + HEAD + own + REST), {}).sources["warehouse"].options

    assert found.reveal() == {
        "private_key_file": str(tmp_path / "envs/keys/a.p8"),
        "ssl": {"ca": str(tmp_path / "envs/ca.pem")},
        "token_file_path": "/home/ada/token",
        "ssl_ca": "",
        "sslrootcert": "system",
        "http_path": "sql/1",
    }


def test_options_are_merged_key_by_key_and_a_list_replaces(write):
    base = (
        "sources: {warehouse: {options: {role: BASE, timeout: 5, hosts: [a, b], session_parameters: {A: 1, B: 2}}}}\n"
    )
    write(base, "base.yaml")
    own = "      role: OWN\n      hosts: [c]\n      session_parameters: {B: 3}\n"

    found = load_one(write("extends: base.yaml\n" + HEAD + own + REST), {}).sources["warehouse"].options

    assert found.reveal() == {"role": "OWN", "timeout": 5, "hosts": ["c"], "session_parameters": {"A": 1, "B": 3}}


@pytest.mark.parametrize(
    ("lines", "problems"),
    [
        (
            ["role: ~"],
            [
                "6: `sources.warehouse.options` has a key without a value; give it one, or leave the key out; a text with a comma stands in quotes."
            ],
        ),
        (
            ["a: 1", "hosts: [a, ~]"],
            [
                "7: `sources.warehouse.options` has a key without a value; give it one, or leave the key out; a text with a comma stands in quotes."
            ],
        ),
        (["role: 1e999"], ["6: `sources.warehouse.options.role` must be a finite number."]),
        (
            ["ssl:", "  password: 123"],
            ["7: `sources.warehouse.options.ssl.password` must be a text; put it in quotes."],
        ),
        (
            ["ssl:", "  'é': 1"],
            ["6: `sources.warehouse.options.ssl` has a key that no driver takes; give it a name in plain ASCII."],
        ),
        (["' ': 1"], ["5: `sources.warehouse.options` has a key that no driver takes; give it a name in plain ASCII."]),
        (["role: ${UNSET}"], ["6: `sources.warehouse.options.role` needs UNSET, which is not set in the environment."]),
        (
            ["ssl:", "  ca: ~nosuchuser/a.pem"],
            [
                "7: `sources.warehouse.options.ssl.ca` begins with ~, and there is no such home folder; write the whole path."
            ],
        ),
        (["autocommit: true"], ["6: `sources.warehouse.options.autocommit` can't be set: what is read depends on it."]),
    ],
)
def test_what_is_no_option_is_an_error_on_its_line(write, lines, problems):
    name = write(HEAD + "".join(f"      {line}\n" for line in lines) + REST)

    assert problems_of(name, {}) == [f"spec.yaml:{problem}" for problem in problems]


def test_a_parameter_of_the_url_that_no_option_may_be_is_an_error_on_its_line(write):
    name = write(HEAD.replace("account/db", "account/db?autocommit=true").replace("    options:\n", "") + REST)

    problem = "has the parameter autocommit, which can't be set: what is read depends on it"
    assert problems_of(name, {}) == [f"spec.yaml:4: `sources.warehouse.url` {problem}."]


@pytest.mark.parametrize("value", ["x", "[a]", "5", "'${V}'"])
def test_options_that_are_no_mapping(write, value):
    name = write(HEAD.replace("options:\n", f"options: {value}\n") + REST)

    shown = "(from V) " if "V" in value else ""
    assert problems_of(name, {"V": "x"}) == [
        f"spec.yaml:5: `sources.warehouse.options` {shown}must be a mapping of keys to values."
    ]


@pytest.mark.parametrize("url", ["sqlite:///a.db", "duckdb://"])
def test_a_file_has_no_options(write, url):
    name = write(HEAD.replace("snowflake://etl@account/db", url) + "      timeout: 5\n" + REST)

    assert problems_of(name, {}) == [
        "spec.yaml:6: `sources.warehouse.options.timeout` is not taken: SQLite and DuckDB have no options."
    ]


SPARK = HEAD.replace("snowflake://etl@account/db", "sc://spark.example.com:15002")
DATABRICKS = HEAD.replace("snowflake://etl@account/db", "databricks://h?http_path=/sql/1.0/warehouses/1")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "table_fromat: delta",
            "table_fromat` is not known; the options for tables of members are schema, table_format",
        ),
        ("Location: /lake", "Location` is not known; the options for tables of members are"),
        ("table_format: iceberg", "table_format` must be delta or parquet"),
        ("schema: a-b", "schema` must be the name of a schema"),
        ("schema: [a]", "schema` must be the name of a schema"),
        ("location: lake", "location` must be an absolute path or a URL"),
        ("""location: "/lake'x" """, "location` must be an absolute path or a URL"),
    ],
)
def test_an_option_for_tables_of_members_that_is_wrong(write, line, message):
    (problem,) = problems_of(write(SPARK + f"      {line}\n" + REST), {})

    assert problem.startswith(f"spec.yaml:6: `sources.warehouse.options.{message}")


@pytest.mark.parametrize(
    "lines",
    [
        ["schema: lake.reconcile", "table_format: Parquet", "location: s3://lake/reconcile"],
        ["schema: ${NOWHERE}", "token: ${NOWHERE}", "x-schema: a header", "use_ssl: true"],
    ],
)
def test_options_for_tables_of_members_that_are_right(write, lines):
    assert load_one(write(SPARK + "".join(f"      {line}\n" for line in lines) + REST), {"NOWHERE": ""}).sources


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("member_schema: reconcile", "member_schema` is not known; the option for tables of members is members_schema"),
        ("members_schema: a.b.c", "members_schema` must be the name of a schema (reconcile, main.reconcile)"),
        ("members_schema: 'a`b'", "members_schema` must be the name of a schema"),
    ],
)
def test_an_option_for_tables_of_members_in_databricks_that_is_wrong(write, line, message):
    (problem,) = problems_of(write(DATABRICKS + f"      {line}\n" + REST), {})

    assert problem.startswith(f"spec.yaml:6: `sources.warehouse.options.{message}")


@pytest.mark.parametrize("options", ["", "      members_schema: my-catalog.reconcile\n      schema: shop\n"])
def test_members_in_databricks_need_no_schema(write, options):
    given = DATABRICKS + "      access_token: t\n" + options + REST + "state: {members: source}\n"

    assert load_one(write(given), {}).sources


@pytest.mark.parametrize(
    ("url", "schema"),
    [
        ("snowflake://u@account/db", "a-b"),
        ("snowflake://u@account/db", "a.b.c"),
        ("snowflake://u@account/db", "1x"),
        ("bigquery://project/shop", "'a`b'"),
    ],
)
def test_a_schema_for_members_in_another_warehouse_that_is_wrong(write, url, schema):
    given = HEAD.replace("snowflake://etl@account/db", url) + f"      members_schema: {schema}\n" + REST
    (problem,) = problems_of(write(given), {})

    assert problem.startswith("spec.yaml:6: `sources.warehouse.options.members_schema` must be the name of a schema")


@pytest.mark.parametrize(
    ("url", "schema"),
    [("snowflake://u@account/db", "analytics.reconcile"), ("bigquery://project/shop", "my-project.reconcile")],
)
def test_members_in_another_warehouse(write, url, schema):
    given = HEAD.replace("snowflake://etl@account/db", url) + f"      members_schema: {schema}\n" + REST

    assert load_one(write(given + "state: {members: source}\n"), {}).sources


def test_members_in_bigquery_need_a_data_set(write):
    given = HEAD.replace("snowflake://etl@account/db", "bigquery://project") + "      location: EU\n" + REST
    name = write(given + "state: {members: source}\n")

    (problem,) = problems_of(name, {})
    assert "`state.members` is source, which needs `sources.warehouse.options.members_schema`" in problem


def test_members_in_spark_need_a_schema(write):
    name = write(SPARK + "      token: t\n" + REST + "state: {members: source}\n")

    (problem,) = problems_of(name, {})
    assert "`state.members` is source, which needs `sources.warehouse.options.schema`" in problem


def test_a_part_of_a_secret_that_a_comma_ended_is_not_shown(write):
    name = write(HEAD.replace("options:\n", "options: {password: hunter2,s3cret}\n") + REST)

    (problem,) = problems_of(name, {})
    assert "s3cret" not in problem
    assert "a text with a comma stands in quotes" in problem


def test_no_value_shows_in_a_spec_that_is_printed(options, write):
    found = options("password: ${V}", "role: ANALYST", V="hunter2")

    for text in (repr(found), str(found), repr(load(["spec.yaml"], {"V": "hunter2"}))):
        assert "hunter2" not in text
        assert "ANALYST" not in text


@pytest.mark.parametrize(
    ("line", "secrets"),
    [
        ("user: ${V}", ("hunter2",)),
        ("user: x-${V}", ("x-hunter2",)),
        ("deep: {list: [a, '${V}']}", ("hunter2",)),
        ("password: plain", ("plain",)),
        ("credentials_info: {type: service_account, n: 1}", ("service_account",)),
        ("http_headers: {Authorization: Bearer x}", ("Bearer x",)),
        ("role: ANALYST", ()),
        ("secure: ${FLAG}", ()),
    ],
)
def test_what_came_from_a_variable_and_what_has_the_name_of_a_secret_is_secret(options, line, secrets):
    assert options(line, V="hunter2", FLAG="true").secrets == secrets


def test_a_secret_path_stays_secret_when_it_is_made_absolute(options, tmp_path):
    assert options("sslrootcert: ${V}", V="ca.pem").secrets == ("ca.pem", str(tmp_path / "ca.pem"))


def test_options_differ_where_a_value_or_its_type_does(options):
    same = options("a: 1", "b: x"), options("b: x", "a: 1")

    assert same[0] == same[1]
    assert len({*same, options("a: 1.0", "b: x"), options("a: true", "b: x"), options("a: 2", "b: x")}) == 4


def test_without_the_values_of_variables_the_rest_is_checked(write):
    name = write(HEAD + "      password: ${PASSWORD}\n      role: 1e999\n" + REST)

    with pytest.raises(SpecError) as caught:
        load([name], {}, Needed.NONE)
    assert caught.value.problems == ["spec.yaml:7: `sources.warehouse.options.role` must be a finite number."]
    (spec,) = load([write(HEAD + "      password: ${PASSWORD}\n" + REST)], {}, Needed.NONE)
    assert spec.unset == ("PASSWORD",)


def test_an_editor_takes_any_mapping():
    rule = make_schema()["$defs"]["SourceSettings"]["properties"]["options"]

    assert rule["type"] == "object"
    assert rule["additionalProperties"] == {"type": ["string", "number", "boolean", "array", "object"]}
