"""A spec that extends a file: what it inherits, where paths begin, and in which file an error stands."""

# ruff: noqa: E501 (tables: one situation a line)

from pathlib import Path

import pytest

from reconciler.errors import SpecError, UsageError
from reconciler.models.spec import Spec
from reconciler.spec import load

BASE = """\
version: 1
sources:
  warehouse: {url: "sqlite:///warehouse.db"}
destination:
  workspace: staging
  site_id: ${SITE}
  api_key: key
defaults:
  tags: [shared]
  query_file: base.sql
  guards: {max_removals: 5%, freshness: {query: SELECT 1, max_age: 26h}}
"""

SPEC = "version: 1\nextends: envs/base.yaml\nsegments:\n  vip: {segment_id: 1, query: SELECT 1}\n"

SITE = {"SITE": "site"}


def load_one(name: str, environment: dict[str, str] = SITE) -> Spec:
    (spec,) = load([name], environment)
    return spec


def problems_of(name: str, environment: dict[str, str] = SITE) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load([name], environment)
    return caught.value.problems


def test_a_spec_has_what_it_extends_and_its_own_values_win(write, tmp_path):
    write(BASE, "envs/base.yaml")
    own = "destination: {workspace: mine}\ndefaults: {guards: {max_additions: 7}}\n"

    spec = load_one(write(SPEC + own))

    assert (spec.destination.workspace, spec.destination.site_id.reveal()) == ("mine", "site")
    guards = spec.segments[0].guards
    assert (str(guards.max_removals), str(guards.max_additions)) == ("5%", "7")
    assert guards.freshness is not None
    assert guards.freshness.max_age.seconds == 26 * 3600
    assert spec.segments[0].tags == ("shared",)
    assert spec.extended == (tmp_path / "envs" / "base.yaml",)


def test_freshness_is_taken_as_a_whole_from_the_nearest_place(write):
    base = BASE.replace("query: SELECT 1, max", "query: 'SELECT :x', params: {x: 2026-01-01}, max")
    write(base, "envs/base.yaml")
    own = "{query: SELECT 2, max_age: 1h}"

    for text in (f"defaults: {{guards: {{freshness: {own}}}}}\n", ""):
        keys = "" if text else f", guards: {{freshness: {own}}}"
        (segment,) = load_one(write(SPEC.replace("query: SELECT 1}", f"query: SELECT 1{keys}}}") + text)).segments
        freshness = segment.guards.freshness

        assert freshness is not None
        assert (freshness.query, freshness.params, str(freshness.max_age)) == ("SELECT 2", {}, "1h")
        assert str(segment.guards.max_removals) == "5%"
        assert segment.warnings == ()
    write(SPEC.replace("SELECT 1}", "SELECT 1, guards: {freshness: {max_age: 1h}}}"))
    assert problems_of("spec.yaml") == ["spec.yaml:4: `segments.vip.guards.freshness.query` is missing."]


def test_a_list_replaces_the_one_that_is_extended(write):
    write(BASE, "envs/base.yaml")

    spec = load_one(write(SPEC + "defaults: {tags: [own]}\n"))

    assert spec.segments[0].tags == ("own",)


def test_paths_start_at_the_file_that_they_stand_in_and_the_default_state_at_the_spec(write, tmp_path):
    write(BASE, "envs/base.yaml")
    write("SELECT 2", "envs/base.sql")
    text = SPEC + "  other: {segment_id: 2}\nsources:\n  mine: {url: 'sqlite:///mine.db'}\ndefaults: {source: mine}\n"

    spec = load_one(write(text))

    assert spec.sources["warehouse"].url.reveal() == f"sqlite:///{tmp_path}/envs/warehouse.db"
    assert spec.sources["mine"].url.reveal() == f"sqlite:///{tmp_path}/mine.db"
    assert spec.state.url.reveal() == f"sqlite:///{tmp_path}/.reconcile/state.db"
    assert spec.segments[1].query == "SELECT 2"
    assert spec.segments[1].query_file == str(tmp_path / "envs" / "base.sql")


def test_a_file_that_is_extended_may_extend_another_by_a_path_with_variables(write, tmp_path):
    write(BASE.replace("workspace: staging", "workspace: deepest"), "envs/deep/base.yaml")
    write("extends: deep/base.yaml\ndestination: {region: eu}\n", "envs/production.yaml")
    text = SPEC.replace("envs/base.yaml", "envs/${STAGE:-staging}.yaml")

    spec = load_one(write(text), SITE | {"STAGE": "production"})

    assert (spec.destination.workspace, spec.destination.region) == ("deepest", "eu")
    folder = tmp_path / "envs"
    assert spec.extended == (folder / "production.yaml", folder / "deep" / "base.yaml")


def test_a_variable_of_a_value_that_is_replaced_is_not_needed(write):
    write(BASE, "envs/base.yaml")

    spec = load_one(write(SPEC + "destination: {site_id: own}\n"), {})

    assert spec.destination.site_id.reveal() == "own"


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        (BASE.replace("  api_key: key\n", ""), "envs/base.yaml:4: `destination.api_key` is missing."),
        (BASE.replace("api_key: key", "api_key: ''"), "envs/base.yaml:7: `destination.api_key` must not be empty."),
        (BASE + "segments: {a: {segment_id: 1}}\n", "envs/base.yaml:12: `segments` can't stand in a file that others extend."),
        (BASE.replace("${SITE}", "${NONE}"), "envs/base.yaml:6: `destination.site_id` needs NONE, which is not set in the environment."),
        ("extends: ../spec.yaml\n", "envs/base.yaml:1: `extends` leads back to a file that extends this one."),
        ("version: 2\n" + BASE[11:], "envs/base.yaml:1: `version` must be 1."),
        ("a: [\n", "envs/base.yaml:2: The file is not YAML: did not find expected node content."),
        ("version: 1\nversion: 1\n" + BASE[11:], "envs/base.yaml:2: The key `version` stands twice; the first is on line 1."),
    ],
)  # fmt: skip
def test_an_error_names_the_file_and_line_in_which_the_value_stands(write, base, problem):
    write(base, "envs/base.yaml")

    assert problem in problems_of(write(SPEC))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("extends: none.yaml", "none.yaml:1: The file does not exist."),
        ("extends: ${NONE}", "spec.yaml:2: `extends` needs NONE, which is not set in the environment."),
        ("extends: [a.yaml]", "spec.yaml:2: `extends` must be the path of a file."),
        ('extends: "a\\x1b.yaml"', "spec.yaml:2: `extends` must be the path of a file."),
        ('extends: "a\\nb.yaml"', "spec.yaml:2: `extends` must be the path of a file."),
        ("extends: spec.yaml", "spec.yaml:2: `extends` leads back to a file that extends this one."),
        ("extends: envs", "envs:1: The file is a folder, not a plain file."),
    ],
)
def test_a_file_that_cannot_be_extended(write, line, problem):
    write(BASE, "envs/base.yaml")

    assert problem in problems_of(write(SPEC.replace("extends: envs/base.yaml", line)))


def test_in_a_folder_a_file_that_lists_no_segments_is_no_spec(write, tmp_path):
    write(BASE, "specs/envs/base.yaml")
    write(SPEC, "specs/vip.yaml")

    specs = load(["specs"], SITE)

    assert [spec.path for spec in specs] == [Path("specs/vip.yaml")]
    assert not [warning for segment in specs[0].segments for warning in segment.warnings]


def test_in_a_folder_a_file_without_segments_that_no_spec_extends_is_warned_of(write):
    write(BASE, "specs/envs/base.yaml")
    write(SPEC, "specs/vip.yaml")
    write(BASE, "specs/lost.yaml")

    (spec,) = load(["specs"], SITE)

    assert {str(warning) for segment in spec.segments for warning in segment.warnings} == {
        "specs/lost.yaml:1: `segments` is missing, and no spec here extends this file: it was passed over."
    }


def test_named_by_itself_it_lacks_its_segments(write):
    assert problems_of(write(BASE)) == ["spec.yaml:1: `segments` is missing."]


def test_a_folder_with_nothing_else_has_no_spec(write):
    write(BASE, "specs/base.yaml")

    with pytest.raises(UsageError, match=r"These files list no segments: specs/base\.yaml"):
        load(["specs"], SITE)


def test_all_that_is_wrong_with_an_extended_file_is_reported_at_once(write):
    write(BASE + "segments: {a: {segment_id: 1}}\ndefault: {}\n", "envs/base.yaml")

    found = problems_of(write(SPEC))

    assert found == [
        "envs/base.yaml:12: `segments` can't stand in a file that others extend.",
        "envs/base.yaml:13: `default` is not a known key; did you mean `defaults`?",
    ]
