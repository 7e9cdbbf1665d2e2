"""`history`: the past runs, or one of them in full."""

from datetime import UTC, datetime
from typing import overload

from reconciler.errors import UsageError
from reconciler.operations.load import Loaded, refuse_plan_file
from reconciler.operations.results import HistoryResult, PastRun
from reconciler.state import open_records


@overload
def history(loaded: Loaded, run_id: None = None, *, limit: int = 20) -> HistoryResult: ...
@overload
def history(loaded: Loaded, run_id: str, *, limit: int = 20) -> PastRun: ...
def history(loaded: Loaded, run_id: str | None = None, *, limit: int = 20) -> HistoryResult | PastRun:
    """List the past runs, newest first; or give one of them in full. Raises UsageError, StateError."""
    refuse_plan_file(loaded, "history")
    if run_id is not None:
        states = dict.fromkeys(spec.state for spec in loaded.specs)
        found = next((record for state in states for record in open_records(state).run(run_id)), None)
        if found is None:
            raise UsageError(f"there is no run {run_id!r} in this state", "`reconcile history SPEC` lists them")
        return PastRun(found.row, found.tool_version, found.allowed, found.plan_id, found.document)
    places = {(spec.state, spec.destination.workspace) for spec in loaded.specs}
    runs = [row for state, workspace in places for row in open_records(state).runs(workspace, limit)]
    runs.sort(key=lambda row: row.started_at, reverse=True)
    return HistoryResult(datetime.now(UTC), tuple(runs[:limit]))
