"""`model`: a segment's query is a relation of dbt's manifest, or it is told why it can't be."""

# ruff: noqa: E501 (tables: one situation a line)

import json

import pytest

from reconciler.errors import SpecError
from reconciler.models.spec import Segment
from reconciler.spec import Needed, load

SPEC = """\
version: 1
sources:
  warehouse:
    dbt: {project: shop}
destination: {site_id: s, api_key: k}
segments:
  vip:
    segment_id: 1
    model: %s
"""


@pytest.fixture(autouse=True)
def project(write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write("name: shop\nprofile: shop\n", "shop/dbt_project.yml")
    target = "{type: postgres, host: h, user: u, dbname: Shop, schema: prod}"
    write(f"shop: {{target: prod, outputs: {{prod: {target}}}}}\n", "shop/profiles.yml")


@pytest.fixture
def manifest(write):
    """Write a manifest with these models."""

    def write_manifest(*nodes: dict[str, object], disabled: object = None, **metadata: object) -> None:
        head = {
            "dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json",
            "project_name": "shop",
            "adapter_type": "postgres",
            **metadata,
        }
        named = {f"{at}": node for at, node in enumerate(nodes)}
        write(json.dumps({"metadata": head, "nodes": named, "disabled": disabled or {}}), "shop/target/manifest.json")

    return write_manifest


def model(name: str, package: str = "shop", kind: str = "model", **more: object) -> dict[str, object]:
    config = {"materialized": "table", **more.pop("config", {})}  # type: ignore[dict-item]
    place = {"database": "shop", "schema": "prod", "relation_name": f'"shop"."prod"."{package}_{name}"'}
    return {"resource_type": kind, "name": name, "package_name": package, "config": config, **place, **more}


def segment_of(name: str, needed: Needed = Needed.ALL) -> Segment:
    (spec,) = load([name], {}, needed)
    return spec.segments[0]


def problems_of(name: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load([name], {})
    return caught.value.problems


def test_a_model_is_the_query_of_all_of_its_relation(write, manifest):
    manifest(model("vip"), model("other"))

    segment = segment_of(write(SPEC % "vip"))

    assert segment.query == 'SELECT * FROM "shop"."prod"."shop_vip"'
    assert (segment.model, segment.query_file) == ("vip", None)


@pytest.mark.parametrize(
    ("name", "relation"),
    [
        ("vip", "shop_vip"),  # that of the project itself
        ("crm.vip", "crm_vip"),
        ("only_there", "crm_only_there"),
        ("versioned", "shop_versioned_2"),
        ("versioned.v1", "shop_versioned_1"),
        ("shop.versioned.v2", "shop_versioned_2"),
        ("seeded", "shop_seeded"),
    ],
)
def test_a_model_is_found_as_ref_finds_it(write, manifest, name, relation):
    manifest(
        model("vip"), model("vip", "crm"), model("only_there", "crm"), model("seeded", kind="seed"),
        *(model("versioned", version=version, latest_version=2, relation_name=f'"shop"."prod"."shop_versioned_{version}"') for version in (1, 2)),
        model("vip", kind="test"),
    )  # fmt: skip

    assert segment_of(write(SPEC % name)).query.endswith(f'."{relation}"')


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("vipp", "names no model of the dbt project; did you mean `vip`?"),
        ("nothing_like_it", "names no model of the dbt project; if it is new, write it anew with `dbt build`"),
        ("twice", "is the name of several models; write one of a.twice, b.twice"),
        ("off", "is disabled in dbt"),
        ("thin", "is ephemeral in dbt, which makes no table of it"),
        ("parsed", "has no relation in "),
    ],
)
def test_a_model_that_is_no_table_is_refused_where_it_is_named(write, manifest, name, says):
    manifest(
        model("vip"), model("twice", "a"), model("twice", "b"), model("parsed", relation_name=None),
        model("thin", config={"materialized": "ephemeral"}), disabled={"model.shop.off": [model("off")]},
    )  # fmt: skip

    (problem,) = problems_of(write(SPEC % name))

    assert problem.startswith("spec.yaml:9: `segments.vip.model` ")
    assert says in problem


@pytest.mark.parametrize(
    ("more", "is_taken"),
    [
        ({"schema": "PROD"}, True),
        ({"schema": "dev"}, False),
        ({"schema": "prod_crm", "config": {"schema": "crm"}}, True),
        ({"schema": "crm", "config": {"schema": "crm"}}, True),
        ({"schema": "dev_crm", "config": {"schema": "crm"}}, False),
        ({"database": "shop_dev"}, False),
        ({"database": "other", "config": {"database": "other"}}, True),
        ({"schema": "snaps", "kind": "snapshot", "config": {"target_schema": "snaps"}}, True),
    ],
)
def test_a_relation_of_another_target_is_refused(write, manifest, more, is_taken):
    manifest(model("vip", **more))
    spec = write(SPEC % "vip")

    if is_taken:
        assert segment_of(spec).query
    else:
        (problem,) = problems_of(spec)
        assert "the manifest seems to be of another target" in problem


def test_a_manifest_that_cannot_be_used_is_told_once_at_the_source(write, manifest):
    spec = write(SPEC % "vip" + "  lapsed: {segment_id: 2, model: lapsed}\n")

    def says(*words: str) -> bool:
        (problem,) = problems_of(spec)
        return problem.startswith("spec.yaml:4: `sources.warehouse.dbt.project`") and all(
            each in problem for each in words
        )

    assert says("there is no ", "/shop/target/manifest.json; run `dbt parse --target prod` (or `dbt build`)")
    write("{}", "shop/target/manifest.json")
    assert says("manifest.json is none")
    write("[" * 100_000, "shop/target/manifest.json")
    assert says("manifest.json is none")
    manifest(dbt_schema_version="https://schemas.getdbt.com/dbt/manifest/v3.json")
    assert says("has version 3")


def test_a_manifest_of_another_database_is_refused(write, manifest):
    manifest(model("vip"), adapter_type="duckdb")

    (problem,) = problems_of(write(SPEC % "vip"))

    assert "is in a manifest for duckdb" in problem


def test_a_manifest_is_where_dbt_writes_it(write, manifest, tmp_path):
    manifest(model("vip"))
    (tmp_path / "shop/target").rename(tmp_path / "shop/out")
    write("name: shop\nprofile: shop\ntarget-path: out\n", "shop/dbt_project.yml")

    assert segment_of(write(SPEC % "vip")).query


def test_exactly_one_of_query_file_and_model_is_a_segments_own_and_it_outweighs_defaults(write, manifest):
    manifest(model("vip"))
    write("SELECT 2", "q.sql")

    (problem,) = problems_of(write(SPEC % "vip\n    query: SELECT 1"))
    assert "`segments.vip.model` stands next to `query`" in problem
    (problem,) = problems_of(write(SPEC % "vip\n    query_file: q.sql"))
    assert "`segments.vip.model` stands next to `query_file`" in problem

    inherited = SPEC.replace("segments:", "defaults: {model: vip}\nsegments:").replace("    model: %s\n", "    %s\n")
    assert "shop_vip" in segment_of(write(inherited % "owner: me")).query
    own = segment_of(write(inherited % "query_file: q.sql"))
    assert (own.query, own.model) == ("SELECT 2", None)
    own = segment_of(write((SPEC % "vip").replace("segments:", "defaults: {query_file: q.sql}\nsegments:")))
    assert ("shop_vip" in own.query, own.query_file) == (True, None)
    both = inherited.replace("{model: vip}", "{model: vip, query_file: q.sql}")
    assert any(
        "`defaults.model` stands next to `query_file`" in each for each in problems_of(write(both % "owner: me"))
    )


def test_a_retired_segment_has_no_model_of_its_own_and_ignores_an_inherited_one(write, manifest):
    (problem,) = problems_of(write(SPEC % "vip\n    retired: true"))
    assert "`segments.vip.model` stands in a segment that is `retired`" in problem

    inherited = SPEC.replace("segments:", "defaults: {model: vip}\nsegments:").replace(
        "    model: %s\n", "    retired: true\n"
    )
    assert segment_of(write(inherited)).model is None


def test_a_model_needs_a_source_of_dbt(write):
    (problem,) = problems_of(write((SPEC % "vip").replace("dbt: {project: shop}", "url: sqlite:///a.db")))

    assert "names a model of dbt, and source `warehouse` has no `dbt`" in problem


def test_what_reads_the_state_alone_needs_no_manifest(write):
    segment = segment_of(write(SPEC % "vip"), Needed.STATE)

    assert (segment.model, segment.query) == ("vip", "")
