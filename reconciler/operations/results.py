"""What the operations give back: frozen values that renderers print, with an exit code and a JSON document."""

from dataclasses import dataclass
from typing import Any, cast

from reconciler.errors import ExitCode
from reconciler.models.drift import Drift
from reconciler.models.exit_codes import exit_code_of_drift, exit_code_of_plan, exit_code_of_refresh, exit_code_of_run
from reconciler.models.plan import Plan
from reconciler.models.results import History, Refresh, Result, RunRecord, Status
from reconciler.models.run import Run
from reconciler.render import json


class WithDocument:
    """What all results have."""

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON document, as `--format json` prints it."""
        return json.document(cast(Result, self))


@dataclass(frozen=True)
class PlanResult(Plan, WithDocument):
    """What `plan` found. `detailed_exitcode`: changes end with 2."""

    detailed_exitcode: bool = False

    @property
    def exit_code(self) -> int:
        return exit_code_of_plan(self, self.detailed_exitcode)


@dataclass(frozen=True)
class RunResult(Run, WithDocument):
    """What `apply` sent, and what became of it."""

    @property
    def exit_code(self) -> int:
        return exit_code_of_run(self)


@dataclass(frozen=True)
class DriftResult(Drift, WithDocument):
    """What `drift` found."""

    @property
    def exit_code(self) -> int:
        return exit_code_of_drift(self)


@dataclass(frozen=True)
class RefreshResult(Refresh, WithDocument):
    """What `refresh` took over."""

    @property
    def exit_code(self) -> int:
        return exit_code_of_refresh(self)


@dataclass(frozen=True)
class StatusResult(Status, WithDocument):
    """What the state holds."""

    @property
    def exit_code(self) -> int:
        return ExitCode.FAILED if any(row.error for row in self.segments) else ExitCode.DONE


@dataclass(frozen=True)
class HistoryResult(History, WithDocument):
    """Past runs, newest first."""

    exit_code = ExitCode.DONE


@dataclass(frozen=True)
class PastRun(RunRecord, WithDocument):
    """One past run in full: the document that it left, with what the history knows of it."""

    exit_code = ExitCode.DONE
