"""Plans, runs and drift as people see them."""

import itertools
import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from reconciler.models.comparison import Counts
from reconciler.models.guards import Guard
from reconciler.models.history import History, HistoryRow, Outcome, RunPart, RunRecord, RunState
from reconciler.models.plan import Examples, Head, Plan, Problem, RemoteFacts
from reconciler.models.results import (
    Orphan,
    Refresh,
    RefreshRow,
    RefreshStatus,
    RunStatus,
    SegmentRecord,
    Status,
    StatusRow,
    Tally,
)
from reconciler.render import Format, Options, past_runs, render
from reconciler.render import json_documents as documents
from reconciler.render.report import Column
from reconciler.render.text import fit
from tests.fakes import samples

WIDTHS = [60, 80, 120, 200]
HOSTILE = "\x1b[31m[bold]:smile:\n\u202eevil|<b>@team"


def write(result, width: int = 80, **more) -> str:
    return render(result, Format.TEXT, Options(width, **more))


def show(*segments, width: int = 80, warnings: tuple[str, ...] = (), **more) -> str:
    return write(Plan(samples.TWO_AM, segments, warnings), width, **more)


def show_document(document, width: int = 80, allowed: tuple[str, ...] = ()) -> str:
    row = HistoryRow("run-1", samples.TWO_AM, "apply", "production")
    return write(RunRecord(row, "0.1.0", allowed, None, json.dumps(document)), width)


def last_line(shown: str) -> str:
    return shown.rstrip("\n").splitlines()[-1]


def flatten(shown: str) -> str:
    return " ".join(shown.split())


# --- whole pages -------------------------------------------------------------------------------------------------


def test_a_plan_at_100_columns() -> None:
    assert (
        write(samples.make_everything(), 100, sqlite_unattended=True)
        == """\
specs/vip.yaml · workspace production

Status       Segment        Id    Desired  Stored  Remove         Add  Change  Notes
─────────────────────────────────────────────────────────────────────────────────────────
~ changes    vip_customers  56      1,010   1,000     -10         +20    3.0%
! blocked    churn_risk     57        500   2,000  -1,500           0   75.0%
✗ failed     broken         58
~ changes    newcomers      59  1,234,567       0       0  +1,234,567          first fill
= unchanged  loyal          60      5,000   5,000       0           0

! churn_risk is blocked; nothing is sent for it.
    max_removals: 1,500 removals of 2,000 members; the limit is 25%
      if that is right, run it again with
        --allow-removals churn_risk
    min_members: the query returned 500 members; at least 1,000 are required
      no flag allows this: correct the query or the spec
    must_include: of 1 sentinel ids, 1 not in the query's result
      no flag allows this: correct the query or the spec

✗ broken failed: specs/vip.yaml:40: no such table: customers
    check the query

· vip_customers: 3 duplicates counted once; used by 2 campaigns and 1 newsletter draft: a change can
  send messages.

! First fill of 1 segment: the state knows nothing of what is in there.
    newcomers: members that it may already have are unknown, and stay
    To take those members over, so that the query decides on them, too:
      reconcile refresh specs/vip.yaml --select newcomers
    The state is a SQLite file: where it is lost between runs (CI, containers), every run is a first
    fill and can never remove anybody. Keep the file, or use a PostgreSQL state; `must_exist: true`
    makes a lost one an error.

Warning: specs/vip.yaml: the names of the segments are not known: no answer

Plan: 10 to remove, 1,234,587 to add, in 2 segments; 1 unchanged; 1 blocked; 1 failed.
"""
    )


def test_a_run_at_120_columns() -> None:
    assert (
        write(samples.make_whole_run(), 120)
        == """\
specs/vip.yaml · workspace production

Status       Segment        Id  Desired  Removed  Added  Rejected  Unsettled  Unmatched  Requests  Retries  Seconds
───────────────────────────────────────────────────────────────────────────────────────────────────────────────────
✓ applied    vip_customers  56    1,010      -10    +20                                         2        1      1.2
! blocked    churn_risk     57      500        0      0
✗ failed     broken         58                 0      0
= unchanged  loyal          60    5,000        0      0
✗ partial    lapsed         61    1,010      -10     +5         2         13          4         4        8     30.0
! locked     held           62                 0      0

! churn_risk is blocked; nothing is sent for it.
    max_removals: 1,500 removals of 2,000 members; the limit is 25%
      if that is right, run it again with
        --allow-removals churn_risk
    min_members: the query returned 500 members; at least 1,000 are required
      no flag allows this: correct the query or the spec
    must_include: of 1 sentinel ids, 1 not in the query's result
      no flag allows this: correct the query or the spec

✗ broken failed: specs/vip.yaml:40: no such table: customers
    check the query

✗ lapsed is partly done: Customer.io does not answer
    run it again

✗ held is locked; nothing was sent for it: locked by host a, pid 7
    wait

· vip_customers: the read-back agrees; 3 duplicates counted once.
· lapsed: 2 ids rejected by Customer.io; the next run tries again; 13 unsettled: whether they arrived is unknown, and
  the next run settles it; 4 unmatched (not there when last read): each apply sends them again; 3 duplicates counted
  once.

Applied: 20 removed, 25 added, in 2 segments; 2 rejected; 13 unsettled; 1 unchanged; 1 blocked; 1 locked; 1 partial; 1
failed.
"""
    )


def test_drift_at_80_columns() -> None:
    assert (
        write(samples.make_drift(), 80)
        == """\
specs/vip.yaml · workspace production

Status     Segment        Id  Stored  Remote  Missing  Foreign  Lingering
─────────────────────────────────────────────────────────────────────────
≠ drifted  vip_customers  56   1,000   1,003        2        5          1
= in sync  loyal          60      50      50        0        0
✗ failed   broken         58

✗ broken failed: 401: the App API key is wrong
    check app_api_key

Missing: stored, and not there. Foreign: there, and not stored. Lingering:
removed by reconcile in the last hour, and still there. To mend it: `reconcile
refresh specs/vip.yaml`, then `reconcile apply specs/vip.yaml`. It puts the
missing back, and removes the foreign that the query does not return; `refresh
--adopt known` lets them stay.

Drift: 1 of 3 segments; 2 missing; 5 foreign, of these 1 lingering; 1 failed.
"""
    )


# --- widths ------------------------------------------------------------------------------------------------------


def huge_plan():
    counts = Counts(desired=987_654_321, stored=912_345_678, add=98_765_432, remove=23_456_789, resend=1_234_567)
    return samples.make_plan("a_very_long_name_of_a_segment_that_nobody_would_type_twice", 123_456_789, counts=counts)


@pytest.mark.parametrize("width", WIDTHS)
def test_tables_fit_and_no_number_is_cut(width: int) -> None:
    shown = show(huge_plan(), samples.make_plan(remote=RemoteFacts("T" * 300)), width=width)

    assert "-23,456,789" in shown
    assert "+98,765,432" in shown
    assert all(cell_len(line) <= width for line in shown.splitlines() if "--allow" not in line)


@pytest.mark.parametrize("width", WIDTHS)
def test_words_wrap_and_commands_do_not(width: int) -> None:
    name = "n" * 100
    shown = show(samples.make_blocked(name), width=width)

    assert f"--allow-removals {name}\n" in shown
    wide = [line for line in shown.splitlines() if cell_len(line) > width]
    assert [line.strip() for line in wide] == ([f"--allow-removals {name}"] if width <= 120 else [])


def test_the_wider_the_page_the_more_columns() -> None:
    plan = Plan(samples.TWO_AM, (huge_plan(), samples.make_first_fill()))
    titles = [write(plan, width).splitlines()[2].split() for width in WIDTHS]
    assert all(set(few) <= set(more) for few, more in itertools.pairwise(titles))
    assert titles[0][:2] == ["Status", "Segment"]
    assert titles[-1][-2:] == ["Change", "Notes"]


COLUMNS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 9), st.integers(1, 60)),
    min_size=1,
    max_size=12,
)


@given(COLUMNS, st.integers(40, 200))
def test_whatever_the_columns_numbers_stay_whole_and_what_must_stay_stays(drawn, available: int) -> None:
    columns = [Column("x", drop=drop, flexible=flexible) for flexible, drop, _ in drawn]
    widths = [width for _, _, width in drawn]

    fitted = fit(columns, widths, available)

    for column, wanted, width in zip(columns, widths, fitted, strict=True):
        assert width in (0, wanted) or (column.flexible and 12 <= width <= wanted)
        assert width or column.drop
    total = sum(fitted) + 2 * (sum(width > 0 for width in fitted) - 1)
    droppable = [column for column, width in zip(columns, fitted, strict=True) if column.drop and width]
    assert total <= available or not droppable


@pytest.mark.parametrize("width", WIDTHS)
def test_many_unchanged_segments_share_one_line(width: int) -> None:
    shown = show(*samples.many(187), samples.make_plan(), samples.make_blocked(), width=width)

    assert "187 unchanged" in shown
    assert "segment_007" not in shown
    assert len(shown.splitlines()) < 30


def test_verbose_shows_every_segment() -> None:
    assert "segment_186" in show(*samples.many(187), verbose=True)


def test_a_few_unchanged_segments_are_shown() -> None:
    assert "segment_006" in show(*samples.many(7))


# --- what is said ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segments", "sentence"),
    [
        ([samples.make_plan()], "Plan: 10 to remove, 20 to add, in 1 segment."),
        ([samples.make_unchanged()], "Nothing to do: 1 segment is as its query says."),
        (samples.many(3), "Nothing to do: 3 segments are as their queries say."),
        ([samples.make_blocked()], "Plan: nothing to send; 1 blocked."),
        ([samples.make_failed(), samples.make_unchanged()], "Plan: nothing to change; 1 unchanged; 1 failed."),
        (
            [samples.make_plan(counts=Counts(desired=5, stored=2, resend=3, unchanged=2, unmatched=3))],
            "Plan: nothing to change; 3 unmatched to send again; 1 unchanged.",
        ),
    ],
)
def test_the_last_line_of_a_plan_says_it_all(segments, sentence: str) -> None:
    assert last_line(show(*segments)) == sentence


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (samples.make_run(samples.make_applied()), "Applied: 10 removed, 20 added, in 1 segment."),
        (
            samples.make_run(samples.run_of(samples.make_unchanged(), RunStatus.UNCHANGED)),
            "Nothing to do: 1 segment is as its query says.",
        ),
        (samples.make_run(samples.run_of(samples.make_plan(), RunStatus.STALE)), "Nothing was changed; 1 stale."),
        (
            samples.make_run(samples.make_applied(), stopped_by=2),
            "Applied: 10 removed, 20 added, in 1 segment. Stopped by SIGINT: run it again to go on.",
        ),
    ],
)
def test_the_last_line_of_a_run_says_it_all(run, sentence: str) -> None:
    assert last_line(write(run, 200)) == sentence


def test_a_name_that_two_specs_share_is_flagged_with_its_workspace() -> None:
    both = [samples.make_blocked(workspace=name, path=f"{name}.yaml") for name in ("production", "staging")]
    shown = show(*both)
    assert "--allow-removals production/churn_risk" in shown
    assert "--allow-removals staging/churn_risk" in shown
    assert "--allow-removals staging/churn_risk" in show(both[1], shared_names={"churn_risk"})
    assert "--allow-removals churn_risk" in show(both[1])


def test_a_flag_is_written_for_a_shell() -> None:
    assert "--allow-removals 'big spenders; rm -rf'" in show(samples.make_blocked("big spenders; rm -rf"))


def test_each_guard_with_a_flag_names_its_own() -> None:
    counts = Counts(stored=100, held=100, remove=100)
    shown = show(samples.make_plan(counts=counts))
    assert "--allow-removals vip_customers" in shown
    assert "--allow-empty vip_customers" in shown
    shown = show(samples.make_plan(counts=Counts(desired=400, stored=100, held=100, add=300, unchanged=100)))
    assert "--allow-additions vip_customers" in shown


def test_a_breach_that_was_allowed_is_noted() -> None:
    counts = Counts(desired=400, stored=100, held=100, add=300, unchanged=100)
    plan = samples.make_plan(counts=counts, allowed={Guard.MAX_ADDITIONS})
    assert "max_additions allowed" in show(plan, width=120)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (None, "members that it may already have are unknown"),
        (0, "1 segment has no members now"),
        (1234, "it has 1,234 members now that the state does not know"),
    ],
)
def test_a_first_fill_says_what_is_known_of_its_members(members: int | None, said: str) -> None:
    shown = show(samples.make_first_fill(members=members))
    assert said in flatten(shown)
    assert ("reconcile refresh specs/vip.yaml --select newcomers" in shown) == (members != 0)
    assert "SQLite" not in shown
    assert "lost" in show(samples.make_first_fill(members=members), sqlite_unattended=True)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (
            None,
            "members that it had before, if any, are unknown to the state, and stay (`reconcile drift specs/vip.yaml`",
        ),
        (1234, "it had 1,234 members that the state did not know"),
    ],
)
def test_after_a_first_fill_the_members_it_had_are_still_told(members: int | None, said: str) -> None:
    run = samples.make_run(samples.run_of(samples.make_first_fill(members=members), tally=Tally(added=1)))
    assert said in flatten(write(run))
    assert "reconcile refresh specs/vip.yaml --select newcomers" in write(run)


@pytest.mark.parametrize("output", [Format.TEXT, Format.MARKDOWN, Format.HTML])
@pytest.mark.parametrize(
    ("lack", "needed"),
    [
        ({"without_app_key": True}, "`app_api_key`"),
        ({"remote": RemoteFacts(unanswered=True)}, "an `app_api_key` that the App API answers to"),
    ],
    ids=["none", "one that is refused"],
)
def test_a_first_fill_without_an_app_key_proposes_no_command_that_needs_one(
    lack: dict[str, Any], needed: str, output: Format
) -> None:
    filled = samples.make_plan("newcomers", counts=Counts(desired=5, add=5), head=Head(), **lack)

    planned = flatten(render(Plan(samples.TWO_AM, (filled,)), output, Options(1000)))
    applied = flatten(render(samples.make_run(samples.run_of(filled, tally=Tally(added=5))), output, Options(1000)))

    assert f"(`refresh`, which takes them over, needs {needed}" in planned
    assert f"(`drift`, which counts them, and `refresh`, which takes them over, need {needed}" in applied
    assert "reconcile refresh" not in planned + applied
    assert "reconcile drift" not in planned + applied


@pytest.mark.parametrize(("strangers", "said"), [(0, False), (7, True)])
def test_after_a_first_fill_that_was_read_back_no_member_is_unknown(strangers: int, said: bool) -> None:
    filled = samples.run_of(samples.make_first_fill(), tally=Tally(added=1))
    shown = write(samples.make_run(replace(filled, confirmed=True, strangers=strangers)))
    assert "unknown" not in shown
    assert ("it had 7 members that the state did not know" in flatten(shown)) == said
    assert ("reconcile refresh" in shown) == said


def test_a_first_fill_that_failed_before_anything_was_sent_is_told_by_its_error_alone() -> None:
    failed = samples.run_of(samples.make_first_fill(), status=RunStatus.FAILED)
    assert "irst fill" not in write(samples.make_run(failed))


def test_after_the_first_fill_of_an_empty_segment_only_a_state_that_can_be_lost_is_told() -> None:
    run = samples.make_run(samples.run_of(samples.make_first_fill(members=0), tally=Tally(added=1)))
    assert "First fill" not in write(run)
    assert "lost" in write(run, sqlite_unattended=True)


def test_of_many_first_fills_a_few_are_named() -> None:
    shown = show(*samples.many(200, samples.make_first_fill))
    assert "First fill of 200 segments" in shown
    assert "… and 190 more" in shown


def test_a_segment_that_is_not_new_is_no_first_fill() -> None:
    assert "First fill" not in show(samples.make_plan(), samples.make_failed(), sqlite_unattended=True)


def test_what_the_query_returned_beside_ids_is_counted() -> None:
    counts = Counts(desired=9, stored=9, unchanged=9, held=9, nulls=1, invalid=2000, duplicates=3)
    assert "1 NULL left out; 2,000 invalid values left out; 3 duplicates counted once" in show(
        samples.make_plan(counts=counts), width=120
    )


def test_ids_are_shown_only_where_there_are_examples() -> None:
    shown = show(replace(samples.make_plan(), examples=Examples(("new-id",), ("old-id",))))
    assert "to remove, for example: old-id" in shown
    assert "to add, for example: new-id" in shown


def test_colour_comes_only_when_asked_for() -> None:
    assert "\x1b" not in show(samples.make_plan())
    coloured = show(samples.make_plan(), color=True)
    assert "\x1b[31m-10\x1b[0m" in re.sub(r" +", "", coloured)
    assert "\x1b[32m+20\x1b[0m" in re.sub(r" +", "", coloured)


def test_the_environment_changes_nothing(monkeypatch) -> None:
    plain, coloured = show(samples.make_plan()), show(samples.make_plan(), color=True)
    for name, value in {"COLUMNS": "20", "FORCE_COLOR": "1", "TERM": "dumb", "TTY_COMPATIBLE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert (show(samples.make_plan()), show(samples.make_plan(), color=True)) == (plain, coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    assert (show(samples.make_plan()), show(samples.make_plan(), color=True)) == (plain, coloured)


def test_a_title_that_was_not_asked_for_is_shown_as_the_state_knows_it() -> None:
    known = samples.make_unchanged(head=replace(samples.KNOWN, title="Loyal customers"))
    renamed = replace(known, remote=RemoteFacts("Best customers"))

    for shown in (show(known), write(samples.make_run(samples.run_of(known, RunStatus.UNCHANGED)), verbose=True)):
        assert "Loyal customers" in shown
    assert "Loyal customers" not in show(renamed)


def hostile_plan() -> Plan:
    title = RemoteFacts(HOSTILE)
    failed = replace(samples.make_failed(HOSTILE, message=HOSTILE), error=Problem("x", HOSTILE, HOSTILE))
    segments = (
        samples.make_plan(HOSTILE, path=f"{HOSTILE}.yaml", workspace=HOSTILE, remote=title),
        samples.make_blocked(HOSTILE),
        samples.make_first_fill(HOSTILE),
        failed,
    )
    return Plan(samples.TWO_AM, segments, (HOSTILE,))


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_names_reach_no_terminal(width: int) -> None:
    shown = write(hostile_plan(), width)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[bold]:smile:" in shown


def test_a_segment_that_a_signal_kept_from_starting_is_not_called_failed() -> None:
    run = samples.make_run(samples.run_of(samples.make_plan(), RunStatus.FAILED), stopped_by=15)
    shown = write(run)
    assert "vip_customers was stopped before anything was sent" in shown
    assert "Stopped by SIGTERM" in shown


# --- the other documents -----------------------------------------------------------------------------------------


def test_status_shows_what_the_state_holds_and_the_orphans() -> None:
    last = Outcome("applied", None, "run-1", samples.TWO_AM)
    rows = (
        StatusRow(samples.make_target(), True, 1234, 5, 0, 2, last=last, holder="host a, pid 7, since 02:00"),
        StatusRow(samples.make_target("newcomers", 59), False),
        StatusRow(samples.make_target("broken", 58), False, error=Problem("state", "no such file", "apply first")),
    )
    orphan = Orphan("production", 99, "id", 10, name="old_offer", title="Old offer")
    shown = write(Status(samples.TWO_AM, rows, (orphan,)), 80)

    assert "vip_customers is locked by host a, pid 7, since 02:00." in shown
    assert "production  old_offer  99  Old offer  id            10" in shown
    assert "list it with `retired: true`" in flatten(shown)
    assert "forget" not in shown
    assert "newcomers      59      new" in shown
    assert "broken can't be read: no such file" in shown
    assert "3 segments, 1,234 members in those that can be read; 5 unsettled" in flatten(shown)
    assert "5 unsettled; 1 not in the state yet; 1 can't be read; 1 orphan." in flatten(shown)


def test_the_members_in_a_state_that_can_not_be_read_are_not_known() -> None:
    error = Problem("state", "no such file", "apply first")
    rows = tuple(StatusRow(samples.make_target(name), False, error=error) for name in ("vip", "churn"))

    assert "2 segments, members not known; 2 can't be read." in flatten(write(Status(samples.TWO_AM, rows), 80))


def test_a_segment_of_the_state_is_shown_in_words_and_numbers_of_people() -> None:
    record = SegmentRecord(
        *("production", 56789, "vip_customers", "id", "lineage", 7),
        *(12345, 1, 2, 3, 4),
        *(samples.TWO_AM, None, None, None),
        restored=False,
    )

    shown = flatten(write(record, 80))

    assert "members: 12,345" in shown
    assert "segment id: 56789" in shown
    assert "restored: no" in shown


def test_status_begins_with_what_failed_and_says_where_to_look() -> None:
    failed = Outcome("failed", "source", "aaaaaaaaaaaa", samples.TWO_AM)
    killed = Outcome("killed", None, "bbbbbbbbbbbb", samples.TWO_AM)
    rows = (
        StatusRow(samples.make_target(), True, 10, last=Outcome("applied", None, "aaaaaaaaaaaa", samples.TWO_AM)),
        StatusRow(samples.make_target("churn", 57), False, last=failed),
        StatusRow(samples.make_target("lapsed", 58), True, 5, last=killed),
    )
    shown = write(Status(samples.TWO_AM, rows), 120)

    at = [shown.index(name) for name in ("lapsed", "churn", "vip_customers")]
    assert at == sorted(at)
    assert "✗ failed (source)" in shown
    assert "Run bbbbbbbb was killed while it worked on lapsed: run it again, and it goes on." in flatten(shown)
    assert "Why, for churn: `reconcile history specs/vip.yaml aaaaaaaa`" in flatten(shown)
    assert last_line(shown) == (
        "3 segments, 15 members; in the last run 1 killed and 1 failed; 1 not in the state yet."
    )


def test_history_says_of_a_run_what_it_did_and_what_failed() -> None:
    parts = (
        RunPart(56, "vip", "applied", added=1200),
        RunPart(57, "churn", "failed", "source"),
        RunPart(58, "lapsed", "failed", "source"),
        RunPart(59, "new", "partial", "destination", added=3, removed=1, rejected=2, unsettled=4),
        RunPart(60, "big", "blocked"),
    )
    declined = (RunPart(56, "vip", "failed", "declined"), RunPart(57, "churn", "unchanged"))
    rows = [
        HistoryRow("a", samples.TWO_AM, "apply", "main", samples.TWO_AM, 6, parts=parts),
        HistoryRow("b", samples.TWO_AM, "apply", "main", samples.TWO_AM, 1, status=RunState.DECLINED, parts=declined),
        HistoryRow("c", samples.TWO_AM, "apply", "main", samples.TWO_AM, 143),
        HistoryRow("c", samples.TWO_AM, "apply", "main", samples.TWO_AM, 77),
        HistoryRow("d", samples.TWO_AM, "refresh", "main", samples.TWO_AM, 0, parts=(RunPart(56, "vip", "refreshed"),)),
        HistoryRow("e", samples.TWO_AM, "apply", "main", status=RunState.RUNNING),
    ]
    assert [(past_runs.tell_result(row), past_runs.tell_deeds(row)) for row in rows] == [
        (
            "partly done (6)",
            "partial (destination): new; failed (source): churn and lapsed; blocked: big; "
            "1,203 entered, 1 left in 2 segments; 2 rejected; 4 unsettled",
        ),
        ("declined", "not confirmed: vip"),
        ("stopped (143)", "nothing changed"),
        ("ended (77)", "nothing changed"),
        ("done", "refreshed: vip"),
        ("running", "nothing is known to be sent"),
    ]


def test_history_lists_runs() -> None:
    rows = (
        HistoryRow(
            *("run-2", samples.TWO_AM, "apply"), status=RunState.KILLED, parts=(RunPart(56, "vip", "killed", added=7),)
        ),
        HistoryRow(
            *("run-1", samples.TWO_AM, "apply", "production", samples.TWO_AM + timedelta(seconds=185), 0),
            parts=(RunPart(56, "vip", "applied", added=8, removed=2),),
        ),
    )
    shown = write(History(samples.TWO_AM, rows), 120)
    assert "run-1  2026-11-21 02:00Z  3 min 5 s  apply    done    8 entered, 2 left in vip" in shown
    assert "killed  at least 7 entered in vip" in shown
    assert write(History(samples.TWO_AM, ())) == "No runs yet.\n"


def test_refresh_says_that_the_next_plan_may_remove_members() -> None:
    rows = (
        RefreshRow(samples.make_target(), RefreshStatus.REFRESHED, 1000, 40, 40),
        RefreshRow(samples.make_target("b", 2), RefreshStatus.LOCKED, error=Problem("locked", "host a", "wait")),
    )
    shown = write(Refresh("run-1", samples.TWO_AM, rows), 120)
    assert "The next plan removes those taken over that the query does not return." in shown
    assert "b is locked; nothing was changed for it: host a" in shown
    assert last_line(shown) == (
        "Refreshed: 1 segment, 1,000 members; 40 were not known, all of them taken over; 1 locked."
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_a_past_run_is_shown_from_its_document(width: int) -> None:
    document = documents.document(samples.make_whole_run())
    shown = show_document(document, width, ("max_removals", "allow_empty"))
    assert "Run run-1, apply, 2026-11-21T02:00:00Z" in shown
    assert "lapsed is partly done: Customer.io does not answer" in flatten(shown)
    assert "Allowed: max_removals, allow_empty" in shown
    assert write(samples.keep_figures(samples.make_whole_run()), width) in shown
    assert all(cell_len(line) <= width for line in shown.splitlines())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_key_of_a_stored_document_commands_no_terminal() -> None:
    document = {"\x1b[1m": 1, "segments": [{"\x1b[2J\x9b": False, "name": "\x1b[31m"}], "summary": {"\x1b": 2}}
    shown = show_document(document)
    assert not {"\x1b", "\x9b"} & set(shown)


@settings(deadline=None, max_examples=60)
@example({"segments": [{"\x1b": False}]})
@given(st.dictionaries(st.sampled_from(["segments", "warnings", "summary", "kind"]) | st.text(), JSON))
def test_any_document_can_be_shown(document) -> None:
    assert "\x1b" not in show_document(document)


@settings(deadline=None, max_examples=40)
@given(st.text(alphabet=st.characters(), max_size=30), st.sampled_from(WIDTHS), st.sampled_from(list(RunStatus)))
def test_any_name_can_be_shown(name: str, width: int, status: RunStatus) -> None:
    plan = samples.make_blocked(name, remote=RemoteFacts(name))
    run = samples.run_of(plan, status, Tally(added=1), error=Problem(name, name, name))
    for shown in (show(plan, width=width), write(samples.make_run(run), width)):
        assert not set("\x1b\x07\x9b\u202e") & set(shown)
        shown.encode()
