"""What becomes of an id, for each combination of flags; and what is counted of many."""

import pytest

from reconciler.diff.decide import (
    HELD,
    NOTHING,
    POSSIBLE,
    SENT,
    UNSETTLED,
    Change,
    Flag,
    Returned,
    count_changes,
    count_drift,
    count_having,
    decide,
    is_exempt,
    refuse_bad,
    select,
)
from reconciler.errors import SourceError
from reconciler.models.batches import Direction
from reconciler.models.comparison import Counts, DriftCounts
from reconciler.models.ids import NULL
from reconciler.models.spec import OnBad, Segment

SEGMENT = Segment(name="vip", segment_id=56, query="SELECT 1", source="warehouse")

STORED, UNMATCHED, REMOVED, REMOTE = Flag.STORED, Flag.UNMATCHED, Flag.REMOVED, Flag.REMOTE
ADDING, REMOVING, DESIRED, SPARED = Flag.UNSETTLED_ADD, Flag.UNSETTLED_REMOVE, Flag.DESIRED, Flag.SPARED
NONE, ADD, RESEND, REMOVE, ADOPT = Change

SITUATIONS = {
    "new": (DESIRED, ADD, ADD),
    "a member that stays": (STORED | REMOTE | DESIRED, NONE, NONE),
    "a member that is not there": (STORED | DESIRED, NONE, ADD),
    "someone else's, and wanted": (REMOTE | DESIRED, ADD, ADOPT),
    "on the way in, and wanted": (ADDING | DESIRED, ADD, ADD),
    "on the way in, there, and wanted": (ADDING | REMOTE | DESIRED, ADD, ADD),
    "on the way out, there, and wanted": (REMOVING | REMOTE | DESIRED, ADD, ADD),
    "unmatched, and wanted": (UNMATCHED | DESIRED, RESEND, RESEND),
    "unmatched, and shows late": (UNMATCHED | REMOTE | DESIRED, RESEND, ADOPT),
    "unmatched, sent again without an answer": (ADDING | UNMATCHED | DESIRED, ADD, ADD),
    "removed, and wanted again": (REMOVED | DESIRED, ADD, ADD),
    "removed, still there, and wanted again": (REMOVED | REMOTE | DESIRED, ADD, ADD),
    "unknown": (NOTHING, NONE, NONE),
    "a member that goes": (STORED, REMOVE, REMOVE),
    "a member that goes, and is there": (STORED | REMOTE, REMOVE, REMOVE),
    "on the way in, and unwanted": (ADDING, REMOVE, REMOVE),
    "on the way out": (REMOVING, REMOVE, REMOVE),
    "unmatched, and dropped": (UNMATCHED, REMOVE, REMOVE),
    "removed": (REMOVED, NONE, NONE),
    "removed, and still there": (REMOVED | REMOTE, NONE, REMOVE),
    "someone else's": (REMOTE, NONE, REMOVE),
    "a member that a plan file does not name": (STORED | SPARED, NONE, NONE),
    "a stray that a plan file does not name": (REMOTE | SPARED, NONE, NONE),
}


@pytest.mark.parametrize(("flags", "tracked", "exclusive"), SITUATIONS.values(), ids=SITUATIONS)
def test_what_becomes_of_an_id(flags: Flag, tracked: Change, exclusive: Change) -> None:
    assert (decide(flags, False), decide(flags, True)) == (tracked, exclusive)
    assert flags in select([tracked], False)
    assert flags in select([exclusive], True)


def test_every_way_to_stand_leads_to_one_change() -> None:
    for exclusive in (False, True):
        found = [flags for change in Change for flags in select([change], exclusive)]
        assert sorted(found) == sorted(POSSIBLE) == sorted(set(POSSIBLE))
    assert len(POSSIBLE) == 48
    assert {flags for flags, _, _ in SITUATIONS.values()} <= set(POSSIBLE)


def test_flags_fit_in_one_byte_and_do_not_overlap() -> None:
    assert [int(flag) for flag in Flag] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert (int(NOTHING), int(UNSETTLED), int(HELD)) == (0, 6, 15)


def test_every_change_but_an_adoption_is_sent_in_one_direction() -> None:
    assert SENT == {Direction.ADD: (ADD, RESEND), Direction.REMOVE: (REMOVE,)}


@pytest.mark.parametrize(
    ("flags", "tracked", "exclusive"),
    [
        (STORED, False, False),
        (ADDING, False, False),
        (REMOVING, True, True),
        (UNMATCHED, True, True),
        (ADDING | UNMATCHED, True, True),
        (REMOVING | REMOTE, True, False),
        (UNMATCHED | REMOTE, True, False),
        (REMOTE, False, False),
    ],
)
def test_a_removal_is_exempt_if_it_was_judged_before_or_takes_nobody_away(
    flags: Flag, tracked: bool, exclusive: bool
) -> None:
    assert (is_exempt(flags, False), is_exempt(flags, True)) == (tracked, exclusive)


def test_only_an_unsettled_add_is_repeated_by_an_add() -> None:
    changed = {ADDING | DESIRED: 1, REMOVING | DESIRED: 10, DESIRED: 100}

    counts = count_changes(False, {ADDING: 1, REMOVING: 10}, changed, Returned())

    assert (counts.add, counts.repeated_adds) == (111, 1)


@pytest.mark.parametrize("flags", [STORED, ADDING, REMOVING, UNMATCHED, NOTHING, REMOVED])
def test_a_stray_is_there_and_not_held(flags: Flag) -> None:
    counts = count_changes(True, {}, {flags: 1, flags | REMOTE: 10}, Returned())
    assert counts.strays == (10 if flags in (NOTHING, REMOVED) else 0)


def test_who_is_there_and_only_unsettled_is_foreign_and_lingers_if_it_was_a_removal() -> None:
    there = {STORED | REMOTE: 1, ADDING | REMOTE: 2, REMOVING | REMOTE: 3, UNMATCHED | REMOTE: 4}
    drift = count_drift(there, 10, 0)

    assert (drift.missing, drift.foreign, drift.lingering, drift.strangers) == (0, 5, 3, 0)
    assert (drift.unmatched, drift.appeared) == (4, 4)


# --- numbers ------------------------------------------------------------------------------------------------------

KNOWN = {
    STORED: 1000,
    STORED | REMOTE: 100,
    ADDING: 20,
    REMOVING: 30,
    ADDING | UNMATCHED: 4,
    UNMATCHED: 5,
    UNMATCHED | REMOTE: 6,
    REMOVED | REMOTE: 70,
    REMOTE: 8,
}
CHANGED = {DESIRED: 9, STORED: 3, ADDING | DESIRED: 2, REMOVING: 7, UNMATCHED: 1, UNMATCHED | DESIRED: 4}
RETURNED = Returned({None: 2000, "NULL": 11, "BLANK": 12, "EMAIL": 1300})


def test_a_plan_counts_every_id_once_by_what_becomes_of_it() -> None:
    assert count_changes(False, KNOWN, CHANGED, RETURNED) == Counts(
        desired=1112,
        stored=1100,
        add=11,
        remove=11,
        resend=4,
        unchanged=1097,
        unsettled=54,
        unmatched=11,
        nulls=11,
        invalid=1312,
        duplicates=888,
        held=1165,
        repeated_adds=2,
        exempt_removes=8,
        strays=0,
    )


def test_under_exclusive_the_real_members_are_held_too_and_decide_who_is_unchanged() -> None:
    there = {REMOTE: 7, REMOTE | DESIRED: 1, REMOVED | REMOTE: 10, STORED | REMOTE: 40, REMOVING | REMOTE: 5}
    there |= {UNMATCHED | REMOTE | DESIRED: 2, REMOVED | REMOTE | DESIRED: 6}
    counts = count_changes(True, KNOWN, {**CHANGED, **there}, RETURNED)

    assert (counts.held, counts.strays, counts.remove, counts.exempt_removes) == (1243, 17, 73, 8)
    assert (counts.unchanged, counts.adopt, counts.add) == (60 + 3, 3, 11 + 6)


def test_a_query_that_returned_nothing_has_nothing_to_explain() -> None:
    nothing = Returned()
    assert (nothing.valid, nothing.nulls, nothing.invalid) == (0, 0, 0)


def test_ids_are_counted_by_any_of_some_flags_and_none_of_others() -> None:
    assert count_having(KNOWN, UNSETTLED | UNMATCHED) == 65
    assert count_having(KNOWN, UNSETTLED | UNMATCHED, REMOTE | REMOVING) == 29


def test_a_drift_counts_who_is_missing_and_who_is_foreign_and_of_these_whom_we_removed() -> None:
    assert count_drift(KNOWN, 190, 6) == DriftCounts(
        stored=1100,
        remote=190,
        missing=1000,
        foreign=78,
        lingering=70,
        unkeyed=6,
        strangers=8,
        unmatched=11,
        appeared=6,
        held=1165 + 70,  # the tombstones that are still there become unsettled
    )


# --- what the query returned -------------------------------------------------------------------------------------

LEAVE_OUT = "leave them out in the query (WHERE ... IS NOT NULL), or set `nulls: skip` for this segment"
CORRECT = (
    "correct them in the query (for example TRIM(...), or CAST(... AS VARCHAR) of an integer), or set `invalid: skip` "
    "for this segment"
)


@pytest.mark.parametrize(
    ("rows", "message", "hint", "code"),
    [
        ({NULL: 1}, "1 NULL", LEAVE_OUT, "nulls"),
        ({NULL: 2, None: 9}, "2 NULLs", LEAVE_OUT, "nulls"),
        ({"BLANK": 1}, "1 value that can't be an id: 1 an empty or blank string", CORRECT, "invalid"),
        (
            {NULL: 1000, "LONG": 2, "TYPE": 1},
            "1,000 NULLs and 3 values that can't be ids: 2 more than 150 bytes; 1 a float, boolean, date or bytes",
            f"{LEAVE_OUT}; {CORRECT}",
            "nulls",
        ),
    ],
)
def test_values_that_are_no_ids_stop_a_segment_with_the_next_step(rows, message, hint, code):
    with pytest.raises(SourceError) as caught:
        refuse_bad(Returned(rows), SEGMENT)

    assert (caught.value.message, caught.value.hint) == (f"the query returned {message}", hint)
    assert caught.value.code == code


@pytest.mark.parametrize("rows", [{}, {None: 5}])
def test_ids_alone_stop_nothing(rows):
    refuse_bad(Returned(rows), SEGMENT)


def test_what_is_to_be_skipped_stops_nothing():
    skipping = SEGMENT.model_copy(update={"nulls": OnBad.SKIP, "invalid": OnBad.SKIP})

    refuse_bad(Returned({NULL: 1, "BLANK": 1}), skipping)
