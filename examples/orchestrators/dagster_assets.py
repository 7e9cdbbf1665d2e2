"""Keep the segments of a folder of specs equal to their queries, every night, from Dagster: one asset for each segment.

An asset fails, and is tried again, when its run could not do all of its work. A guard that stopped the segment fails it
for good: somebody has to look at the plan. When Dagster interrupts it, the batches in flight are awaited and recorded,
and the next attempt goes on from there. What Dagster logs and keeps has numbers of members, and no ids.
"""

import glob
import logging
import os
import re

import dagster as dg

import reconciler
from reconciler import ExitCode, ReconcileError
from reconciler.models.results import SegmentRun

SPECS = os.environ.get("SEGMENT_SPECS", "segments/*.yaml")

logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for each batch


def make_asset(specs: str, workspace: str, name: str, description: str, owner: str) -> dg.AssetsDefinition:
    """Give the asset of a segment; when it is materialized, the segment is applied."""

    @dg.asset(
        key=["customerio", *(re.sub(r"\W", "_", part, flags=re.ASCII) for part in (workspace, name))],
        description=description or None,
        metadata={"owner": owner},
        kinds={"customerio"},
        retry_policy=dg.RetryPolicy(max_retries=3, delay=600),
    )
    def segment(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        try:
            loaded = reconciler.load(specs, select=glob.escape(f"{workspace}/{name}"))
            run = reconciler.apply(loaded, lock_timeout=600, reason=f"Dagster run {context.run.run_id}")
        except ReconcileError as error:  # nothing was begun, and a retry would meet it again
            raise dg.Failure(f"{error.message} ({error.hint})", allow_retries=False) from None
        (done,) = run.segments
        numbers = {key: getattr(done.tally, key) for key in ("added", "removed", "resent", "rejected", "unsettled")}
        if run.exit_code != ExitCode.DONE:
            is_blocked = run.exit_code == ExitCode.BLOCKED
            raise dg.Failure(f"{workspace}/{name}: {explain(done)}", metadata=numbers, allow_retries=not is_blocked)
        return dg.MaterializeResult(
            metadata={"members": done.members, "status": str(done.status), **numbers, "run": run.run_id}
        )

    return segment


def explain(done: SegmentRun) -> str:
    """Say why the work on a segment was not done, without any id."""
    if guards := [f"guard {each.name}: {each.detail}" for each in done.plan.verdicts if each.blocks]:
        return "; ".join(guards)
    if done.error:
        return f"{done.error.message} ({done.error.hint})"
    return f"{done.tally.rejected} ids were rejected, and of {done.tally.unsettled} the outcome is unknown"


def make_assets(specs: str) -> list[dg.AssetsDefinition]:
    """Give an asset for each segment of the specs. Secrets are needed when it is materialized, not here."""
    targets = reconciler.load(specs, offline=True).targets
    return [
        make_asset(specs, each.workspace, each.segment.name, each.segment.description, each.segment.owner)
        for each in targets
    ]


defs = dg.Definitions(
    assets=make_assets(SPECS),
    schedules=[
        dg.ScheduleDefinition(
            name="every_night", target=dg.AssetSelection.key_prefixes("customerio"), cron_schedule="0 2 * * *"
        )
    ],
)
