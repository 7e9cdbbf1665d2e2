"""The history of runs: `history` reads it; a run that changes something is written into it where it begins and ends."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar, overload

from reconciler.errors import ReconcileError, UsageError
from reconciler.models.fields import read_duration
from reconciler.models.history import LAST, LEAST_PREFIX, NOBODY, SHORT, Actor, HistoryRow, RunRecord, shorten
from reconciler.models.plan import Examples
from reconciler.models.spec import StateSettings
from reconciler.operations.load import (
    Loaded,
    refuse_less,
    refuse_plan_file,
    refuse_shared,
)
from reconciler.operations.notify import read_known, tell
from reconciler.operations.results import HistoryResult, PastRun, RefreshResult, RunResult
from reconciler.operations.titles import read_number, recall
from reconciler.render import json_documents
from reconciler.state import open_records, open_snapshot

if TYPE_CHECKING:
    from reconciler.state.history import Records
    from reconciler.state.store import StateStore

_LISTED = "`reconcile history SPEC` lists them"

_MOST_CANDIDATES = 5

Ended = TypeVar("Ended", RunResult, RefreshResult)


@overload
def history(
    loaded: Loaded,
    run_id: None = None,
    *,
    segment: str | None = None,
    since: str | datetime | None = None,
    limit: int = 20,
) -> HistoryResult: ...
@overload
def history(
    loaded: Loaded, run_id: str, *, segment: str | None = None, since: str | datetime | None = None, limit: int = 20
) -> PastRun: ...
def history(
    loaded: Loaded,
    run_id: str | None = None,
    *,
    segment: str | None = None,
    since: str | datetime | None = None,
    limit: int = 20,
) -> HistoryResult | PastRun:
    """List the past runs, newest first; or give one of them in full. Raises UsageError, StateError.

    `segment`: its name, or `id:56`: only runs that worked on it, and what they did to it. `since`: a number of seconds,
    minutes, hours or days (`30d`), or a date; without a zone it is UTC.
    """
    refuse_plan_file(loaded, "history")
    refuse_less(1, limit=limit)
    refuse_shared(loaded.specs)
    if run_id is not None:
        if segment is not None or since is not None:
            raise UsageError("one run is shown whole", "leave out the run, or `--segment` and `--since`")
        return PastRun(**vars(find_run(loaded, run_id)))
    begin = 0.0 if since is None else read_since(since, datetime.now(UTC)).timestamp()
    asked: list[tuple[Records, str, int | None]] = [(*place, None) for place in _list_places(loaded)]
    if segment is not None:
        asked = [(open_records(state), place, number) for state, place, number in _find_segment(loaded, segment)]
    runs = [
        row
        for records, workspace, segment_id in asked
        for row in records.runs(workspace, limit, segment_id=segment_id, since=begin)
    ]
    runs.sort(key=lambda row: row.started_at, reverse=True)
    return HistoryResult(datetime.now(UTC), tuple(runs[:limit]))


def find_run(loaded: Loaded, text: str) -> RunRecord:
    """Find a run of the named specs' workspaces by its id, by four or more characters with which it begins, or `last`.

    Raises UsageError where that names none, or several; StateError.
    """
    if text != LAST and len(text) < LEAST_PREFIX:
        raise UsageError(f"{text!r} is too short to name a run", f"give {LEAST_PREFIX} characters or more; {_LISTED}")
    prefix = "" if text == LAST else text
    found: dict[str, tuple[Records, HistoryRow]] = {}
    for records, workspace in _list_places(loaded):
        for row in records.runs(workspace, 1 if text == LAST else _MOST_CANDIDATES + 1, prefix=prefix):
            found.setdefault(row.run_id, (records, row))
    newest_first = sorted(found.values(), key=lambda each: each[1].started_at, reverse=True)
    if text in found or text == LAST:
        newest_first = [found[text]] if text in found else newest_first[:1]
    if not newest_first:
        message = "there is no run yet" if text == LAST else f"there is no run {text!r} in this state"
        raise UsageError(message, _LISTED, code="no_run")
    if len(newest_first) > 1:
        several = [row for _, row in newest_first[:_MOST_CANDIDATES]]
        length = SHORT if len({shorten(row.run_id) for row in several}) == len(several) else None
        listed = [f"{row.run_id[:length]} ({row.command}, {row.started_at:%Y-%m-%d %H:%M}Z)" for row in several]
        more = " and more" if len(newest_first) > len(several) else ""
        raise UsageError(f"{text!r} means several runs: {', '.join(listed)}{more}", "give more of its characters")
    records, row = newest_first[0]
    return records.run(row.run_id)[0]


def read_since(text: str | datetime, now: datetime) -> datetime:
    """Read how far back to go: `30d`, `2026-11-01`, `2026-11-01T02:00Z`. Raises UsageError.

    A length of time that goes back beyond the calendar is all of it.
    """
    if isinstance(text, datetime):
        return text if text.tzinfo else text.replace(tzinfo=UTC)
    with suppress(ValueError):
        length = read_duration(text).seconds
        try:
            return now - timedelta(seconds=float(length))
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)
    with suppress(ValueError, OverflowError):
        return read_since(datetime.fromisoformat(text.strip()), now)
    raise UsageError(
        f"since {text!r} is no length of time and no date",
        "give a number with s, m, h or d, such as 30d, or a date, such as 2026-11-01",
    )


def _find_segment(loaded: Loaded, name: str) -> list[tuple[StateSettings, str, int]]:
    """Find a segment in the specs: the state, workspace and number of each that has this name. Raises UsageError."""
    if (number := read_number(name)) is not None:
        return list(dict.fromkeys((spec.state, spec.destination.workspace, number) for spec in loaded.specs))
    found = []
    for target in loaded.targets:
        if name in (target.segment.name, target.label):
            if target.segment.segment is not None:
                target = recall(target, open_snapshot(target.spec.state).listings(target.workspace))
            found.append((target.spec.state, target.workspace, target.segment_id))
    if not found:
        hint = "`reconcile status SPEC` lists them; `id:56` names one by its number at Customer.io"
        raise UsageError(f"No segment is named {name!r}.", hint)
    return found


def _list_places(loaded: Loaded) -> list[tuple["Records", str]]:
    places = dict.fromkeys((spec.state, spec.destination.workspace) for spec in loaded.specs)
    return [(open_records(state), workspace) for state, workspace in places]


@dataclass(frozen=True)
class RunHistory:
    """One run in the history: it has a row in each state that it works with, for each of its workspaces there."""

    run_id: str
    command: str
    flags: Sequence[str]
    plan_id: str | None = None
    actor: Actor = NOBODY
    reason: str | None = None
    _places: dict[tuple["StateStore", str], bool] = field(default_factory=dict)
    """The states and workspaces where it was to begin, and whether it did."""

    def begin(self, store: "StateStore", workspace: str) -> None:
        """Begin the run in a state, unless it has begun there. Raises StateError."""
        place = store, workspace
        if not self._places.get(place):
            self._places[place] = False
            store.begin(
                *(self.run_id, workspace, self.command, self.flags, self.plan_id), actor=self.actor, reason=self.reason
            )
            self._places[place] = True

    def end(self, result: Ended, *, spends_plan: bool = False) -> Ended:
        """End the run in each state, with its document; where that fails, the result has one more warning.

        Then everything of the run is known and recorded, and the webhooks that the specs name are told.
        """
        result = replace(result, actor=self.actor, reason=self.reason)
        segments = result.segments
        kept = result
        if isinstance(kept, RunResult):  # the example ids of `--show-ids` do not go into the history
            without_ids = (replace(each, plan=replace(each.plan, examples=Examples())) for each in kept.segments)
            kept = replace(kept, segments=tuple(without_ids))
        document = json_documents.write_json(json_documents.document(kept))
        warnings: list[str] = []
        known = read_known(self._places, segments)
        for store, workspace in self._places:
            try:
                if spends_plan and self.plan_id is not None:
                    store.spend(self.plan_id)
                store.end(self.run_id, workspace, result.exit_code, document, segments)
            except ReconcileError as error:
                if all(each.error is None for each in result.segments):  # else the state may have failed a segment
                    warnings.append(f"this run can't be written into the history: {error.message}")
                continue
            try:
                store.prune(workspace, [each.target for each in segments])
            except ReconcileError as error:
                warnings.append(f"what is old can't be deleted from the state yet: {error.message}")
        return tell(self.command, replace(result, warnings=(*result.warnings, *warnings)), self.actor, known)
