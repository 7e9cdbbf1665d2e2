"""`report`: what the state and its history say of the segments of some specs, for one page. Changes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from reconciler.errors import DECLINED, StateError
from reconciler.models.history import HistoryRow
from reconciler.models.overview import Failure, GuardReach, Overview, Point, ReadBack, SegmentPast, measure_share
from reconciler.models.results import RunStatus
from reconciler.models.spec import StateSettings
from reconciler.operations.history import read_since
from reconciler.operations.load import Loaded, list_targets
from reconciler.operations.status import status
from reconciler.state import open_records

if TYPE_CHECKING:
    from reconciler.state.history import Records

MOST_RUNS = 2_000
"""Of a workspace: the newest ones."""

MOST_ROWS = 30_000
"""Segments in the documents that are read of a workspace: more than a small team has, and a second's work."""

NEWEST = 10
"""Runs of which the documents are read first, whatever their size."""

MOST_MESSAGES = 3

_NOT_DONE = (RunStatus.FAILED, RunStatus.PARTIAL, RunStatus.BLOCKED, RunStatus.STALE, RunStatus.LOCKED)

Values = Mapping[str, Any]


@dataclass
class _Past:
    """What is found of one segment. `stored`: by run what its document says was stored before it sent anything."""

    points: list[Point] = field(default_factory=list)
    stored: dict[int, int] = field(default_factory=dict)
    latest: dict[str, GuardReach] = field(default_factory=dict)
    nearest: dict[str, GuardReach] = field(default_factory=dict)
    read_back: ReadBack | None = None


class _Found(NamedTuple):
    """A run, and where it was found. `pasts`: the segments of its place by their numbers."""

    records: "Records"
    pasts: dict[int, _Past]
    run: HistoryRow


def report(loaded: Loaded, *, since: str | datetime | None = None) -> Overview:
    """Read what the state holds of every selected segment, and what past runs did to it. Raises UsageError.

    `since`: as of `history`. A state that can't be read is an error of its segments.
    """
    now = datetime.now(UTC)
    begin = 0.0 if since is None else read_since(since, now).timestamp()
    known = status(loaded)
    pasts = [_Past() for _ in known.segments]
    places: dict[tuple[StateSettings, str], dict[int, _Past]] = {}
    for spec in loaded.specs:
        places.setdefault((spec.state, spec.destination.workspace), {})
    for row, past in zip(known.segments, pasts, strict=True):
        if row.target.segment.segment_id is not None:
            places[row.target.spec.state, row.target.workspace][row.target.segment_id] = past

    warnings = list(known.warnings)
    found: list[_Found] = []
    for (state, workspace), by_number in places.items():
        try:
            records = open_records(state)
            runs = records.runs(workspace, MOST_RUNS + 1, since=begin)
        except StateError as error:
            warnings.append(f"the history of workspace {workspace} can't be read: {error.message}")
            continue
        if len(runs) > MOST_RUNS:
            warnings.append(f"workspace {workspace} has more runs than the {MOST_RUNS:,} newest, which are shown")
        found += [_Found(records, by_number, run) for run in runs[:MOST_RUNS]]
    found.sort(key=lambda each: each.run.started_at, reverse=True)
    if loaded.targets != list_targets(loaded.specs):
        found = [each for each in map(_select, found) if each.run.parts]

    failures: dict[tuple[str, str], Failure] = {}
    read = 0
    for place, document in _read_documents(found):
        read += 1
        for values in document["segments"]:
            one = found[place].pasts.get(values["segment_id"])
            if one is not None and values["workspace"] == found[place].run.workspace:
                _take_values(one, failures, place, values)
    for place in reversed(range(len(found))):
        by_number = found[place].pasts
        for part in found[place].run.parts:
            if (one := by_number.get(part.segment_id)) is None:
                continue
            before = one.stored.get(place, one.points[-1].members if one.points else None)
            members = None if before is None else before + part.added - part.removed
            one.points.append(Point(place, part.status, part.code, part.added, part.removed, members))
            if part.status in _NOT_DONE and part.code != DECLINED:
                failure = _find_failure(failures, part.status, part.code or part.status)
                failure.times, failure.last_run = failure.times + 1, place
                failure.names.add(part.name)
    segments = tuple(
        SegmentPast(row, one.points, tuple(one.latest.values()), tuple(one.nearest.values()), one.read_back)
        for row, one in zip(known.segments, pasts, strict=True)
    )
    return Overview(
        now,
        tuple(dict.fromkeys(str(spec.path) for spec in loaded.specs)),
        segments,
        tuple(each.run for each in found),
        sorted((each for each in failures.values() if each.times), key=lambda each: (each.last_run, -each.times)),
        known.orphans,
        warnings,
        read,
    )


def _select(found: "_Found") -> "_Found":
    """Give a run with the selected segments alone."""
    parts = tuple(part for part in found.run.parts if part.segment_id in found.pasts)
    added, removed = sum(part.added for part in parts), sum(part.removed for part in parts)
    run = replace(found.run, parts=parts, segments=len(parts), added=added, removed=removed)
    return _Found(found.records, found.pasts, run)


def _read_documents(found: Sequence["_Found"]) -> Iterator[tuple[int, Values]]:
    """Read the documents of runs, each with the place of its run: of all of them, if they are not too large, else of
    the newest ones, of every refresh, and of some of the others in even steps. What a later version wrote is left out.
    """
    ended = [place for place, each in enumerate(found) if each.run.is_over]
    step = max(-(-sum(len(found[place].run.parts) for place in ended) // MOST_ROWS), 1)
    chosen: dict[tuple[int, str], dict[str, int]] = {}
    for at, place in enumerate(ended):
        run = found[place].run
        if at < NEWEST or at % step == 0 or run.command == "refresh":
            chosen.setdefault((id(found[place].records), run.workspace), {})[run.run_id] = place
    for (_, workspace), by_id in chosen.items():
        records = found[next(iter(by_id.values()))].records
        for run_id, text in records.documents(workspace, list(by_id)):
            try:
                document = orjson.loads(text)
                is_known = document["kind"] in ("run", "refresh") and isinstance(document["segments"], list)
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue
            if is_known:
                yield by_id[run_id], document


def _take_values(one: _Past, failures: dict[tuple[str, str], Failure], place: int, values: Values) -> None:
    """Take what the document of a run says of a segment. The documents come in any order."""
    is_refresh, stored, unmatched = "adopted" in values, values["stored"], values["unmatched"]
    if stored is not None:
        one.stored[place] = stored
    was_read = is_refresh and values["error"] is None
    if was_read or values.get("confirmed") is not None or values.get("unkeyed") is not None:
        strangers = values.get("strangers") if is_refresh else values.get("strays")
        lingering = values.get("lingering") if is_refresh else values["unsettled"]
        read_back = ReadBack(place, values.get("confirmed"), unmatched, strangers, lingering)
        if one.read_back is None or place < one.read_back.run:
            one.read_back = read_back
    guards = values.get("guards") or ()
    for guard in guards:
        name = guard["name"]
        share = measure_share(name, guard["limit"], guard["actual"])
        latest, nearest = one.latest.get(name), one.nearest.get(name)
        is_latest = latest is None or place < latest.run
        is_nearest = share is not None and (nearest is None or share > (nearest.share or 0))
        if is_latest or is_nearest:
            found = guard["limit"], guard["actual"], guard["breached"], guard["allowed"]
            reach = GuardReach(name, *found, share, place)
            one.latest |= {name: reach} if is_latest else {}
            one.nearest |= {name: reach} if is_nearest else {}
    error = values["error"]
    if error is not None and error["code"] == DECLINED:
        return
    stopped = [guard for guard in guards if guard["breached"] and not guard["allowed"]]
    if error is not None or stopped:
        code = values["status"] if error is None else error["code"]
        failure = _find_failure(failures, values["status"], code)
        messages = [] if error is None else [error["message"].removeprefix(f"{values['spec']}: ")]
        messages += [f"{guard['name']}: {guard['actual']}, and the limit is {guard['limit']}" for guard in stopped]
        failure.hint = failure.hint or (error or {}).get("hint", "")
        for message in messages:
            if message not in failure.messages and len(failure.messages) < MOST_MESSAGES:
                failure.messages.append(message)


def _find_failure(failures: dict[tuple[str, str], Failure], status: str, code: str) -> Failure:
    return failures.setdefault((status, code), Failure(status, code))
