"""Who is told what became of the segments: once per change of a status, of `drift` each time, or of every run."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from reconciler.errors import StateError
from reconciler.models.fields import Secret
from reconciler.models.history import Actor
from reconciler.models.results import Drift, Notification, RefreshRow, SegmentDrift, SegmentRun, Told
from reconciler.models.spec import NotifyFormat, StateSettings, Target
from reconciler.operations.results import DriftResult, RefreshResult, RunResult
from reconciler.render.notification import TROUBLED, write
from reconciler.render.sentences import is_declined

if TYPE_CHECKING:
    from reconciler.state.store import StateStore

log = logging.getLogger(__name__)

Known = Mapping[tuple[StateSettings, str], Mapping[int, str]]
"""By state and workspace, what became of the segments in the last run that ended: the statuses by number."""

Row = SegmentRun | SegmentDrift | RefreshRow
Result = TypeVar("Result", RunResult, RefreshResult, DriftResult)


def read_known(places: Iterable[tuple["StateStore", str]], rows: Sequence[Row]) -> Known:
    """Read what a run is compared with, before it is recorded. A state that can't be read says nothing."""
    asking = {(each.target.spec.state, each.target.workspace) for each in rows if each.target.spec.notify}
    known: dict[tuple[StateSettings, str], Mapping[int, str]] = {}
    for store, workspace in places:
        if store.settings is not None and (store.settings, workspace) in asking:
            try:
                known[store.settings, workspace] = store.statuses(workspace)
            except StateError:  # rather told twice than not at all
                log.debug("the last statuses of %s can't be read", workspace)
    return known


def tell(command: str, result: Result, actor: Actor, known: Known) -> Result:
    """Tell each webhook that the specs name; where one may not know, the result has one more warning. Raises nothing.

    The run is over and recorded, and no lock is held.
    """
    warnings: list[str]
    try:
        warnings = _tell(command, result, actor, known)
    except Exception as error:  # its text may hold the address of a webhook
        warnings = [f"nobody may have been told of this run: an unexpected {type(error).__name__}"]
    return replace(result, warnings=(*result.warnings, *warnings))


def _tell(command: str, result: RunResult | RefreshResult | DriftResult, actor: Actor, known: Known) -> list[str]:
    rows: Sequence[Row] = result.segments
    is_drift = isinstance(result, Drift)
    chosen: list[tuple[str, Secret, bytes]] = []
    for webhook, place in {webhook: place for row in rows for webhook, place in _list_webhooks(row.target)}.items():
        url, output, when = webhook
        own = [row for row in rows if webhook in dict(_list_webhooks(row.target))]
        told = [Told(row, None if is_drift else _find_before(row.target, known)) for row in own]
        if when is None:
            told = [replace(each, is_news=str(each.row.status) in TROUBLED or each.before in TROUBLED) for each in told]
        else:
            told = [each for each in told if _is_news(each, when, is_drift)]
        if told:
            part = replace(result, segments=tuple(own))  # type: ignore[arg-type]  # rows of this same result
            notification = Notification(command, part, result.exit_code, actor.job, tuple(told))
            chosen.append((place, url, write(notification, output)))
    if not chosen:
        return []
    from reconciler.operations.webhooks import post_all  # it loads httpx

    failures = post_all([(url, body) for _, url, body in chosen])
    return [
        f"{place}: the notification may not have arrived: {failure}"
        for (place, _, _), failure in zip(chosen, failures, strict=True)
        if failure is not None
    ]


def _list_webhooks(target: Target) -> list[tuple[tuple[Secret, NotifyFormat, tuple[str, ...] | None], str]]:
    """List the webhooks of a spec with their places; several specs may name one, as they extend one file."""
    return [((each.url, each.format, each.when), each.place) for each in target.spec.notify if each.url is not None]


def _find_before(target: Target, known: Known) -> str | None:
    """Find a segment's last status: one that was created since is in the history under the number of its title."""
    statuses = known.get((target.spec.state, target.workspace), {})
    untitled = target.changed(segment_id=None) if target.segment.segment is not None else target
    return statuses.get(target.segment_id) or statuses.get(untitled.segment_id)


def _is_news(told: Told, when: Collection[str], is_drift: bool) -> bool:
    """Tell whether a status is one to tell of: it has changed to one of `when`, or from one."""
    status = str(told.row.status)
    if is_drift:
        return status in when
    return not is_declined(told.row) and told.before != status and (status in when or told.before in when)
