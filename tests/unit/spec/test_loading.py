from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.models.fields import Limit, Secret
from reconciler.models.ids import IdType
from reconciler.models.spec import DestinationSettings, GuardSettings, OnBad, Ownership, Region, Segment, Spec
from reconciler.spec import load

EVERYTHING = """\
version: 1

sources:
  warehouse:
    url: ${WAREHOUSE_URL}

destination:
  workspace: production
  workspace_id: 12345
  region: eu
  site_id: ${CUSTOMERIO_SITE_ID}
  api_key: ${CUSTOMERIO_API_KEY}
  app_api_key: ${CUSTOMERIO_APP_API_KEY:-}
  track_url: http://127.0.0.1:8025/
  app_url: https://proxy.example.com/app
  rate_limit: 12.5
  concurrency: 4
  timeout: 3
  settle: 0

state:
  url: sqlite:///.reconcile/other.db
  must_exist: true

segments:
  vip_customers:
    segment_id: 56
    description: Lifetime value over a thousand
    source: warehouse
    id_type: cio_id
    id_column: customer_id
    query: SELECT customer_id FROM customers WHERE ltv > :min_ltv
    params: {min_ltv: 1000}
    tags: [nightly, vip]
    ownership: exclusive
    confirm: true
    nulls: skip
    invalid: skip
    guards:
      max_removals: 12.5%
      max_additions: 500
      min_members: 3
      must_include: [7, "007", a]
      allow_empty: true
"""

ENVIRONMENT = {
    "WAREHOUSE_URL": "postgres://u:p@host/db",
    "CUSTOMERIO_SITE_ID": "site",
    "CUSTOMERIO_API_KEY": "key",
    "CUSTOMERIO_APP_API_KEY": "app",
}


def load_one(name: str, environment: dict[str, str] | None = None) -> Spec:
    (spec,) = load([name], environment or {})
    return spec


def load_segments(write, text: str, environment: dict[str, str] | None = None) -> dict[str, Segment]:
    spec = load_one(write(text), environment)
    return {segment.name: segment for segment in spec.segments}


def test_every_key_of_a_spec_arrives(write):
    spec = load_one(write(EVERYTHING, "specs/vip.yaml"), ENVIRONMENT)

    assert spec.path == Path("specs/vip.yaml")
    assert spec.sources["warehouse"].url.reveal() == "postgresql+psycopg://u:p@host/db"
    assert spec.destination == DestinationSettings(
        workspace="production",
        workspace_id=12345,
        region=Region.EU,
        site_id=Secret("site"),
        api_key=Secret("key"),
        app_api_key=Secret("app"),
        track_url="http://127.0.0.1:8025",
        app_url="https://proxy.example.com/app",
        rate_limit=12.5,
        concurrency=4,
        timeout=3,
        settle=0,
    )
    assert spec.state.must_exist is True
    assert spec.segments == (
        Segment(
            name="vip_customers",
            segment_id=56,
            query="SELECT customer_id FROM customers WHERE ltv > :min_ltv",
            source="warehouse",
            id_type=IdType.CIO_ID,
            description="Lifetime value over a thousand",
            params={"min_ltv": 1000},
            id_column="customer_id",
            tags=("nightly", "vip"),
            ownership=Ownership.EXCLUSIVE,
            confirm=True,
            nulls=OnBad.SKIP,
            invalid=OnBad.SKIP,
            guards=GuardSettings(
                max_removals=Limit(percent=Decimal("12.5")),
                max_additions=Limit(count=500),
                min_members=3,
                must_include=("7", "007", "a"),
                allow_empty=True,
            ),
            line=26,
            query_line=32,
        ),
    )


@pytest.mark.parametrize(
    ("written", "days"), [("90d", 90), ("2160h", 90), ("off", None), ("'off'", None), ("false", None)]
)
def test_how_long_changes_are_kept(write, head, written, days):
    more = f"state: {{audit: {written}, history: 2160h}}\nsegments: {{vip: {{segment_id: 1, query: SELECT 1}}}}"
    state = load_one(write(head + more)).state

    assert (state.audit and state.audit.seconds / 86_400) == days
    assert state.history.seconds == 90 * 86_400


def test_what_is_left_out_takes_the_default_of_the_contract(write, head):
    spec = load_one(write(head + "segments: {vip: {segment_id: 1, query: SELECT 1}}"))

    assert spec.destination == DestinationSettings(site_id=Secret("site"), api_key=Secret("key"))
    assert spec.state.must_exist is False
    assert (str(spec.state.audit), str(spec.state.history)) == ("90d", "400d")
    assert spec.state.url.reveal() == f"sqlite:///{Path.cwd()}/.reconcile/state.db"
    assert spec.segments == (
        Segment(name="vip", segment_id=1, query="SELECT 1", source="warehouse", line=4, query_line=4),
    )


@pytest.mark.parametrize("key", ["app_api_key", "track_url", "app_url"])
def test_an_optional_key_that_is_empty_counts_as_left_out(write, head, key):
    text = head.replace("api_key: key", f'api_key: key, {key}: "${{UNSET:-}}"')

    destination = load_one(write(text + "segments: {a: {segment_id: 1, query: x}}")).destination

    assert destination == DestinationSettings(site_id=Secret("site"), api_key=Secret("key"))


def test_a_segment_knows_its_line(write, head):
    segments = load_segments(
        write,
        head + "segments:\n  # a comment\n  a:\n    segment_id: 1\n    query: x\n  b: {segment_id: 2, query: x}\n",
    )

    assert (segments["a"].line, segments["b"].line) == (6, 9)


def test_a_segment_name_may_look_like_a_number_or_a_truth(write, head):
    segments = load_segments(
        write, head + "segments: {2024: {segment_id: 1, query: x}, yes: {segment_id: 2, query: x}}"
    )

    assert list(segments) == ["2024", "yes"]


class TestQueries:
    def test_a_query_file_is_found_from_the_spec_not_from_the_working_folder(self, write, head):
        write("SELECT 'ä'\n", "specs/sql/a.sql")

        spec = load_one(write(head + "segments: {a: {segment_id: 1, query_file: sql/a.sql}}", "specs/s.yaml"))

        assert spec.segments[0].query == "SELECT 'ä'\n"
        assert spec.segments[0].query_file == str(Path("specs/sql/a.sql").absolute())

    def test_an_absolute_query_file_is_taken_as_it_is(self, write, head, tmp_path):
        write("SELECT 1", "a.sql")

        spec = load_one(write(head + f"segments: {{a: {{segment_id: 1, query_file: {tmp_path}/a.sql}}}}", "s/s.yaml"))

        assert spec.segments[0].query_file == f"{tmp_path}/a.sql"

    def test_a_byte_order_mark_is_no_part_of_a_query(self, write, head):
        write("\ufeffSELECT 1", "a.sql")

        assert load_segments(write, head + "segments: {a: {segment_id: 1, query_file: a.sql}}")["a"].query == "SELECT 1"

    def test_a_query_is_never_searched_for_variables(self, write, head):
        query = "SELECT '${NOT_A_VARIABLE}' || '$${x}' || '${'"

        segments = load_segments(write, head + f'segments: {{a: {{segment_id: 1, query: "{query}"}}}}')

        assert segments["a"].query == query

    def test_a_segments_query_wins_over_a_query_file_of_the_defaults(self, write, head):
        write("SELECT 2", "shared.sql")

        segments = load_segments(
            write,
            head + "defaults: {query_file: shared.sql}\n"
            "segments: {a: {segment_id: 1, query: SELECT 1}, b: {segment_id: 2}}",
        )

        assert segments["a"].query == "SELECT 1"
        assert segments["a"].query_file is None
        assert segments["b"].query == "SELECT 2"


class TestDefaults:
    def test_every_inheritable_key_is_inherited(self, write, head):
        defaults = """\
defaults:
  description: shared
  source: warehouse
  id_type: email
  params: {a: 1}
  id_column: email
  tags: [nightly]
  ownership: exclusive
  confirm: true
  nulls: skip
  invalid: skip
  guards: {max_removals: 5%, max_additions: 6, min_members: 7, must_include: [Me@Example.com], allow_empty: true}
"""
        head = head.replace("api_key: key", "api_key: key, app_api_key: app")

        segments = load_segments(write, head + defaults + "segments: {a: {segment_id: 1, query: 'SELECT :a'}}")

        assert segments["a"] == Segment(
            name="a",
            segment_id=1,
            query="SELECT :a",
            source="warehouse",
            id_type=IdType.EMAIL,
            description="shared",
            params={"a": 1},
            id_column="email",
            tags=("nightly",),
            ownership=Ownership.EXCLUSIVE,
            confirm=True,
            nulls=OnBad.SKIP,
            invalid=OnBad.SKIP,
            guards=GuardSettings(
                max_removals=Limit(percent=Decimal(5)),
                max_additions=Limit(count=6),
                min_members=7,
                must_include=("me@example.com",),
                allow_empty=True,
            ),
            line=16,
            query_line=16,
        )

    def test_a_segments_own_key_wins_even_where_it_says_the_usual(self, write, head):
        segments = load_segments(
            write,
            head + "defaults: {nulls: skip, id_type: email, guards: {allow_empty: true}}\n"
            "segments: {a: {segment_id: 1, query: x, nulls: error, id_type: id, guards: {allow_empty: false}}}",
        )

        assert segments["a"].nulls is OnBad.ERROR
        assert segments["a"].id_type is IdType.ID
        assert segments["a"].guards.allow_empty is False

    def test_guards_and_params_are_merged_key_by_key(self, write, head):
        segments = load_segments(
            write,
            head + "defaults: {guards: {max_removals: 5, min_members: 1}, params: {a: 1, b: 1}}\n"
            "segments: {a: {segment_id: 1, query: x, guards: {min_members: 2}, params: {b: 2, c: 2}}}",
        )

        assert segments["a"].guards == GuardSettings(max_removals=Limit(count=5), min_members=2)
        assert segments["a"].params == {"a": 1, "b": 2, "c": 2}

    def test_tags_add_up_each_once(self, write, head):
        segments = load_segments(
            write,
            head + "defaults: {tags: [nightly, eu]}\nsegments: {a: {segment_id: 1, query: x, tags: [vip, nightly]}}",
        )

        assert segments["a"].tags == ("nightly", "eu", "vip")


class TestVariables:
    def test_a_value_that_is_one_reference_takes_the_type_of_its_key(self, write, head):
        text = head.replace(
            "api_key: key",
            'api_key: "${KEY}", workspace: "${WS}", workspace_id: "${PIN}", region: "${REGION}", rate_limit: "${RATE}"',
        )
        segment = """\
segments:
  a:
    segment_id: ${ID}
    query: x
    confirm: ${NO}
    tags: ["${WS}"]
    guards:
      max_removals: ${LIMIT}
      max_additions: ${COUNT}
      min_members: ${ID}
      must_include: ["${ID}"]
      allow_empty: ${YES}
"""
        environment = {
            "KEY": "12345", "WS": "2024", "PIN": "7", "REGION": "eu", "RATE": "0.5", "ID": "56",
            "NO": "false", "YES": "True", "LIMIT": "10%", "COUNT": "9",
        }  # fmt: skip

        spec = load_one(write(text + segment), environment)

        destination, guards = spec.destination, spec.segments[0].guards
        assert destination.api_key == Secret("12345")
        assert (destination.workspace, destination.workspace_id, destination.rate_limit) == ("2024", 7, 0.5)
        assert destination.region is Region.EU
        assert spec.segments[0].segment_id == 56
        assert spec.segments[0].confirm is False
        assert spec.segments[0].tags == ("2024",)
        assert guards == GuardSettings(
            max_removals=Limit(percent=Decimal(10)),
            max_additions=Limit(count=9),
            min_members=56,
            must_include=("56",),
            allow_empty=True,
        )
        assert {type(text) for text in (destination.workspace, *spec.segments[0].tags, *guards.must_include)} == {str}

    @pytest.mark.parametrize(
        ("value", "read"),
        [
            ("7", 7),
            ("-7", -7),
            ("7.5", 7.5),
            ("true", True),
            ("null", None),
            ("", None),
            ("NO", "NO"),
            ("007", "007"),
            ("2024-01-31", "2024-01-31"),
            ("12:30", "12:30"),
            ('"7"', "7"),
            ("'true'", "true"),
            ("[a", "[a"),
            (" 7 ", 7),
            (" a ", " a "),
        ],
    )
    def test_in_params_a_reference_is_read_as_a_yaml_scalar(self, write, head, value, read):
        segments = load_segments(
            write, head + "segments: {a: {segment_id: 1, query: x, params: {p: '${P}'}}}", {"P": value}
        )

        assert segments["a"].params == {"p": read}
        assert type(segments["a"].params["p"]) is type(read)

    def test_a_part_of_a_param_stays_a_text(self, write, head):
        segments = load_segments(
            write, head + "segments: {a: {segment_id: 1, query: x, params: {p: '${A}${B}'}}}", {"A": "1", "B": "2"}
        )

        assert segments["a"].params == {"p": "12"}

    def test_a_percentage_may_be_put_together(self, write, head):
        segments = load_segments(
            write, head + "segments: {a: {segment_id: 1, query: x, guards: {max_removals: '${P}%'}}}", {"P": "3"}
        )

        assert segments["a"].guards.max_removals == Limit(percent=Decimal(3))

    def test_the_segments_key_may_be_query_elsewhere(self, write, head):
        segments = load_segments(
            write, head + "segments: {query: {segment_id: 1, query: x, params: {query: '${Q}'}}}", {"Q": "1"}
        )

        assert segments["query"].params == {"query": 1}


class TestScalars:
    def test_params_keep_what_yaml_1_1_would_bend(self, write, head):
        params = (
            "{a: NO, b: 12:30, c: 2024-01-31, d: 010, e: 1_000, f: 1e3, g: ~, h: on, i: -5, j: '5', k: .5, l: !!str 5}"
        )

        segments = load_segments(write, head + f"segments: {{a: {{segment_id: 1, query: x, params: {params}}}}}")

        assert segments["a"].params == {
            "a": "NO", "b": "12:30", "c": "2024-01-31", "d": "010", "e": "1_000", "f": 1000.0, "g": None, "h": "on",
            "i": -5, "j": "5", "k": 0.5, "l": "5",
        }  # fmt: skip

    def test_aliases_are_followed(self, write, head):
        segments = load_segments(
            write,
            head + "segments:\n  a: {segment_id: 1, query: x, guards: &strict {max_removals: 0}}\n"
            "  b: {segment_id: 2, query: &q SELECT 1, guards: *strict}\n  c: {segment_id: 3, query: *q}\n",
        )

        assert segments["b"].guards == segments["a"].guards == GuardSettings(max_removals=Limit(count=0))
        assert segments["c"].query == "SELECT 1"

    @pytest.mark.parametrize(
        ("text", "limit"),
        [
            ("25%", Limit(percent=Decimal(25))),
            ("12.5%", Limit(percent=Decimal("12.5"))),
            ("0%", Limit(percent=Decimal(0))),
            ("150%", Limit(percent=Decimal(150))),
            ("'25 %'", Limit(percent=Decimal(25))),
            ("0", Limit(count=0)),
            ("1000000", Limit(count=1_000_000)),
        ],
    )
    def test_a_limit_is_a_percentage_or_a_count(self, write, head, text, limit):
        segments = load_segments(
            write, head + f"segments: {{a: {{segment_id: 1, query: x, guards: {{max_additions: {text}}}}}}}"
        )

        assert segments["a"].guards.max_additions == limit

    def test_windows_line_ends_and_a_byte_order_mark_are_read(self, tmp_path, head):
        path = tmp_path / "spec.yaml"
        text = head + "segments:\n  a:\n    segment_id: 1\n    query: x\n"
        path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())

        assert load_one(str(path)).segments[0].line == 5
