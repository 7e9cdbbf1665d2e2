"""What a command can do without: an unset variable hides its own value, and everything else is checked."""

import re

import pytest

from reconciler.errors import SpecError
from reconciler.spec import Needed, load

SPEC = """\
version: ${VERSION}
sources:
  warehouse: {url: "postgresql://etl:${PASSWORD}@${HOST}:${PORT}/shop"}
  other: {url: "${OTHER}"}
destination:
  workspace: ${WORKSPACE}
  workspace_id: ${NUMBER}
  region: ${REGION}
  site_id: ${SITE}
  api_key: ${KEY}
  app_api_key: ${APP}
  track_url: ${TRACK}
  rate_limit: ${RATE}
state: {url: "${STATE}", must_exist: "${MUST}"}
defaults:
  nulls: ${NULLS}
  tags: [one, "${TAG}"]
  guards: {max_removals: "${LIMIT}", must_include: [a, "${SENTINEL}"]}
segments:
  a:
    segment_id: ${ID_A}
    source: ${SOURCE}
    query: SELECT :x
    params: {x: "${PARAM}"}
    ownership: exclusive
  b: {segment: "${TITLE}", source: warehouse, query_file: "sql/${FILE}.sql", owner: "${OWNER}"}
  c: {segment: "${TITLE}", source: other, retired: "${RETIRED}"}
  d:
    segment_id: 4
    source: other
    id_type: ${TYPE}
    query: SELECT 1
    guards: {freshness: {query: SELECT 2, max_age: "${AGE}"}}
"""


def find_problems(name: str, needed: Needed, **environment: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load([name], environment, needed)
    return caught.value.problems


def test_an_unset_variable_is_accepted_anywhere_if_none_is_needed(write):
    [spec] = load([write(SPEC)], {}, Needed.NONE)

    assert [segment.name for segment in spec.segments] == ["a", "b", "c", "d"]
    assert set(spec.unset) == set(re.findall(r"\$\{(\w+)\}", SPEC))
    assert list(spec.sources) == ["warehouse"]  # whose dialect is known
    assert spec.segments[0].source == ""
    assert spec.segments[0].tags == ("one",)


def test_what_does_not_depend_on_an_unset_variable_is_checked(write):
    text = SPEC.replace("nulls:", "nuls:").replace("SELECT 1\n", "SELECT 1\n    id_colum: x\n").replace("[a,", "[' ',")

    problems = find_problems(write(text), Needed.NONE, TYPE="cio_id", SENTINEL="ok")

    assert [problem.partition(": ")[0] for problem in problems] == ["spec.yaml:16", "spec.yaml:18", "spec.yaml:33"]
    assert "not a known key" in problems[0]
    assert "no valid id" in problems[1]


def test_a_variable_in_the_place_of_a_mapping_is_still_an_error(write, head):
    [problem] = find_problems(
        write(head.replace("{site_id: site, api_key: key}", '"${ALL}"') + "segments: {a: {segment_id: 1, query: x}}"),
        Needed.NONE,
    )

    assert problem.startswith("spec.yaml:3: `destination`")


def test_a_file_that_cannot_be_named_may_give_what_is_missing_here(write):
    text = (
        'version: 1\nextends: "envs/${STAGE}.yaml"\nsegments:\n  a: {segment_id: 1, source: warehouse, confirm: true}\n'
    )
    text += "  b: {segment_id: 1, query: x, tag: [y]}\n"

    problems = find_problems(write(text), Needed.NONE)

    assert len(problems) == 2  # one number twice, and the key
    [spec] = load([write(text.replace("1, query: x, tag", "2, query: x, tags"))], {}, Needed.NONE)
    assert spec.unset == ("STAGE",)


@pytest.mark.parametrize("name", ["STATE", "MUST", "WORKSPACE", "ID_A", "TITLE"])
def test_by_what_the_state_is_found_is_needed_to_read_it(write, name):
    known = {"STATE": "sqlite:///s.db", "MUST": "true", "WORKSPACE": "main", "ID_A": "1", "TITLE": "VIP"}
    text = SPEC.replace('c: {segment: "${TITLE}"', "c: {segment_id: 3")
    [spec] = load([write(text)], known, Needed.STATE)
    assert spec.state.must_exist
    assert spec.destination.workspace == "main"
    assert (spec.segments[0].segment_id, spec.segments[1].segment) == (1, "VIP")
    del known[name]

    [problem] = find_problems(write(text), Needed.STATE, **known)

    assert f"needs {name}, which is not set in the environment" in problem


def test_the_name_of_an_extended_file_is_needed_to_read_the_state(write):
    [problem] = find_problems(write("version: 1\nextends: ${BASE}\nsegments: {a: {segment_id: 1}}\n"), Needed.STATE)

    assert problem == "spec.yaml:2: `extends` needs BASE, which is not set in the environment."


def test_with_every_variable_set_it_makes_no_difference_what_is_needed(write, head):
    name = write(head.replace("key}", '"${KEY}"}') + "segments: {a: {segment_id: 1, query: x}}")

    full = load([name], {"KEY": "k"})

    assert full == load([name], {"KEY": "k"}, Needed.STATE) == load([name], {"KEY": "k"}, Needed.NONE)
    assert full[0].unset == ()


def test_a_param_keeps_its_name_without_its_value(write, head):
    [spec] = load(
        [write(head + "segments: {a: {segment_id: 1, query: 'SELECT :x', params: {x: '${X}'}}}")], {}, Needed.NONE
    )

    assert spec.segments[0].params.keys() == {"x"}


@pytest.mark.parametrize("environment", [{}, {"APP": ""}])
@pytest.mark.parametrize("reference", ["${APP}", "${APP:-}"])
@pytest.mark.parametrize("key", ["ownership: exclusive", "confirm: true", "title: VIP"])
def test_what_needs_an_app_key_is_accepted_where_it_may_be_set_elsewhere(write, head, key, reference, environment):
    text = (
        head.replace("key}", f'key, app_api_key: "{reference}"}}')
        + f"segments: {{a: {{segment_id: 1, query: x, {key}}}}}"
    )

    for needed in (Needed.STATE, Needed.NONE):
        [spec] = load([write(text)], environment, needed)
        assert spec.unset == ("APP",)
    find_problems("spec.yaml", Needed.ALL, **environment)


def test_a_key_that_is_left_out_where_nothing_needs_it_is_not_missing(write, head):
    text = head.replace("key}", 'key, app_api_key: "${APP:-}"}') + "segments: {a: {segment_id: 1, query: x}}"

    assert load([write(text)], {}, Needed.STATE)[0].unset == ()


def test_a_secret_that_is_empty_in_a_fork_is_not_set(write, head):
    text = head.replace("key}", '"${KEY}"}') + "segments: {a: {segment_id: 1, query: x}}"

    assert load([write(text)], {"KEY": ""}, Needed.NONE)[0].unset == ("KEY",)
    [problem] = find_problems("spec.yaml", Needed.ALL, KEY="")
    assert "must not be empty" in problem
