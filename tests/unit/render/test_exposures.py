"""`segments --dbt-exposures`: names that dbt takes and that stay, and texts that stay texts."""

import re

import pytest
import yaml

from reconciler.render.yaml_entries import choose_name, write_exposures
from reconciler.spec import Needed, load

SPEC = """\
version: 1
sources:
  warehouse: {dbt: {project: shop}}
  other: {url: "sqlite:///other.db"}
defaults: {source: warehouse}
destination: {site_id: s, api_key: k, app_api_key: a}
segments:
  vip: {segment: "VIP {{ now }} é", model: crm.vip.v2, owner: crm@example.com, description: "a {% b\\n{# c"}
  by_query: {segment_id: 2, query: SELECT 1}
  gone: {segment_id: 3, retired: true}
  elsewhere: {segment_id: 4, query: SELECT 1, source: other}
"""


def test_each_segment_of_a_dbt_project_is_an_exposure(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)

    written = write_exposures(load([str(tmp_path / "spec.yaml")], {}, Needed.STATE))

    first, second = yaml.safe_load(written)["exposures"]
    assert first == {
        "name": "customerio_vip",
        "label": "VIP { { now }} é",
        "type": "application",
        "description": "a { % b\n{ # c",
        "depends_on": ["ref('crm', 'vip', v=2)"],
        "owner": {"email": "crm@example.com"},
    }
    assert (second["name"], second["owner"]) == ("customerio_by_query", {"name": "not named in spec.yaml"})
    assert "depends_on" not in second
    assert "{{" not in written


@pytest.mark.parametrize(
    ("workspace", "name", "written"),
    [
        ("default", "vip_2", "customerio_vip_2"),
        ("production", "vip", "customerio_production__vip"),
        ("default", "vip customers!", "customerio_vip_customers_[0-9a-f]{8}"),
        ("default", "a__b", "customerio_a_b_[0-9a-f]{8}"),
        ("default", "früh", "customerio_fr_h_[0-9a-f]{8}"),
        ("default", "日本", "customerio__[0-9a-f]{8}"),
        ("default", "x" * 200, "customerio_x{100}_[0-9a-f]{8}"),
    ],
)
def test_a_name_is_made_of_what_stays(workspace, name, written):
    assert re.fullmatch(written, choose_name(workspace, name))


def test_names_that_are_written_alike_are_kept_apart():
    names = [("default", "a b"), ("default", "a-b"), ("default", "a_b"), ("a", "b"), ("default", "a__b")]

    assert len({choose_name(*each) for each in names}) == len(names)


def test_without_a_segment_it_is_still_a_file_that_dbt_reads():
    assert yaml.safe_load(write_exposures(())) == {"version": 2, "exposures": []}
