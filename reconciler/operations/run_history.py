"""Writing a run that changes something into the history: where it begins, and where it ends."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from reconciler.errors import ReconcileError
from reconciler.models.plan import Examples
from reconciler.operations.results import RefreshResult, RunResult
from reconciler.render import json_documents

if TYPE_CHECKING:
    from reconciler.state.store import StateStore

Ended = TypeVar("Ended", RunResult, RefreshResult)


@dataclass(frozen=True)
class RunHistory:
    """One run in the history: it has a row in each state that it works with, for each of its workspaces there."""

    run_id: str
    command: str
    flags: Sequence[str]
    plan_id: str | None = None
    _places: dict[tuple["StateStore", str], bool] = field(default_factory=dict)
    """The states and workspaces where it was to begin, and whether it did."""

    def begin(self, store: "StateStore", workspace: str) -> None:
        """Begin the run in a state, unless it has begun there. Raises StateError."""
        place = store, workspace
        if not self._places.get(place):
            self._places[place] = False
            store.begin(self.run_id, workspace, self.command, self.flags, self.plan_id)
            self._places[place] = True

    def end(self, result: Ended, *, spends_plan: bool = False) -> Ended:
        """End the run in each state, with its document; where that fails, the result has one more warning.

        Everything of the run is known and recorded when this returns: what is to follow a run, such as a notification,
        goes to the end of this function.
        """
        segments = result.segments if isinstance(result, RunResult) else ()
        kept = result
        if isinstance(kept, RunResult):  # the example ids of `--show-ids` do not go into the history
            without_ids = (replace(each, plan=replace(each.plan, examples=Examples())) for each in kept.segments)
            kept = replace(kept, segments=tuple(without_ids))
        document = json_documents.write_json(json_documents.document(kept))
        warnings: list[str] = []
        for store, workspace in self._places:
            try:
                if spends_plan and self.plan_id is not None:
                    store.spend(self.plan_id)
                store.end(self.run_id, workspace, result.exit_code, document, segments)
            except ReconcileError as error:
                if all(each.error is None for each in result.segments):  # else the state may have failed a segment
                    warnings.append(f"this run can't be written into the history: {error.message}")
        return replace(result, warnings=(*result.warnings, *warnings))
