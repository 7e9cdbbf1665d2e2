"""Keep the segments of a folder of specs equal to their queries, every night, from Airflow.

The task fails, and is retried, when a run could not do all of its work. A guard that stopped a segment fails it for
good: somebody has to look at the plan. When Airflow ends the task (SIGTERM raises an exception in it), the batches in
flight are awaited and recorded, and the next run goes on from there.
"""

import logging
from datetime import UTC, datetime, timedelta

import reconciler
from reconciler import Event, ExitCode

log = logging.getLogger(__name__)

SPECS = "/opt/airflow/segments/*.yaml"


class NeedsReview(Exception):
    """A retry would meet the same guard."""


def apply_segments(specs: str = SPECS, select: tuple[str, ...] = ()) -> dict[str, object]:
    """Apply the specs. The JSON document that it returns is kept by Airflow as the task's result; it has no ids."""
    run = reconciler.apply(reconciler.load(specs, select=select), lock_timeout=600, progress=log_event)
    for segment in run.segments:
        if segment.error:
            log.error("%s: %s (%s)", segment.target.label, segment.error.message, segment.error.hint)
    if run.exit_code == ExitCode.BLOCKED:
        raise NeedsReview("a guard stopped a segment; see `reconcile plan`")
    if run.exit_code != ExitCode.DONE:
        raise RuntimeError(f"the run ended with {run.exit_code}; what is left is sent by the next one")
    return run.to_dict()


def log_event(event: Event) -> None:
    log.info("%s", type(event).__name__)


try:
    from airflow.decorators import dag, task
    from airflow.exceptions import AirflowFailException
except ImportError:  # read by a test, or by somebody without Airflow
    pass
else:

    @dag(schedule="0 2 * * *", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, max_active_runs=1)
    def customerio_segments() -> None:
        @task(retries=3, retry_delay=timedelta(minutes=10))
        def apply() -> dict[str, object]:
            try:
                return apply_segments()
            except NeedsReview as error:
                raise AirflowFailException(str(error)) from error  # no retry

        apply()

    customerio_segments()
