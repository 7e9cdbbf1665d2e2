"""Sample plans, runs and drift."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from reconciler.models.batches import Direction
from reconciler.models.comparison import Counts, DriftCounts
from reconciler.models.fields import Limit, Secret
from reconciler.models.guards import judge
from reconciler.models.history import Actor, Reason, Trace, TraceEvent, TraceRow, TraceStatus
from reconciler.models.ids import IdType
from reconciler.models.plan import Head, Plan, PlanStatus, Problem, RemoteFacts, SegmentPlan, UsedBy
from reconciler.models.results import Drift, DriftStatus, Run, RunStatus, SegmentDrift, SegmentRun, Tally
from reconciler.models.spec import DestinationSettings, GuardSettings, Segment, Spec, StateSettings, Target

TWO_AM = datetime(2026, 11, 21, 2, tzinfo=UTC)
ANN = Actor("ann", "laptop", "0123abcd", "https://ci.example/j/1")
KNOWN = Head(lineage="abc", serial=7, id_type="id", completed=True, environment_id=12345)


def make_target(
    name="vip_customers", segment_id=56, workspace="production", path="specs/vip.yaml", without_app_key=False, **more
):
    segment = Segment.model_construct(
        name=name, segment_id=segment_id, query="SELECT 1", source="warehouse", line=12, **more
    )
    destination = DestinationSettings.model_construct(
        workspace=workspace, api_key=Secret("hush"), app_api_key=None if without_app_key else Secret("hush")
    )
    return Target(
        Spec(
            path=Path(path),
            sources={},
            destination=destination,
            state=StateSettings(url=Secret("sqlite:///x")),
            segments=(segment,),
        ),
        segment,
    )


def make_plan(name="vip_customers", segment_id=56, *, counts=None, head=KNOWN, remote=None, allowed=(), **more):
    target = make_target(name, segment_id, **more)
    found = counts or Counts(desired=1010, stored=1000, add=20, remove=10, unchanged=990, duplicates=3, held=1000)
    verdicts = judge(target.segment.guards, found, head.completed, frozenset(allowed))
    status = PlanStatus.CHANGES if found.is_changed else PlanStatus.UNCHANGED
    if any(verdict.blocks for verdict in verdicts):
        status = PlanStatus.BLOCKED
    return SegmentPlan(
        target, status, head, found, verdicts, remote=remote or RemoteFacts(), allowed=frozenset(allowed)
    )


def make_unchanged(name="loyal", segment_id=60, **more):
    return make_plan(name, segment_id, counts=Counts(desired=5000, stored=5000, unchanged=5000, held=5000), **more)


def make_blocked(name="churn_risk", segment_id=57, **more):
    guards = GuardSettings(max_removals=Limit(percent=Decimal(25)), min_members=1000, must_include=("sentinel",))
    counts = Counts(desired=500, stored=2000, remove=1500, unchanged=500, held=2000, missing_sentinels=1)
    return make_plan(name, segment_id, counts=counts, guards=guards, **more)


def make_failed(name="broken", segment_id=58, message="specs/vip.yaml:40: no such table: customers", **more):
    problem = Problem("source", message, "check the query")
    return SegmentPlan(make_target(name, segment_id, **more), PlanStatus.FAILED, error=problem)


def make_failed_alone(name, segment_id):
    return make_failed(name, segment_id, f"no such table: table_{segment_id}")


def make_first_fill(name="newcomers", segment_id=59, members=None, **more):
    counts = Counts(desired=1_234_567, add=1_234_567)
    return make_plan(name, segment_id, counts=counts, head=Head(), remote=RemoteFacts(members=members), **more)


USED = UsedBy(campaigns=(1, 2), draft_newsletters=(3,))


def make_everything():
    return Plan(
        TWO_AM,
        (
            make_plan(remote=RemoteFacts("VIP customers", 1000, USED)),
            make_blocked(),
            make_failed(),
            make_first_fill(),
            make_unchanged(),
        ),
        ("specs/vip.yaml: the names of the segments are not known: no answer",),
    )


def make_run(*segments, **more):
    return Run("run-1", TWO_AM, segments, **more)


def run_of(plan, status=RunStatus.APPLIED, tally=None, **more):
    return SegmentRun(plan, status, tally or Tally(), **more)


def make_applied(**more):
    tally = Tally(added=20, removed=10, requests=2, retries=1, seconds=1.25)
    return run_of(make_plan(), tally=tally, unmatched=0, **more)


def keep_figures(run: Run) -> Run:
    """A run with no more of what guards found than its document has."""

    def shorten(plan: SegmentPlan) -> SegmentPlan:
        short = [replace(each, detail=f"{each.actual}; the limit is {each.limit}") for each in plan.verdicts]
        return replace(plan, verdicts=tuple(short))

    return replace(run, segments=tuple(replace(each, plan=shorten(each.plan)) for each in run.segments))


def make_whole_run():
    partial = make_plan("lapsed", 61)
    return make_run(
        make_applied(confirmed=True),
        run_of(make_blocked(), RunStatus.BLOCKED, unmatched=0),
        run_of(make_failed(), RunStatus.FAILED, error=make_failed().error),
        run_of(make_unchanged(), RunStatus.UNCHANGED, unmatched=0),
        run_of(
            partial,
            RunStatus.PARTIAL,
            Tally(added=5, removed=10, rejected=2, unsettled=13, requests=4, retries=8, seconds=30),
            error=Problem("destination", "Customer.io does not answer", "run it again"),
            unmatched=4,
        ),
        run_of(make_failed("held", 62), RunStatus.LOCKED, error=Problem("locked", "locked by host a, pid 7", "wait")),
    )


def make_drift():
    counts = DriftCounts(stored=1000, remote=1003, missing=2, foreign=5, lingering=1, unkeyed=3)
    same = DriftCounts(stored=50, remote=50, missing=0, foreign=0, lingering=0, unkeyed=0)
    problem = Problem("destination", "401: the App API key is wrong", "check app_api_key")
    return Drift(
        TWO_AM,
        (
            SegmentDrift(make_target(), DriftStatus.DRIFTED, counts, "VIP customers"),
            SegmentDrift(make_target("loyal", 60), DriftStatus.IN_SYNC, same),
            SegmentDrift(make_target("broken", 58), DriftStatus.FAILED, error=problem),
        ),
    )


def many(number, make=make_unchanged):
    return tuple(make(f"segment_{place:03}", 1000 + place) for place in range(number))


def make_trace(*events, **more):
    rows = (
        TraceRow("production", "vip_customers", 56, IdType.ID, TraceStatus.STORED),
        TraceRow("production", "churn_risk", 57, IdType.EMAIL, TraceStatus.UNKNOWN),
    )
    entered = TraceEvent("production", "vip_customers", 56, "run-1", TWO_AM, Direction.ADD, Reason.QUERY)
    return Trace(TWO_AM, events or (entered,), **{"segments": rows, "kept": ("90d",), **more})
