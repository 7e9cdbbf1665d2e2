"""What a notification says: never more than Slack takes, and nothing that Slack would obey."""

import json
import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.models.fields import OCCASIONS
from reconciler.models.plan import Cause, Problem
from reconciler.models.results import DriftStatus, Notification, RefreshStatus, Run, RunStatus, SegmentRun, Tally, Told
from reconciler.models.spec import NotifyFormat
from reconciler.render.notification import write
from tests.fakes import samples

RUN_ID = "0123456789abcdef"


def make(*told: Told, job: str | None = None) -> Notification:
    run = Run(RUN_ID, samples.TWO_AM, tuple(each.row for each in told))  # type: ignore[arg-type]
    return Notification("apply", run, 1, job, told)


def fail(name: str, message: str, **more: str) -> SegmentRun:
    problem = Problem("source", f"x.yaml:3: {message}", "look at it", Cause("source", message, "look at it"))
    return SegmentRun(samples.make_plan(name, **more), RunStatus.FAILED, error=problem)


def blocked() -> SegmentRun:
    return SegmentRun(samples.make_blocked(owner="crm@example.com"), RunStatus.BLOCKED)


def texts(notification: Notification) -> list[str]:
    message = json.loads(write(notification, NotifyFormat.SLACK))
    assert len(message["blocks"]) <= 50
    return [block["text"]["text"] for block in message["blocks"]]


def test_every_status_of_what_tells_can_be_listed_in_when() -> None:
    statuses = {*map(str, RunStatus), *map(str, DriftStatus), *map(str, RefreshStatus)}
    assert set(OCCASIONS) == statuses


def test_a_message_reads_as_a_person_would_say_it() -> None:
    back = SegmentRun(samples.make_unchanged(), RunStatus.UNCHANGED, Tally())
    job = "https://ci.example/job?a=1&b=2"
    told = (Told(back, "failed"), Told(blocked(), "applied"), Told(fail("vip_customers", "no table")))
    assert texts(make(*told, job=job)) == [
        "*reconcile apply*, workspace production: 1 blocked, 1 failed and 1 back to normal",
        "• *vip_customers*: failed\nx.yaml:3: no table\nNext: look at it",
        "• *churn_risk*: blocked (before: applied)\nOwner: crm@example.com\n"
        "max_removals: 1,500 removals of 2,000 members; the limit is 25%\n"
        "min_members: the query returned 500 members; at least 1,000 are required\n"
        "must_include: of 1 sentinel ids, 1 not in the query's result",
        "• *loyal*: unchanged (before: failed)",
        "Run 01234567 · <https://ci.example/job?a=1&amp;b=2|the job>",
    ]


def test_one_cause_is_told_once_and_the_rest_is_counted() -> None:
    same = [Told(fail(f"same_{at}", "no table")) for at in range(300)]
    others = [Told(fail(f"other_{at}", f"no table {at}")) for at in range(300)]
    found = texts(make(*same, *others))
    assert "• *300 segments*: failed\nsame_0, same_1" in found[1]
    assert "and 290 more" in found[1]
    assert found[-2:] == ["… and 281 more", "Run 01234567"]


def test_a_sign_of_life_counts_what_is_well() -> None:
    applied = SegmentRun(samples.make_plan(), RunStatus.APPLIED, Tally(added=20, removed=10))
    well = [Told(applied, "applied", is_news=False)] * 3
    assert texts(make(*well))[0] == "*reconcile apply*, workspace production: 3 applied; 60 entered, 30 left"
    assert len(texts(make(*well))) == 2


def test_the_document_has_no_examples_of_ids() -> None:
    plan = samples.make_blocked()
    with_ids = replace(plan, examples=replace(plan.examples, add=("id-of-ann",), remove=("id-of-bob",)))
    body = write(make(Told(SegmentRun(with_ids, RunStatus.BLOCKED))), NotifyFormat.JSON)
    [segment] = json.loads(body)["segments"]
    assert [guard["name"] for guard in segment["guards"]] == ["max_removals", "min_members", "must_include"]
    assert b"id-of" not in body


@given(st.text(max_size=4000), st.text(max_size=4000), st.text(max_size=300))
def test_whatever_stands_in_a_text_is_text_in_slack(name: str, message: str, owner: str) -> None:
    told = Told(fail(f"<!channel>@here{name}", f"<https://evil|x>{message}", owner=f"@team {owner}"))
    for text in texts(make(told, job=f"javascript:{name}")):
        assert 0 < len(text) <= 3000
        assert not re.search("[<>]|&(?!amp;|lt;|gt;)|@here|@team", text)
