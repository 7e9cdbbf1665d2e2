"""Whatever a file holds, loading it gives a spec or says what is wrong."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import SpecError
from reconciler.models.spec import (
    Defaults,
    DestinationSettings,
    FreshnessSettings,
    GuardSettings,
    SegmentKeys,
    SourceSettings,
    Spec,
    SpecFile,
    StateSettings,
)
from reconciler.spec import load

ENVIRONMENT = {"A": "1", "EMPTY": "", "TEXT": "x y"}

MODELS = (
    SpecFile, SourceSettings, DestinationSettings, StateSettings, Defaults, SegmentKeys, GuardSettings,
    FreshnessSettings,
)  # fmt: skip
KEYS = sorted({key for model in MODELS for key in model.model_fields} | {"warehouse", "vip", "<<"})

texts = st.text(max_size=8) | st.sampled_from(
    [
        "${A}",
        "${EMPTY}",
        "${UNSET}",
        "${",
        "25%",
        "sqlite:///a",
        "email",
        "exclusive",
        "x",
        "*a",
        "!t",
        "&a",
        "\ud800",
        "\0",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.dates() | st.binary(max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | texts, inner, max_size=4),
)


def load_bytes(content: bytes) -> tuple[Spec, ...] | list[str]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_bytes(content)
        try:
            return load([str(path)], ENVIRONMENT)
        except SpecError as error:
            problems = error.problems
        assert f"{path}:" in " ".join(problems)  # a file that it extends may have some, too
        assert all(re.match(r".+:\d+: ", problem) for problem in problems)
        assert all(problem.isprintable() for problem in problems)
        return problems


@given(st.binary(max_size=200))
def test_any_bytes_are_a_spec_or_a_problem(content):
    assert load_bytes(content)


@given(st.text(alphabet="ab:-[]{},&*!|>'\"%@`#?<$~1. \n\t", max_size=60))
def test_any_punctuation_is_a_spec_or_a_problem(text):
    assert load_bytes(text.encode())


@given(st.dictionaries(st.sampled_from(list(SpecFile.model_fields)), values))
def test_any_tree_of_values_is_a_spec_or_a_problem(tree):
    assert load_bytes(_dump(tree))


GOOD: dict[str, Any] = {
    "version": 1,
    "sources": {
        "warehouse": {"url": "sqlite:///a.db"},
        "lake": {"url": "snowflake://a", "options": {"private_key_file": "~/a", "ssl": {"ca": "b"}, "hosts": ["c"]}},
    },
    "destination": {"site_id": "s", "api_key": "k", "app_api_key": "a", "workspace": "w", "rate_limit": 5},
    "state": {"url": "sqlite:///s.db"},
    "defaults": {"source": "warehouse", "guards": {"max_removals": "25%"}},
    "segments": {
        "vip": {"segment_id": 1, "query": "SELECT 1", "tags": ["x"], "params": {"a": 1}, "guards": {"min_members": 1}},
        "new": {"segment_id": 2, "query": "SELECT 2", "id_type": "email"},
        "made": {"segment": "Made", "create": True, "query": "SELECT 3", "paused": True},
        "old": {"segment_id": 4, "retired": True},
        "fresh": {
            "segment_id": 5,
            "query": "SELECT 4",
            "guards": {"freshness": {"query": "SELECT 1", "max_age": "2h"}},
        },
    },
}


@given(st.data())
def test_a_good_spec_with_one_value_replaced_is_a_spec_or_a_problem(data):
    tree: Any = _copy(GOOD)
    place: Any = tree
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(values)

    assert load_bytes(_dump(tree))


@given(
    name=st.text(min_size=1, max_size=20),
    workspace=st.text(min_size=1, max_size=20),
    description=st.text(max_size=30),
    sentinel=st.text(max_size=20) | st.integers(),
    parameter=st.text(max_size=20) | st.integers() | st.booleans() | st.none(),
)
def test_what_is_accepted_arrives_as_it_was_written(name, workspace, description, sentinel, parameter):
    tree = _copy(GOOD)
    tree["destination"]["workspace"] = workspace
    tree["segments"] = {
        name: {
            "segment_id": 1, "query": "x", "description": description, "params": {"p": parameter},
            "guards": {"must_include": [sentinel]},
        }
    }  # fmt: skip

    loaded = load_bytes(yaml.dump(tree, Dumper=_Plain, allow_unicode=True).encode("utf-8", "surrogatepass"))

    if isinstance(loaded, tuple):
        segment = loaded[0].segments[0]
        assert (segment.name, loaded[0].destination.workspace) == (name, workspace)
        assert segment.description == description.replace("$${", "${")
        assert segment.guards.must_include == (str(sentinel).replace("$${", "${"),)
        assert segment.params["p"] == (parameter.replace("$${", "${") if isinstance(parameter, str) else parameter)


class _Plain(yaml.SafeDumper):
    """Quotes every text, so that YAML 1.1 and 1.2 read it alike."""


_Plain.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def _copy(tree: Any) -> Any:
    return {key: _copy(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


def _dump(tree: Any) -> bytes:
    return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
