"""Which segment a title means."""

from dataclasses import replace

import pytest

from reconciler.errors import DestinationError
from reconciler.escaping import show_title
from reconciler.git import identify
from reconciler.models.plan import RemoteSegment
from reconciler.models.results import Listing
from reconciler.models.spec import SpecIdentity, Target
from reconciler.models.titles import read_title
from reconciler.operations.titles import check_app_key, check_title, find_by_title, is_same_workspace, recall
from tests.fakes.parts import make_target

VIP = make_target(segment_id=None, segment="VIP")
NEW = make_target(segment_id=None, segment="VIP", create=True)


def remote(*segments: tuple[int, str], manual: bool = True) -> dict[int, RemoteSegment]:
    return {number: RemoteSegment(number, title, manual) for number, title in segments}


def known(number: int, title: str | None = "VIP", *, name: str = "vip", **more: bool) -> Listing:
    return Listing(number, name, title, identify(VIP.spec.path), **more)


def test_a_title_means_the_one_segment_that_has_it() -> None:
    warnings: list[str] = []
    assert find_by_title(VIP, [], remote((56, "VIP"), (57, "vip")), warnings.append).segment_id == 56
    assert find_by_title(NEW, [], remote((56, "VIP")), warnings.append).segment_id == 56
    assert warnings == []


def test_white_space_in_a_title_is_compared_as_customerio_gives_it() -> None:
    spaced = make_target(segment_id=None, segment="VIP  customers")
    assert find_by_title(spaced, [], remote((56, "VIP customers")), print).segment_id == 56


def test_titles_that_differ_in_white_space_are_one_in_the_lock_and_the_state() -> None:
    spaced = make_target(segment_id=None, segment=" VIP\t ")
    assert spaced.segment_id == VIP.segment_id
    assert recall(spaced, [known(56)]).segment_id == recall(VIP, [known(56, "VIP  ")]).segment_id == 56


def test_long_titles_that_differ_in_their_end_are_two() -> None:
    ours = make_target(segment_id=None, segment="x" * 310 + " two")
    with pytest.raises(DestinationError, match="no segment of workspace"):
        find_by_title(ours, [], remote((61, "x" * 310 + " one")), print)
    pinned = make_target(segment_id=61, title="x" * 310 + " two")
    with pytest.raises(DestinationError, match="is called") as caught:
        check_title(pinned, remote((61, "x" * 2000 + " one")))
    assert "x" * 400 not in caught.value.message


ENGLAND, SCOTLAND = ("\U0001f3f4" + "".join(chr(0xE0000 + ord(each)) for each in code) for code in ("gbeng", "gbsct"))

DIFFERENT = [
    (f"Fans {ENGLAND}\U000e007f", f"Fans {SCOTLAND}\U000e007f"),
    ("VIP \U0001fa77", "VIP \U0001fa75"),  # of Unicode 15
    ("VIP \U0001fa77", "VIP"),
    ("Club \uf8ff", "Club"),  # private use
    ("\U0001f468\u200d\U0001f467", "\U0001f468 \U0001f467"),
]


@pytest.mark.parametrize(("ours", "theirs"), [*DIFFERENT, *((two, one) for one, two in DIFFERENT)])
def test_titles_that_differ_in_a_sign_are_two(ours: str, theirs: str) -> None:
    there = remote((77, read_title(theirs)))
    target = make_target(segment_id=None, segment=ours)
    with pytest.raises(DestinationError, match="no segment of workspace"):
        find_by_title(target, [known(77, show_title(theirs))], there, print)
    assert recall(target, [known(77, show_title(theirs))]).segment.segment_id is None
    with pytest.raises(DestinationError, match="is called"):
        check_title(make_target(segment_id=77, title=ours), there)
    assert not is_same_workspace([known(77, show_title(ours), proved=True)], there)
    assert find_by_title(target, [], remote((77, read_title(ours))), print).segment_id == 77


def test_only_a_segment_that_may_be_created_may_be_absent() -> None:
    assert find_by_title(NEW, [], remote((57, "Other")), print).segment.segment_id is None
    with pytest.raises(DestinationError, match="no segment of workspace 'production' is called 'VIP'"):
        find_by_title(VIP, [], remote((57, "Other")), print)


@pytest.mark.parametrize("target", [VIP, NEW])
def test_a_title_that_means_several_or_a_data_driven_one_is_an_error(target: Target) -> None:
    with pytest.raises(DestinationError, match="56, 57"):
        find_by_title(target, [], remote((56, "VIP"), (57, "VIP")), print)
    with pytest.raises(DestinationError, match="data-driven"):
        find_by_title(target, [], remote((56, "VIP"), manual=False), print)


def test_the_number_that_is_remembered_finds_a_segment_that_was_renamed() -> None:
    warnings: list[str] = []
    assert find_by_title(NEW, [known(56)], remote((56, "Best")), warnings.append).segment_id == 56
    assert len(warnings) == 1
    with pytest.raises(DestinationError, match=r"56.*57"):
        find_by_title(NEW, [known(56)], remote((56, "Best"), (57, "VIP")), print)
    assert find_by_title(NEW, [known(56)], remote((56, "VIP"), (57, "VIP")), print).segment_id == 56


def test_the_number_of_another_entry_is_not_taken_over_by_the_title_that_it_had() -> None:
    other = known(56, name="gold")
    assert find_by_title(NEW, [other], remote((56, "VIP")), print).segment_id == 56
    for listings in ([other], [known(55, name="gold"), other]):
        with pytest.raises(
            DestinationError, match=r"'VIP' was segment 5[56] of the entry 'gold'.*'Best' now"
        ) as caught:
            find_by_title(NEW, listings, remote((55, "Best"), (56, "Best")), print)
        assert caught.value.code == "title"
    with pytest.raises(DestinationError, match="56, 57"):
        find_by_title(NEW, [other], remote((56, "VIP"), (57, "VIP")), print)


def test_a_segment_that_was_deleted_is_not_created_again_while_the_state_holds_it() -> None:
    with pytest.raises(DestinationError, match="not there any more"):
        find_by_title(NEW, [known(56)], remote((57, "Other")), print)


def test_the_state_alone_tells_the_number_that_a_title_led_to() -> None:
    assert recall(VIP, [known(55, None), known(56)]).segment_id == 56
    assert recall(VIP, [known(56, "Other")]).segment.segment_id is None
    assert VIP.segment_id < 0
    assert VIP.segment_id == NEW.segment_id != make_target(segment_id=None, segment="Other").segment_id


def test_the_state_alone_does_not_tell_what_another_entry_of_the_spec_had_by_that_title() -> None:
    gold = make_target(name="gold", segment_id=None, segment="Gold").segment
    both = replace(VIP, spec=VIP.spec.model_copy(update={"segments": (VIP.segment, gold)}))
    of_gold = known(56, name="gold")

    assert recall(VIP, [of_gold]).segment_id == 56  # which the spec calls vip now
    assert recall(both, [of_gold]).segment.segment_id is None
    assert recall(both, [of_gold, known(57)]).segment_id == 57
    assert recall(both, [replace(of_gold, spec=SpecIdentity(None, "/elsewhere.yaml"))]).segment_id == 56


def test_what_tells_the_workspace_of_the_app_key() -> None:
    warnings: list[str] = []
    check_app_key(VIP, [known(56, proved=True), known(57)], remote((56, "VIP")), warnings.append)
    assert warnings == []
    for unproved in (known(56), known(56, "Other", proved=True), known(56, None, proved=True)):
        assert not is_same_workspace([unproved], remote((56, "VIP")))
    check_app_key(VIP, [known(56, sent=True)], remote((56, "VIP")), warnings.append)
    assert warnings == []
    check_app_key(VIP, [known(56)], remote((56, "VIP")), warnings.append)  # a refresh alone has led to this number
    check_app_key(VIP, [], remote((56, "VIP")), warnings.append)
    assert (len(warnings), len(set(warnings))) == (2, 1)
    with pytest.raises(DestinationError, match="none of the segments that the state knows") as caught:
        check_app_key(VIP, [known(56, proved=True)], remote((61, "VIP")), print)
    assert caught.value.code == "environment"
    assert "if the segment was just created, run it again in a minute" in str(caught.value.hint)
    assert "forget SPEC id:56" in str(caught.value.hint)
