"""Keep the segments of a folder of specs equal to their queries, every night, from Airflow 3: a task for each segment.

A task fails, and is tried again, when its run could not do all of its work. A guard that stopped the segment fails it
for good: somebody has to look at the plan. When Airflow ends the task, the batches in flight are awaited and recorded,
and the next run goes on from there. What Airflow logs and keeps has numbers of members, and no ids.
"""

import glob
import logging
import os
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

import reconciler
from reconciler import ExitCode, ReconcileError
from reconciler.models.results import SegmentRun

SPECS = os.environ.get("SEGMENT_SPECS", "/opt/airflow/segments/*.yaml")

logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for each batch


class ApplySegmentOperator(BaseOperator):
    """Make one segment equal to its query. The task's result has what was done, in numbers."""

    def __init__(self, *, specs: str, segment: str, **options: Any) -> None:
        """Take the specs, and the segment as `workspace/name`."""
        super().__init__(**options)
        self.specs, self.segment = specs, segment
        self.stop: threading.Event | None = None

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: ARG002 (the history names DAG, task and run by itself)
        self.stop = threading.Event()
        try:
            loaded = reconciler.load(self.specs, select=glob.escape(self.segment))
            run = reconciler.apply(loaded, lock_timeout=600, stop=self.stop)
        except ReconcileError as error:  # nothing was begun, and a retry would meet it again
            raise AirflowFailException(f"{error.message} ({error.hint})") from None
        (done,) = run.segments
        if run.exit_code != ExitCode.DONE:
            failure = AirflowFailException if run.exit_code == ExitCode.BLOCKED else AirflowException
            raise failure(f"{self.segment}: {explain(done)}")
        numbers = {key: getattr(done.tally, key) for key in ("added", "removed", "resent")}
        return {"run": run.run_id, "status": str(done.status), "members": done.members, **numbers}

    def on_kill(self) -> None:
        """Start nothing new; what was sent is awaited and recorded."""
        if self.stop is not None:
            self.stop.set()


def explain(done: SegmentRun) -> str:
    """Say why the work on a segment was not done, without any id."""
    if guards := [f"guard {each.name}: {each.detail}" for each in done.plan.verdicts if each.blocks]:
        return "; ".join(guards)
    if done.error:
        return f"{done.error.message} ({done.error.hint})"
    return f"{done.tally.rejected} ids were rejected, and of {done.tally.unsettled} the outcome is unknown"


with DAG(
    "customerio_segments",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
) as dag:
    for target in reconciler.load(SPECS, offline=True).targets:  # secrets are needed when a task runs, not here
        ApplySegmentOperator(
            task_id=re.sub(r"[^\w.-]", "_", target.label.replace("/", "."), flags=re.ASCII),
            specs=SPECS,
            segment=target.label,
            doc_md=target.segment.description or None,
        )
