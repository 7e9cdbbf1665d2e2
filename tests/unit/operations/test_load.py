from pathlib import Path

import pytest

from reconciler.errors import ExitCode, UsageError
from reconciler.models.fields import Secret
from reconciler.models.spec import DestinationSettings, Segment, Spec, StateSettings, Target
from reconciler.operations.load import choose, list_targets, resolve_allowed


def make_spec(workspace: str, *segments: Segment, path: str = "spec.yaml") -> Spec:
    return Spec(
        path=Path(path),
        sources={},
        destination=DestinationSettings(workspace=workspace, site_id=Secret("site"), api_key=Secret("key")),
        state=StateSettings(url=Secret("")),
        segments=segments,
    )


def make_segment(name: str, *tags: str) -> Segment:
    return Segment(name=name, segment_id=1, query="", source="w", tags=tags, line=3)


TARGETS = list_targets(
    [
        make_spec("eu", make_segment("vip", "nightly"), make_segment("churn_risk", "nightly", "ml")),
        make_spec("us", make_segment("vip", "hourly"), make_segment("vip[old]"), path="us.yaml"),
    ]
)


def labels(targets: tuple[Target, ...]) -> list[str]:
    return [target.label for target in targets]


def test_targets_come_in_the_order_of_the_files():
    assert labels(TARGETS) == ["eu/vip", "eu/churn_risk", "us/vip", "us/vip[old]"]


@pytest.mark.parametrize(
    ("chosen", "left_out", "expected"),
    [
        ([], [], ["eu/vip", "eu/churn_risk", "us/vip", "us/vip[old]"]),
        (["vip"], [], ["eu/vip", "us/vip"]),
        (["us/vip"], [], ["us/vip"]),
        (["us/*"], [], ["us/vip", "us/vip[old]"]),
        (["*/vip"], [], ["eu/vip", "us/vip"]),
        (["vip*"], [], ["eu/vip", "us/vip", "us/vip[old]"]),
        (["vip[old]"], [], ["us/vip[old]"]),
        (["?hurn_*"], [], ["eu/churn_risk"]),
        (["[cx]hurn_risk"], [], ["eu/churn_risk"]),
        (["tag:nightly"], [], ["eu/vip", "eu/churn_risk"]),
        (["tag:*ly"], [], ["eu/vip", "eu/churn_risk", "us/vip"]),
        (["tag:ml", "us/vip"], [], ["eu/churn_risk", "us/vip"]),
        ([], ["vip"], ["eu/churn_risk", "us/vip[old]"]),
        ([], ["tag:nightly"], ["us/vip", "us/vip[old]"]),
        (["vip"], ["eu/*"], ["us/vip"]),
        (["*"], [], ["eu/vip", "eu/churn_risk", "us/vip", "us/vip[old]"]),
    ],
)
def test_patterns_choose_and_leave_out(chosen, left_out, expected):
    assert labels(choose(TARGETS, chosen, left_out)) == expected


@pytest.mark.parametrize(
    "pattern", ["VIP", "Tag:nightly", "tag:Nightly", "nightly", "asia/*", "", "tag:", "vip ", "u*p"]
)
def test_a_pattern_that_matches_nothing_is_a_usage_error(pattern):
    for chosen, left_out in (([pattern, "vip"], []), (["vip"], [pattern])):
        with pytest.raises(UsageError) as caught:
            choose(TARGETS, chosen, left_out)

        assert caught.value.exit_code is ExitCode.USAGE
        assert repr(pattern) in caught.value.message


def test_all_idle_patterns_are_told_with_what_is_close():
    with pytest.raises(UsageError) as caught:
        choose(TARGETS, ["vipp", "churn-risk", "vip", "tag:nigthly"], [])

    assert caught.value.message == "--select matches no segment: 'vipp', 'churn-risk', 'tag:nigthly'."
    assert (
        caught.value.hint
        == "Did you mean vip or us/vip or eu/vip or churn_risk or eu/churn_risk or tag:nightly or tag:hourly?"
    )


def test_where_nothing_is_close_what_there_is_is_told():
    with pytest.raises(UsageError) as caught:
        choose(TARGETS, ["zzzzzz"], [])

    assert caught.value.hint.startswith("There are: vip, churn_risk, vip[old], eu/vip,")


def test_an_exclude_that_leaves_nothing_is_a_usage_error():
    with pytest.raises(UsageError, match="No segment is left"):
        choose(TARGETS, ["vip"], ["*"])


class TestAllowing:
    def test_a_name_and_a_label_mean_one_segment(self):
        assert set(resolve_allowed(TARGETS, ["churn_risk", "us/vip"], (), ())) == {"eu/churn_risk", "us/vip"}

    def test_no_names_allow_nothing(self):
        assert resolve_allowed(TARGETS, [], (), ()) == {}

    @pytest.mark.parametrize("name", ["vip*", "*", "tag:nightly", "VIP", "", "churn", "asia/vip", "eu/*"])
    def test_a_glob_or_a_tag_or_an_unknown_name_is_refused(self, name):
        with pytest.raises(UsageError, match="No segment is named"):
            resolve_allowed(TARGETS, [name], (), ())

    def test_a_name_that_two_workspaces_have_is_refused_with_the_choices(self):
        with pytest.raises(UsageError) as caught:
            resolve_allowed(TARGETS, ["vip"], (), ())

        assert caught.value.message == "'vip' means several segments: eu/vip (spec.yaml:3), us/vip (us.yaml:3)."
        assert caught.value.hint == "Write workspace/NAME."

    def test_a_label_that_two_specs_share_is_refused(self):
        twins = list_targets([make_spec("eu", make_segment("a"), path=path) for path in ("a.yaml", "b.yaml")])

        with pytest.raises(UsageError) as caught:
            resolve_allowed(twins, ["eu/a"], (), ())

        assert caught.value.hint == "Name fewer specs, or rename one of them."

    def test_a_name_with_a_slash_is_found_before_a_label(self):
        targets = list_targets([make_spec("eu", make_segment("us/vip")), make_spec("us", make_segment("vip"))])

        assert set(resolve_allowed(targets, ["us/vip"], (), ())) == {"eu/us/vip"}
