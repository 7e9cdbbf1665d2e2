"""What names a segment, its owner, and what ends it: by number, by title, created, paused, retired."""

import pytest

from reconciler.errors import SpecError
from reconciler.models.spec import Segment
from reconciler.spec import load

HEAD = """\
version: 1
sources: {warehouse: {url: "sqlite:///warehouse.db"}}
destination: {site_id: site, api_key: key, app_api_key: app}
segments:
"""


def load_segments(name: str) -> dict[str, Segment]:
    (spec,) = load([name], {})
    return {segment.name: segment for segment in spec.segments}


def problems_of(name: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load([name], {})
    return caught.value.problems


def test_a_segment_by_its_title_has_no_number_yet(write):
    vip = load_segments(write(HEAD + "  vip: {segment: VIP customers, create: true, owner: me, query: x}\n"))["vip"]

    assert (vip.segment_id, vip.segment, vip.create, vip.owner) == (None, "VIP customers", True, "me")


def test_a_retired_segment_needs_no_query_and_ignores_an_inherited_one(write):
    write("SELECT 1", "shared.sql")
    text = HEAD + "  old: {segment_id: 1, retired: true}\n  new: {segment_id: 2}\ndefaults: {query_file: shared.sql}\n"

    segments = load_segments(write(text))

    assert (segments["old"].retired, segments["old"].query) == (True, "")
    assert segments["new"].query == "SELECT 1"


def test_create_that_is_inherited_means_nothing_to_a_number(write):
    segments = load_segments(write(HEAD + "  a: {segment_id: 1, query: x}\ndefaults: {create: true, paused: true}\n"))

    assert segments["a"].paused


@pytest.mark.parametrize(
    ("lines", "problems"),
    [
        (
            "  a: {segment: VIP, title: VIP, query: x}\n",
            ["spec.yaml:5: `segments.a.title` pins a `segment_id`; `segment` is a title already."],
        ),
        (
            "  a: {segment: New 1, query: x}\n  b: {segment: ' New  1', query: y}\n",
            [
                "spec.yaml:6: `segments.b.segment` is `New 1`, which `a` in the same workspace has too (spec.yaml:5); "
                "one segment takes one query.",
            ],
        ),
        (
            "  a: {segment: VIP, query: x}\n  b: {segment: VIP, query: y}\n",
            [
                "spec.yaml:6: `segments.b.segment` is `VIP`, which `a` in the same workspace has too (spec.yaml:5); "
                "one segment takes one query.",
            ],
        ),
        (
            "  a: {segment_id: 1, retired: true, query_file: x.sql}\n",
            [
                "spec.yaml:5: `segments.a.query_file` stands in a segment that is `retired`; nobody belongs there, so "
                "remove it."
            ],
        ),
        ("  a: {segment: ' ', query: x}\n", ["spec.yaml:5: `segments.a.segment` must not be empty."]),
    ],
)
def test_what_names_no_segment(write, lines, problems):
    assert problems_of(write(HEAD + lines)) == problems
