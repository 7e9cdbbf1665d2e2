"""The data of the sandbox, without a server: people, hand edits, writes that are applied later."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.sandbox.settings import NEVER, SandboxError, Settings, parse_setting
from reconciler.sandbox.storage import load_state, save_state
from reconciler.sandbox.workspace import Direction, IdType, People, Workspace


@pytest.fixture
def workspace(clock):
    return make_workspace(clock)


def make_workspace(clock, settings=None):
    workspace = Workspace(settings or Settings(), clock, lambda: 1_700_000_000)
    workspace.add_people([("1", "Ann@example.com"), ("2", None), (None, "cy@example.com")])
    workspace.create_segment("vip", id=56)
    return workspace


def ids_in(workspace, segment_id=56):
    return {person.id for person in workspace.members(segment_id)}


def test_a_write_is_applied_once_its_delay_has_passed(workspace, clock):
    workspace.change_settings(apply_delay=2)

    workspace.submit(56, Direction.ADD, IdType.ID, ["1"])

    assert ids_in(workspace) == set()
    clock.now += 1.9
    assert ids_in(workspace) == set()
    assert len(workspace.pending()) == 1
    clock.now += 0.1
    assert ids_in(workspace) == {"1"}
    assert workspace.pending() == []


def test_delayed_writes_are_applied_in_the_order_of_their_times(workspace, clock):
    workspace.submit(56, Direction.ADD, IdType.ID, ["1"], delay=5)
    workspace.submit(56, Direction.REMOVE, IdType.ID, ["1"], delay=3)

    clock.now += 10

    assert ids_in(workspace) == {"1"}


def test_writes_of_one_moment_keep_their_order(workspace):
    workspace.change_settings(apply_delay=2)
    workspace.submit(56, Direction.ADD, IdType.ID, ["1", "2"])
    workspace.submit(56, Direction.REMOVE, IdType.ID, ["1"])

    assert workspace.settle() == 2
    assert ids_in(workspace) == {"2"}


def test_a_person_who_comes_before_the_write_is_applied_is_in_it(workspace, clock):
    workspace.change_settings(apply_delay=2)
    workspace.submit(56, Direction.ADD, IdType.ID, ["9", "1"])
    workspace.add_people([("9", None)])

    clock.now += 2

    assert ids_in(workspace) == {"9", "1"}


def test_a_pending_write_to_a_segment_that_is_gone_does_nothing(workspace, clock):
    workspace.submit(56, Direction.ADD, IdType.ID, ["1"], delay=1)
    workspace.delete_segment(56)
    clock.now += 1

    assert workspace.segments() == []


def test_hand_edits_take_effect_at_once(workspace):
    workspace.change_settings(apply_delay="never")

    workspace.edit_members(56, add=["1", "2"])
    workspace.edit_members(56, remove=["ANN@example.com"], id_type="email")
    assert ids_in(workspace) == {"2"}
    workspace.set_members(56, ["a3000003"], "cio_id")
    assert [person.email for person in workspace.members(56)] == ["cy@example.com"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda workspace, values: workspace.edit_members(56, add=values),
        lambda workspace, values: workspace.edit_members(56, remove=values),
        lambda workspace, values: workspace.edit_members(56, add=["1"], remove=values),
        lambda workspace, values: workspace.set_members(56, values),
    ],
    ids=["add", "remove", "both", "set"],
)
def test_a_hand_edit_with_an_unknown_person_is_refused_whole(workspace, edit):
    workspace.edit_members(56, add=["2"])

    with pytest.raises(SandboxError, match="1 of 2 people are unknown"):
        edit(workspace, ["1", "zz"])

    assert ids_in(workspace) == {"2"}


def test_hand_edits_need_a_segment(workspace):
    with pytest.raises(SandboxError, match="no segment 99"):
        workspace.edit_members(99, add=["1"])


def test_a_taken_segment_id_is_refused(workspace):
    with pytest.raises(SandboxError, match="56 exists"):
        workspace.create_segment("other", id=56)


def test_a_person_needs_an_identifier(workspace):
    with pytest.raises(SandboxError):
        workspace.add_people([(None, None)])


def test_seeding_twice_changes_nothing(workspace):
    assert workspace.add_people([("1", "Ann@example.com"), (None, "CY@example.com")]) == 3
    assert [person.cio_id for person in workspace.people()] == ["a3000001", "a3000002", "a3000003"]


def test_an_email_only_person_gets_an_id(workspace):
    workspace.add_people([("3", "cy@example.com")])

    assert workspace.people()[2] == ("a3000003", "3", "cy@example.com")


@pytest.mark.parametrize("value", ["A3000001", "a30000001", "a3", "a3000000", "a3-00001", "a3 00001", "a3_00001", "zz"])
def test_a_cio_id_is_compared_exactly(workspace, value):
    workspace.submit(56, Direction.ADD, IdType.CIO_ID, [value])

    assert ids_in(workspace) == set()


def test_an_identifier_that_is_taken_stays_with_its_owner(workspace):
    workspace.add_people([("9", "ann@example.com"), ("1", "new@example.com")])

    assert [(person.id, person.email) for person in workspace.people()] == [
        ("1", "new@example.com"), ("2", None), (None, "cy@example.com"), ("9", None),
    ]  # fmt: skip


rows = st.tuples(
    st.none() | st.sampled_from("abcdeABC"), st.none() | st.sampled_from(["x@y", "X@Y", "z@y", "w@y", "v@y"])
).filter(any)


@given(st.lists(rows, max_size=30))
def test_every_person_is_found_by_each_identifier_and_by_nobody_elses(rows):
    people = People()
    for row in rows:
        people.identify(*row)

    for cio_id, person in people.known.items():
        assert person.cio_id == cio_id
        for id_type in IdType:
            value = getattr(person, id_type)
            assert value is None or people.find(id_type, [value]) == [cio_id]


def test_a_workspace_survives_its_file(tmp_path, workspace, clock):
    workspace.add_people([("7", "g@example.com", "a3000009")])
    workspace.create_segment("churn", id=57, type="dynamic", tags=("a",), description="d")
    workspace.edit_members(56, add=["7", "1"])
    workspace.submit(56, Direction.REMOVE, IdType.ID, ["7"], delay=2)
    workspace.submit(56, Direction.ADD, IdType.ID, ["1"], delay=NEVER)
    save_state(tmp_path / "first", workspace, clock())

    copy = Workspace(Settings(), clock, lambda: 0)
    load_state(tmp_path / "first", copy)
    save_state(tmp_path / "second", copy, clock())

    assert (tmp_path / "second").read_text() == (tmp_path / "first").read_text()
    assert copy.people() == workspace.people()
    assert copy.segments() == workspace.segments()
    clock.now += 2
    assert ids_in(copy) == {"1"}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"format": 2},
        {"format": 1},
        {"format": 1, "people": [["1"]]},
        {"format": 1, "people": [["1", None, "03000001"]], "segments": []},
    ],
)
def test_a_document_that_is_no_state_is_refused(tmp_path, clock, document):
    (tmp_path / "state").write_text(json.dumps(document))

    with pytest.raises(SandboxError):
        load_state(tmp_path / "state", Workspace(Settings(), clock, lambda: 0))


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("unknown-ids=create", "unknown_ids", "create"),
        ("apply_delay=never", "apply_delay", NEVER),
        ("apply_delay=1.5", "apply_delay", 1.5),
        ("track-key-revoked=yes", "track_key_revoked", True),
        ("count_offset=-2", "count_offset", -2),
        ("missing_segment=200", "missing_segment", "200"),
    ],
)
def test_a_setting_can_be_written_as_text(text, name, value):
    assert getattr(Settings().changed(dict([parse_setting(text)])), name) == value


@pytest.mark.parametrize(
    "text", ["", "app_key_revoked", "=1", "colour=red", "app_key_revoked=maybe", "apply_delay=-1", "apply_delay=x",
             "track_rate_limit=-1", "track_rate_limit=1.5", "unknown_ids=eat", "region=mars", "latency=nan"]
)  # fmt: skip
def test_a_setting_that_is_not_understood_is_refused_with_words(text):
    with pytest.raises(SandboxError, match=r"\w+"):
        Settings().changed(dict([parse_setting(text)]))
