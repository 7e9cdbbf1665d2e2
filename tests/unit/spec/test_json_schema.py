"""The schema is for editors: it accepts what `load` accepts, and refuses what an editor can know to be wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.models.spec import DestinationSettings, GuardSettings
from reconciler.spec import make_schema

GOOD = """\
version: 1
sources: {warehouse: {url: "${URL}"}}
destination: {site_id: s, api_key: k, workspace_id: 5, region: "${REGION:-eu}", rate_limit: "${RATE}", timeout: 2.5}
state: {url: "sqlite:///x", must_exist: "${CI:-false}"}
defaults: {tags: [a], guards: {max_removals: 12.5%}}
segments:
  vip:
    segment_id: ${ID}
    query: SELECT 1
    params: {a: 1, b: x, c: true, d: ~}
    guards: {max_removals: 5, max_additions: "${LIMIT}", must_include: [7, a]}
"""

TYPES = {
    "object": dict, "array": list, "string": str, "integer": int, "number": int | float, "boolean": bool,
    "null": type(None),
}  # fmt: skip


def accepts(rule: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """Judge a value by the words of JSON Schema that ours uses."""
    if "$ref" in rule and not accepts(root["$defs"][rule["$ref"].rpartition("/")[2]], value, root):
        return False
    if "type" in rule and not is_of_type(value, rule["type"]):
        return False
    checks = [
        "anyOf" not in rule or any(accepts(choice, value, root) for choice in rule["anyOf"]),
        "oneOf" not in rule or sum(accepts(choice, value, root) for choice in rule["oneOf"]) == 1,
        "not" not in rule or not accepts(rule["not"], value, root),
        "enum" not in rule or value in rule["enum"],
        "const" not in rule or value == rule["const"],
        "pattern" not in rule or (isinstance(value, str) and bool(re.search(rule["pattern"], value))),
        "minimum" not in rule or value >= rule["minimum"],
        "maximum" not in rule or value <= rule["maximum"],
        "exclusiveMinimum" not in rule or value > rule["exclusiveMinimum"],
        "minLength" not in rule or len(value) >= rule["minLength"],
        "minProperties" not in rule or len(value) >= rule["minProperties"],
        set(rule.get("required", [])) <= set(value if isinstance(value, dict) else []),
        all(accepts(rule["items"], entry, root) for entry in value) if "items" in rule else True,
    ]
    return all(checks) and accepts_keys(rule, value, root)


def accepts_keys(rule: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    if not isinstance(value, dict):
        return True
    known, other = rule.get("properties", {}), rule.get("additionalProperties", True)
    rules = {key: known.get(key, other) for key in value}
    return all(rule is True or (rule is not False and accepts(rule, value[key], root)) for key, rule in rules.items())


def is_of_type(value: Any, types: str | list[str]) -> bool:
    names = [types] if isinstance(types, str) else types
    return any(isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool)) for name in names)


def spec(change: str = "", into: str = "") -> Any:
    return yaml.safe_load(GOOD.replace(change, into))


def test_it_accepts_a_good_spec():
    made = make_schema()

    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert accepts(made, spec(), made)


@pytest.mark.parametrize(
    ("change", "into"),
    [
        ("version: 1", "version: 2"),
        ("site_id: s,", ""),
        ("site_id: s", "site_id: 5"),
        ("workspace_id: 5", "workspace_id: 0"),
        ("workspace_id: 5", "workspace_id: x"),
        ("region:", "regoin:"),
        ("${REGION:-eu}", "usa"),
        ("2.5", "0"),
        ("12.5%", "0.125"),
        ("${LIMIT}", "5"),
        ("segment_id: ${ID}", "segment_id: '5'"),
        ("segment_id: ${ID}", "segment_id: 0"),
        ("segment_id: ${ID}", "nulls: skip"),
        ("segment_id: ${ID}", "segment_id: 5\n    segment: VIP"),
        ("sources: {warehouse", "source: {warehouse"),
        ("destination: {", "state: {url: 'sqlite:///y'} # {"),
        ("query: SELECT 1", "query_file: a.sql\n    query: x"),
        ("c: true", "c: [1]"),
        ("{a: 1,", "[1] #"),
        ("tags: [a]", "segment_id: 1"),
        ("must_include: [7, a]", "must_include: [7.5]"),
        ("${CI:-false}", "maybe"),
    ],
)
def test_it_refuses_what_an_editor_can_know_to_be_wrong(change, into):
    made = make_schema()

    assert not accepts(made, spec(change, into), made)


@pytest.mark.parametrize("path", sorted(Path("examples/configs").rglob("*.yaml")), ids=str)
def test_it_accepts_each_example_and_the_files_that_it_extends(path):
    made, document = make_schema(), yaml.safe_load(path.read_text(encoding="utf-8"))

    assert accepts(made, json.loads(json.dumps(document, default=str)), made)  # an editor reads a date as a string


@pytest.mark.parametrize("text", ["extends: a.yaml", "destination: {workspace: a}\nsources: {b: {}}", "version: 1"])
def test_a_file_that_others_extend_may_leave_out_everything(text):
    made = make_schema()

    assert accepts(made, yaml.safe_load(text), made)
    assert not accepts(made, yaml.safe_load(f"{text}\nqueries: {{}}"), made)


def test_it_is_plain_json_with_the_defaults_of_the_contract():
    made = json.loads(json.dumps(make_schema()))

    destination, guards = (made["$defs"][name]["properties"] for name in ("DestinationSettings", "GuardSettings"))
    assert destination["workspace"]["default"] == DestinationSettings.model_fields["workspace"].default
    assert destination["concurrency"]["default"] == DestinationSettings.model_fields["concurrency"].default
    assert guards["max_removals"]["default"] == str(GuardSettings().max_removals) == "25%"
    assert made["$defs"]["StateSettings"]["properties"]["url"]["default"] == "sqlite:///.reconcile/state.db"


def test_every_key_is_described():
    made = make_schema()

    for model in (made, *made["$defs"].values()):
        for key, rule in model["properties"].items():
            assert "description" in rule or "$ref" in rule, key
