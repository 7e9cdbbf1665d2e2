"""Writes a spec and a state that looks back on many nights: for the tests of `report` and its benchmark."""

import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml
from sqlalchemy import Connection, insert

from reconciler.models.comparison import Counts
from reconciler.models.guards import judge
from reconciler.models.plan import Head, PlanStatus, Problem, RemoteFacts, SegmentPlan
from reconciler.models.results import Run, RunStatus, SegmentRun, Tally
from reconciler.models.spec import Spec, Target
from reconciler.operations.results import RunResult
from reconciler.render import json_documents
from reconciler.spec import load
from reconciler.state import open_store, tables

DAY = 86_400
KNOWN = Head(lineage="a", serial=1, id_type="id", completed=True)
NO_TABLE = Problem("source", "the table `marts.churn` is not there", "correct the query, or wait for the table")
NO_ANSWER = Problem("destination", "Customer.io did not answer in time (timeout)", "run it again: it goes on")


@dataclass(frozen=True)
class Past:
    """One segment of the past: around how many members it had, how much that moved, and what else is said of it."""

    name: str
    members: int
    title: str = ""
    sway: float = 0.02
    owner: str = "crm@example.com"
    description: str = ""
    troubles: tuple[tuple[int, RunStatus], ...] = ()
    """Nights, counted from the last one (0), on which it was not done."""
    unmatched: int = 0
    more: str = ""
    """YAML lines of its entry, besides."""


SHOP = (
    Past("vip_customers", 12_480, "VIP customers", 0.012, description="Lifetime value over a thousand"),
    Past("churn_risk", 3_910, "Churn risk", 0.055, "retention@example.com", troubles=((0, RunStatus.BLOCKED),)),
    Past("newsletter_weekly", 48_200, "Weekly newsletter", 0.004, unmatched=212),
    Past("trial_day_3", 640, "Trial, day 3", 0.09, "growth@example.com"),
    Past("lapsed_90_days", 8_150, "Lapsed for 90 days", 0.02, troubles=((0, RunStatus.FAILED), (1, RunStatus.FAILED))),
    Past("cart_abandoned", 1_270, "Cart abandoned", 0.11, "growth@example.com", troubles=((9, RunStatus.PARTIAL),)),
    Past("birthday_this_month", 2_030, "Birthday this month", 0.13),
    Past("b2b_accounts", 930, "B2B accounts", 0.006, "sales@example.com", more="paused: true\n"),
)
"""A small shop, with some of all that can go wrong."""


def write_past(folder: Path, past: Sequence[Past], nights: int, *, ids: int = 3, seed: int = 7) -> Path:
    """Write `reconcile.yaml` with these segments and a state of so many nights, `ids` stored ids for each; give the
    path of the spec. The last night is the last one, so that what depends on the age of a run is as in life."""
    entries = {
        each.name: {
            "segment_id": 100 + place,
            "query": "SELECT 1",
            "owner": each.owner,
            "description": each.description,
            **(yaml.safe_load(each.more) or {}),
        }
        for place, each in enumerate(past)
    }
    path = folder / "reconcile.yaml"
    document = {
        "version": 1,
        "sources": {"warehouse": {"url": "sqlite:///none.db"}},
        "destination": {"workspace": "production", "site_id": "s", "api_key": "k"},
        "state": {"url": "sqlite:///state.db"},
        "segments": entries,
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    (spec,) = load([str(path)], {})
    with open_store(spec.state) as store, store.database.write() as connection:
        _write_nights(connection, spec, past, nights, ids, random.Random(seed))
    return path


def _write_nights(
    connection: Connection, spec: Spec, past: Sequence[Past], nights: int, ids: int, chance: random.Random
) -> None:
    last_night = time.time() - 4 * 3600
    members = {each.name: 0 for each in past}
    for night in range(nights):
        ago = nights - 1 - night
        at = last_night - ago * DAY
        run_id = f"{chance.getrandbits(64):016x}"
        rows = []
        for target, each in zip([Target(spec, segment) for segment in spec.segments], past, strict=True):
            wave = 1 + 0.12 * math.sin(night / 29 + len(each.name)) + 0.0006 * night
            desired = max(round(each.members * wave * (1 + chance.gauss(0, each.sway / 2))), 0)
            trouble = dict(each.troubles).get(ago)
            rows.append(_make_row(target, each, members[each.name], desired, trouble, chance))
            tally = rows[-1].tally
            members[each.name] += tally.added - tally.removed
        created = datetime.fromtimestamp(at, UTC)
        result = RunResult(run_id, created, tuple(rows), (), None, reason="backfill of May" if ago == 3 else None)
        _write_run(connection, spec.destination.workspace, at, chance.uniform(20, 140), result)
    for key, (segment, each) in enumerate(zip(spec.segments, past, strict=True), start=1):
        _write_segment(connection, spec, key, segment.segment_id or 0, each, run_id, at, members[each.name], ids)


def _make_row(
    target: Target, past: Past, stored: int, desired: int, trouble: RunStatus | None, chance: random.Random
) -> SegmentRun:
    churn = round(min(stored, desired) * past.sway * chance.uniform(0.2, 0.8))
    add, remove = max(desired - stored, 0) + churn, max(stored - desired, 0) + churn
    if trouble is RunStatus.BLOCKED:
        remove, add = round(stored * 0.41), 0
    if trouble is RunStatus.FAILED:
        return SegmentRun(SegmentPlan(target, PlanStatus.FAILED, error=NO_TABLE), RunStatus.FAILED, error=NO_TABLE)
    counts = Counts(
        desired=stored + add - remove, stored=stored, add=add, remove=remove, unchanged=stored - remove, held=stored
    )
    verdicts = judge(target.segment.guards, counts, completed=stored > 0, allowed=frozenset())
    plan = SegmentPlan(
        target, PlanStatus.CHANGES, KNOWN, counts, verdicts, remote=RemoteFacts(past.title or None, None)
    )
    if trouble is RunStatus.BLOCKED:
        return SegmentRun(plan, RunStatus.BLOCKED, unmatched=past.unmatched)
    if target.segment.paused and stored:
        return SegmentRun(plan, RunStatus.PAUSED, unmatched=past.unmatched)
    if trouble is RunStatus.PARTIAL:
        tally = Tally(add // 2, 0, 0, 0, 40, 3, 2, 30.0)
        return SegmentRun(plan, RunStatus.PARTIAL, tally, past.unmatched, NO_ANSWER)
    tally = Tally(add, remove, requests=2, seconds=chance.uniform(0.5, 3))
    confirmed = True if past.unmatched else None
    return SegmentRun(plan, RunStatus.APPLIED, tally, past.unmatched, confirmed=confirmed)


def _write_run(connection: Connection, workspace: str, at: float, took: float, result: RunResult) -> None:
    plain = Run(result.run_id, result.created_at, result.segments, reason=result.reason)
    connection.execute(
        insert(tables.RUNS),
        [
            {
                "run_id": result.run_id,
                "workspace": workspace,
                "command": "apply",
                "started_at": at,
                "ended_at": at + took,
                "exit_code": int(result.exit_code),
                "tool_version": "0.1.0",
                "allowed": json.dumps([]),
                "document": json_documents.write_json(json_documents.document(plain)),
                "actor_user": "scheduler",
                "actor_host": "jobs-1",
                "reason": result.reason,
            }
        ],
    )
    connection.execute(
        insert(tables.RUN_SEGMENTS),
        [
            {
                "run_id": result.run_id,
                "workspace": workspace,
                "segment_id": row.target.segment_id,
                "name": row.target.segment.name,
                "status": row.status.value,
                "added": row.tally.added,
                "removed": row.tally.removed,
                "rejected": row.tally.rejected,
                "unsettled": row.tally.unsettled,
                "code": row.error.code if row.error else None,
                "title": row.title,
                "ended_at": at + took,
            }
            for row in result.segments
        ],
    )


def _write_segment(
    connection: Connection,
    spec: Spec,
    key: int,
    segment_id: int,
    past: Past,
    run_id: str,
    at: float,
    members: int,
    ids: int,
) -> None:
    values = {
        "workspace": spec.destination.workspace,
        "segment_id": segment_id,
        "segment_key": key,
        "name": past.name,
        "id_type": "id",
        "lineage": f"l{key}",
        "serial": 1,
        "completed_at": at,
        "last_run_id": run_id,
        "last_run_at": at,
        "title": past.title or None,
        "spec": str(spec.path.resolve()),
        "confirmed_at": at if past.unmatched else None,
    }
    connection.execute(insert(tables.SEGMENTS), [values])
    number = min(members, ids)
    if number:
        connection.execute(
            insert(tables.MEMBERS), [{"segment_key": key, "id": f"secret-id-{key}-{each}"} for each in range(number)]
        )
