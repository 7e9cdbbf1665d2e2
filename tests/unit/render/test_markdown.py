"""Markdown for pull requests: escaped, short, and what is wrong comes first."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.models.comparison import Counts
from reconciler.models.guards import Guard, Verdict
from reconciler.models.history import Actor, History, HistoryRow, RunPart, RunRecord
from reconciler.models.plan import Examples, Head, Plan, PlanStatus, Problem, RemoteFacts, UsedBy
from reconciler.models.results import (
    Drift,
    DriftStatus,
    Orphan,
    Refresh,
    RefreshRow,
    RefreshStatus,
    RunStatus,
    SegmentDrift,
    Status,
    StatusRow,
    Tally,
)
from reconciler.models.spec import Region, Target
from reconciler.render import Format, Options, markdown, render
from reconciler.render import json_documents as documents
from tests.fakes import samples

OWN_LINK = re.compile(r"\[segment \d+\]\(https://fly\.customer\.io/workspaces/\d+/journeys/segments/\d+\)")
HOSTILE = "<script>|`@team` [x](http://evil) ![i](u) **b** \x1b[31m\u202e&lt; #1\n# head\n| a | b |"


def write_result(result, **more) -> str:
    return render(result, Format.MARKDOWN, Options(**more))


def write(*segments, warnings=(), **more) -> str:
    return write_result(Plan(samples.TWO_AM, tuple(segments), tuple(warnings)), **more)


def write_document(document) -> str:
    row = HistoryRow("run-1", samples.TWO_AM, "apply", "production")
    allowed = tuple(document.get("allowed", ()))
    return write_result(RunRecord(row, "0.1.0", allowed, None, json.dumps(document)))


def test_a_whole_plan() -> None:
    assert (
        write_result(samples.make_everything())
        == """\
<!-- reconcile plan -->
### reconcile plan: production

**Plan: 10 to remove, 1,234,587 to add, in 2 segments; 1 unchanged; 1 blocked; 1 failed.**

#### Who enters and leaves

- **VIP customers** ([segment 56](https://fly.customer.io/workspaces/12345/journeys/segments/56)): \
20 people will enter, 10 people will leave. This can start the campaigns 1, 2.
- **churn_risk** ([segment 57](https://fly.customer.io/workspaces/12345/journeys/segments/57)): \
0 people would enter, 1,500 people would leave, and a guard stops it.
- **newcomers**: 1,234,567 people will enter, 0 people will leave.
- **loyal** ([segment 60](https://fly.customer.io/workspaces/12345/journeys/segments/60)): nobody enters or leaves.

| Status | Segment | Id | Title | Desired | Stored | Remove | Add | Change | Notes |
| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | --- |
| ! blocked | churn_risk | 57 |  | 500 | 2,000 | -1,500 | 0 | 75.0% |  |
| ✗ failed | broken | 58 |  |  |  |  |  |  |  |
| \\~ changes | vip_customers | 56 | VIP customers | 1,010 | 1,000 | -10 | +20 | 3.0% |  |
| \\~ changes | newcomers | 59 |  | 1,234,567 | 0 | 0 | +1,234,567 |  | first fill |
| = unchanged | loyal | 60 |  | 5,000 | 5,000 | 0 | 0 |  |  |

*Desired*: how many people the query returns; \
*Stored*: how many were in the segment after the last run, as far as is known; \
*Remove*: who leave; *Add*: who enter; *Change*: who enter and leave, as a share of those stored; \
*blocked*: a guard stops it, and nothing is sent for it; *first fill*: the state knows nothing of the segment yet.

#### Blocked and failed

- **churn_risk** is blocked; nothing is sent for it
  - max_removals: 1,500 removals of 2,000 members; the limit is 25%; if that is right: `--allow-removals churn_risk`
  - min_members: the query returned 500 members; at least 1,000 are required; no flag allows this: \
correct the query or the spec
  - must_include: of 1 sentinel ids, 1 not in the query's result; no flag allows this: correct the query or the spec
- **broken** failed: specs/vip.yaml:40: no such table: customers
  - check the query

#### First fill

- **newcomers**: members that it may already have are unknown, and stay; to take them over: \
`reconcile refresh specs/vip.yaml --select newcomers`

#### Notes

- **vip_customers**: 3 duplicates counted once; used by 2 campaigns and 1 newsletter draft: a change can send messages

#### Warnings

- specs/vip.yaml: the names of the segments are not known: no answer
"""
    )


def test_a_run_tells_what_was_not_done_first() -> None:
    written = write_result(samples.make_whole_run())
    order = ["✗ partial", "✗ failed", "! blocked", "! locked", "✓ applied", "= unchanged"]
    places = [written.index(f"| {status} |") for status in order]
    assert places == sorted(places)
    assert "**lapsed** is partly done: Customer.io does not answer" in written


def test_drift_status_history_and_refresh_are_documents_too() -> None:
    assert "| ≠ drifted | vip_customers | 56 |" in write_result(samples.make_drift())
    row = StatusRow(samples.make_target(), True, 10)
    status = write_result(Status(samples.TWO_AM, (row,), (Orphan("production", 99),)))
    assert "| vip_customers | 56 | 10 |" in status
    assert "| production | 99 |" in status
    history = write_result(History(samples.TWO_AM, (HistoryRow("run-1", samples.TWO_AM, "apply a|b"),)))
    assert "apply a\\|b" in history
    rows = (RefreshRow(samples.make_target(), RefreshStatus.REFRESHED, 10, 4, 4),)
    assert "4 were not known" in write_result(Refresh("run-1", samples.TWO_AM, rows))


def test_a_past_run_is_a_document_of_any_fields() -> None:
    written = write_document(documents.document(samples.make_whole_run()) | {"kind": "of a later version"})
    assert "- Run run-1, apply, 2026-11-21T02:00:00Z" in written
    assert "| partial | lapsed | 10 | 5 | 61 | 2 | 13 |" in written
    assert "- **lapsed**: Customer.io does not answer" in written


def hostile_run(name: str, status: RunStatus):
    problem = Problem(name, name, name)
    about = {"owner": name, "description": name, "segment": name or None, "tags": (name,)}
    remote = RemoteFacts(name, used_by=UsedBy(campaigns=(4,), names=((4, name),)))
    plan = samples.make_blocked(name, workspace=name, path=name, remote=remote, **about)
    freshness = Verdict(Guard.FRESHNESS, name, name, False, False, name)
    if status is RunStatus.APPLIED:  # its plan goes through, so its notes have what was found of freshness
        plan = replace(plan, status=PlanStatus.CHANGES, verdicts=(*plan.verdicts, freshness))
    plan = replace(plan, examples=Examples((name,), (name,)))
    return samples.run_of(plan, status, Tally(added=1, rejected=1), error=problem)


def write_all(name: str) -> list[str]:
    runs = [hostile_run(name, status) for status in RunStatus]
    failed = replace(samples.make_failed(name), error=Problem(name, name, name))
    filled = samples.make_first_fill(name, workspace=name, path=name)
    plans = (*[run.plan for run in runs], failed, filled)
    drifts = (SegmentDrift(filled.target, DriftStatus.FAILED, title=name, error=failed.error),)
    row = StatusRow(filled.target, True, 1, holder=name, error=failed.error)
    refreshed = RefreshRow(filled.target, RefreshStatus.FAILED, title=name, error=failed.error)
    return [
        write_result(Plan(samples.TWO_AM, plans, (name,)), sqlite_unattended=True),
        write_result(samples.make_run(*runs, samples.run_of(filled, tally=Tally(added=1)), warnings=(name,))),
        write_result(Drift(samples.TWO_AM, drifts, (name,))),
        write_result(Status(samples.TWO_AM, (row,), (Orphan(name, 1, name),), (name,))),
        write_result(Refresh(name, samples.TWO_AM, (refreshed,), (name,))),
        write_document({"run_id": name, name: name, "allowed": [name], "warnings": [name], **make_document(name)}),
        write_result(History(samples.TWO_AM, (make_history_row(name),), (name,))),
    ]


def make_history_row(name: str) -> HistoryRow:
    part = RunPart(57, name, "failed", name, title=name)
    row = HistoryRow(name, samples.TWO_AM, name, name, actor=Actor(name, name, name, name), reason=name)
    return replace(row, parts=(part,))


def make_document(name: str) -> dict[str, Any]:
    error = {"code": name, "message": name, "hint": name}
    return {"segments": [{"status": name, "name": name, name: name, "error": error}], "summary": {name: name}}


def outside_code(written: str) -> str:
    """What is not in a code span; a span holds plain characters only."""
    for span in re.findall(r"(?<!\\)`([^`\n]*)`", written):
        assert not re.search(r"[<>@|\[\]#&\\]", span)
    return re.sub(r"(?<!\\)`[^`\n]*`", "", written)


def check_harmless(written: str) -> None:
    marker, _, document = written.partition("\n")
    assert re.fullmatch(r"<!-- reconcile [a-z]+ -->", marker)
    rest = OWN_LINK.sub("", outside_code(document))
    assert "<" not in rest
    assert not re.search(r"@\w", rest)
    assert not re.search(r"(?<!\\)(?:\\\\)*[\[\]]", rest)
    assert not re.search(r"://", rest)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", written)
    tables = [line for line in written.splitlines() if line.startswith("| ")]
    assert all(line.endswith(" |") for line in tables)
    assert len(written.encode()) < markdown.MAX_BYTES


def count_cells(line: str) -> int:
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1


@pytest.mark.parametrize(
    "written", write_all(HOSTILE), ids=["plan", "run", "drift", "status", "refresh", "past run", "history"]
)
def test_hostile_names_are_words_and_nothing_more(written: str) -> None:
    check_harmless(written)
    assert "script" in written


@settings(deadline=None, max_examples=40)
@given(st.text(alphabet=st.characters() | st.sampled_from("<>|`@[]#&\\\n$*_~/:."), max_size=60))
def test_any_name_is_words_and_nothing_more(name: str) -> None:
    for written in write_all(name):
        check_harmless(written)
        tables = re.findall(r"(?:^\|.*\n)+", written, flags=re.MULTILINE)
        for table in tables:
            assert len({count_cells(line) for line in table.splitlines()}) == 1


@pytest.mark.parametrize(
    "make", [samples.make_blocked, samples.make_failed_alone, samples.make_first_fill, samples.make_plan]
)
@pytest.mark.parametrize("name", ["n" * 300, "😀" * 300, "<&$" * 100, "short"])
@pytest.mark.slow
def test_it_is_under_60_kb_however_many_segments(make, name: str) -> None:
    plans = [make(f"{name}{place}", place) for place in range(800)]

    written = write(*plans, warnings=[name * 20] * 500)

    assert len(written.encode()) < 60_000
    assert re.search(r"… and [\d,]+ more segments", written)


def test_a_run_of_many_failures_is_under_60_kb() -> None:
    problem = Problem("x", "m<" * 3000, "h" * 3000)
    runs = [samples.run_of(samples.make_failed(f"f{n}", n), RunStatus.FAILED, error=problem) for n in range(300)]
    assert len(write_result(samples.make_run(*runs)).encode()) < 60_000


def test_of_too_many_segments_the_blocked_and_failed_are_shown_first() -> None:
    written = write(*samples.many(1000, samples.make_plan), samples.make_failed(), samples.make_blocked())
    rows = [line for line in written.splitlines() if line.startswith("| ")]
    assert "churn_risk" in rows[2]
    assert "broken" in rows[3]


def test_a_shared_name_is_flagged_with_its_workspace() -> None:
    both = [samples.make_blocked(workspace=name, path=f"{name}.yaml") for name in ("production", "staging")]
    assert "`--allow-removals staging/churn_risk`" in write(*both)


# --- several workspaces --------------------------------------------------------------------------------------------


def test_two_segments_of_one_name_are_told_apart_by_their_workspace() -> None:
    one, two = samples.make_plan(workspace="eu"), samples.make_plan(workspace="us")
    failed = samples.make_failed(name="vip_customers", workspace="us", path="other.yaml")
    found = write(one, two, failed)

    assert "| Workspace | Status | Segment |" in found
    assert "| eu | \\~ changes | vip_customers |" in found
    assert "| us | \\~ changes | vip_customers |" in found
    assert "**us/vip\\_customers** failed" in found or "**us/vip_customers** failed" in found


@pytest.mark.parametrize("kind", ["run", "drift", "refresh", "status"])
def test_every_table_of_segments_says_the_workspace_where_there_are_several(kind: str) -> None:
    plans = [samples.make_plan(workspace=name) for name in ("eu", "us")]
    targets = [plan.target for plan in plans]
    error = Problem("state", "no disk")
    documents = {
        "run": lambda: write_result(samples.make_run(*map(samples.run_of, plans))),
        "drift": lambda: write_result(
            Drift(samples.TWO_AM, tuple(SegmentDrift(each, DriftStatus.FAILED, error=error) for each in targets))
        ),
        "refresh": lambda: write_result(
            Refresh("r", samples.TWO_AM, tuple(RefreshRow(each, RefreshStatus.FAILED, error=error) for each in targets))
        ),
        "status": lambda: write_result(
            Status(samples.TWO_AM, tuple(StatusRow(each, known=False, error=error) for each in targets), ())
        ),
    }
    found = documents[kind]()
    assert "| Workspace |" in found
    assert "| eu |" in found
    assert "| us |" in found
    if kind != "run":
        assert "us/vip" in found


def test_one_workspace_stands_above_the_table_and_not_in_it() -> None:
    assert "| Workspace |" not in write(samples.make_plan(), samples.make_unchanged())


def test_a_plan_says_of_each_segment_how_many_people_enter_and_leave() -> None:
    counts = Counts(desired=4, stored=5000, add=1200, remove=1, held=5000)
    uses = UsedBy(campaigns=(4, 7), names=((4, "Welcome *back*"),))
    remote = RemoteFacts("VIP", used_by=uses)
    plan = samples.make_plan(counts=counts, description="Over *1,000*", owner="ana@x.io", remote=remote)

    written = markdown.write(Plan(samples.TWO_AM, (plan,)), Options())

    assert (
        "1,200 people will enter, 1 person will leave. This can start the campaigns “Welcome \\*back\\*”, 7. "
        "Over \\*1,000\\*. Owner: ana@\u200bx.io."
    ) in written
    assert written.count("ana@") == 1, "the notes do not say it again"


def test_a_plan_links_to_its_segments_in_the_region_of_the_workspace() -> None:
    plan = samples.make_plan()
    destination = plan.target.spec.destination.model_copy(update={"region": Region.EU})
    spec = plan.target.spec.model_copy(update={"destination": destination})

    written = write(replace(plan, target=Target(spec, plan.target.segment)))

    assert "[segment 56](https://fly-eu.customer.io/workspaces/12345/journeys/segments/56)" in written
    assert "fly" not in write(replace(plan, head=Head())), "of no known workspace"


def test_many_segments_that_nobody_enters_or_leaves_share_a_sentence() -> None:
    written = write(*samples.many(21, samples.make_unchanged), samples.make_plan())
    assert written.count("nobody enters or leaves") == 1
    assert "- 21 other segments: nobody enters or leaves." in written
