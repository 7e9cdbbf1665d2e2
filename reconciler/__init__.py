"""Make Customer.io manual segments equal to SQL queries. The functions here are the commands; see docs/python.md.

Importing this loads nothing: each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.errors import ExitCode, ReconcileError
    from reconciler.models.events import Event
    from reconciler.operations.apply import apply
    from reconciler.operations.drift import drift
    from reconciler.operations.history import history
    from reconciler.operations.load import Loaded, load
    from reconciler.operations.plan import plan
    from reconciler.operations.refresh import refresh
    from reconciler.operations.results import (
        DriftResult,
        HistoryResult,
        PastRun,
        PlanResult,
        RefreshResult,
        RunResult,
        StatusResult,
        TraceResult,
    )
    from reconciler.operations.status import status
    from reconciler.operations.trace import trace
    from reconciler.operations.undo import undo

__version__ = "0.1.0"

__all__ = [
    "DriftResult",
    "Event",
    "ExitCode",
    "HistoryResult",
    "Loaded",
    "PastRun",
    "PlanResult",
    "ReconcileError",
    "RefreshResult",
    "RunResult",
    "StatusResult",
    "TraceResult",
    "__version__",
    "apply",
    "drift",
    "history",
    "load",
    "plan",
    "refresh",
    "status",
    "trace",
    "undo",
]

_MODULES = {
    **{
        name: f"reconciler.operations.{name}"
        for name in ("apply", "drift", "history", "load", "plan", "refresh", "status", "trace", "undo")
    },
    "Loaded": "reconciler.operations.load",
    "Event": "reconciler.models.events",
    "ExitCode": "reconciler.errors",
    "ReconcileError": "reconciler.errors",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_MODULES.get(name, "reconciler.operations.results")), name)
    globals()[name] = found
    return found
