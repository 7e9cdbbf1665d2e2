"""A real dbt project on DuckDB: its profile is a source, its models are segments, and segments are its exposures."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.sandbox.server import Sandbox
from tests.support.project import DESTINATION, Project, indent

FILES = {
    "dbt_project.yml": "name: shop\nprofile: shop\nflags: {send_anonymous_usage_stats: false}\n",
    "profiles.yml": "shop:\n  target: dev\n  outputs:\n"
    "    dev: {type: duckdb, path: shop.duckdb, schema: dev}\n"
    "    prod: {type: duckdb, path: shop.duckdb, schema: \"{{ env_var('SHOP_SCHEMA', 'prod') }}\"}\n",
    "models/vip_customers.sql": "select id from (values ('ada'), ('bob')) people (id)"
    "{% if target.name == 'dev' %} where id = 'bob'{% endif %}\n",
    "models/thin.sql": "{{ config(materialized='ephemeral') }} select 'ada' as id\n",
}
SPEC = "version: 1\nsources: {warehouse: {dbt: {project: shop, target: prod}}}\n"


def dbt(project: Project, *words: str) -> str:
    """Run dbt in its project; it tells nobody."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dbt")), "--no-version-check", *words],
        cwd=project.folder / "shop",
        env={**os.environ, "DO_NOT_TRACK": "1", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project that dbt has built for both targets, `prod` last."""
    folder = tmp_path_factory.mktemp("dbt")
    with Sandbox() as sandbox:
        sandbox.add_people((name, f"{name}@example.com") for name in ("ada", "bob"))
        sandbox.create_segment("VIP {{ customers }}", id=56)
        project = Project(folder, sandbox)
        for name, text in FILES.items():
            (folder / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "shop" / name).write_text(text)
        segment = "vip:\n  segment: VIP {{ customers }}\n  model: vip_customers\n  owner: crm@example.com\n"
        destination = DESTINATION.format(url=sandbox.url, workspace="production", settle=0, timeout=30)
        project.spec.write_text(f"{SPEC}{destination}segments:\n{indent(segment, 2)}")
        dbt(project, "run", "--target", "dev")
        dbt(project, "run", "--target", "prod")
        yield project


def test_the_members_of_a_segment_are_the_rows_of_a_model(project: Project) -> None:
    done = project.run("apply", "spec.yaml")

    assert done.code == 0, done.err
    assert project.sandbox.members(56) == {"ada", "bob"}


def test_a_manifest_of_another_target_is_refused(project: Project) -> None:
    manifest = project.folder / "shop/target/manifest.json"
    before = manifest.read_bytes()
    try:
        dbt(project, "parse", "--target", "dev")
        done = project.run("plan", "spec.yaml")
    finally:
        manifest.write_bytes(before)

    assert done.code == 64
    assert "the manifest seems to be of another target" in done.err


def test_an_ephemeral_model_is_refused(project: Project) -> None:
    spec = project.folder / "thin.yaml"
    spec.write_text(project.spec.read_text().replace("model: vip_customers", "model: thin"))

    done = project.run("validate", spec)

    assert done.code == 64
    assert "is ephemeral in dbt" in done.err


def test_dbt_reads_the_exposures_and_knows_what_a_segment_depends_on(project: Project) -> None:
    written = project.run("segments", "spec.yaml", "--dbt-exposures")
    assert written.code == 0, written.err
    (project.folder / "shop/models/customerio.yml").write_text(written.out)

    listed = dbt(project, "--quiet", "ls", "--target", "prod", "--select", "+exposure:customerio_production__vip")

    assert listed.split() == ["exposure:shop.customerio_production__vip", "shop.vip_customers"]
    manifest = json.loads((project.folder / "shop/target/manifest.json").read_text())
    (exposure,) = manifest["exposures"].values()
    assert exposure["label"] == "VIP { { customers }}"
    assert exposure["depends_on"]["nodes"] == ["model.shop.vip_customers"]
