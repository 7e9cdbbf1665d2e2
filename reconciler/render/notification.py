"""A notification as a message of Slack or as a JSON document. No member id is in either.

In Slack's texts `&`, `<` and `>` have a meaning (api.slack.com, "Formatting text for app surfaces"); other services
that take its messages notify what stands after an `@`.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from reconciler.escaping import clean, one_line
from reconciler.models.history import shorten
from reconciler.models.results import Drift, Notification, Run, SegmentDrift, SegmentRun, Told
from reconciler.models.spec import NotifyFormat, Target
from reconciler.render.causes import group, list_names, put_together
from reconciler.render.json_documents import document
from reconciler.render.sentences import BAD, count, join, list_numbers

BLOCK_CHARACTERS, MOST_ENTRIES, PIECE_CHARACTERS = 3000, 20, 500
"""Slack takes 3,000 characters in a block, and 50 blocks. A piece is a name or a sentence."""

_HEAD = ("format_version", "tool_version", "run_id", "created_at", "workspace", "reason")
_ROW = (
    *("workspace", "name", "segment_id", "title", "spec", "owner", "description", "tags", "status", "error"),
    *("stored", "added", "removed", "rejected", "unsettled", "unmatched", "remote", "missing", "foreign"),
)

TROUBLED = (*map(str, BAD), "drifted")
"""The statuses that somebody has to look at, the worst first."""

_AT = re.compile(r"(?<![A-Za-z0-9._%+-])@")
_LINK = re.compile(r"https?://[^\s|<>]{1,2000}")
_PART_OF_ENTITY = re.compile(r"&[a-z]*$")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def write(notification: Notification, output: NotifyFormat) -> bytes:
    """Write the body of the request that tells a webhook."""
    content = _make_message(notification) if output is NotifyFormat.SLACK else _make_document(notification)
    return json.dumps(content).encode()


def _make_document(notification: Notification) -> dict[str, Any]:
    """Give fields of the command's own document, those of the segments that are told of, and what they were before."""
    result = notification.result
    rows = document(replace(result, segments=tuple(each.row for each in notification.told)))["segments"]  # type: ignore[arg-type]
    segments = []
    for told, row in zip(notification.told, rows, strict=True):
        breaches = [guard for guard in row.get("guards", ()) if guard["breached"] and not guard["allowed"]]
        segments.append({name: row[name] for name in _ROW if name in row} | {"before": told.before, "guards": breaches})
    whole = document(result)
    about = {"kind": "notification", "command": notification.command, "exit_code": notification.exit_code}
    head = {name: whole.get(name) for name in _HEAD} | about | {"job": notification.job}
    return {**head, "segments": segments, "summary": whole["summary"]}


# --- Slack -------------------------------------------------------------------------------------------------------


def _make_message(notification: Notification) -> dict[str, Any]:
    """Give a message: a headline, an entry for each cause, and where to look; the worst comes first."""
    workspaces = sorted({each.target.workspace for each in notification.result.segments})
    name_of = attrgetter("segment.name" if len(workspaces) == 1 else "label")
    ranks = {status: rank for rank, status in enumerate(TROUBLED)}
    news = [each for each in notification.told if each.is_news]
    news.sort(key=lambda each: ranks.get(str(each.row.status), len(TROUBLED)))
    entries = [_write_entry(several, name_of) for several in group(news, _find_cause)]
    more = len(entries) - MOST_ENTRIES
    if more > 0:
        entries[MOST_ENTRIES:] = [f"… and {more:,} more"]
    place = f"workspace {workspaces[0]}" if len(workspaces) == 1 else count(len(workspaces), "workspace")
    texts = [_write_headline(notification, place), *entries, _write_places(notification)]
    blocks = [
        {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text), "verbatim": True}} for text in texts if text
    ]
    # Other services that take Slack's messages show `text` alone.
    return {"text": _cut("\n".join(filter(None, texts))), "blocks": blocks, "unfurl_links": False}


def _write_headline(notification: Notification, place: str) -> str:
    """`*reconcile apply*, workspace production: 1 blocked, 2 back to normal`."""
    back = sum(map(_is_back, notification.told))
    statuses = Counter(str(each.row.status) for each in notification.told if not _is_back(each))
    order = sorted(statuses, key=lambda each: (each not in TROUBLED, each))
    found = [f"{statuses[each]:,} {each.replace('_', ' ')}" for each in order]
    summary = join([*found, f"{back:,} back to normal"] if back else found)
    if isinstance(notification.result, Run):
        tallies = [each.tally for each in notification.result.segments]
        added, removed = sum(each.added for each in tallies), sum(each.removed for each in tallies)
        summary += f"; {added:,} entered, {removed:,} left" if added or removed else ""
    return f"*reconcile {notification.command}*, {_escape(place)}: {summary}"


def _write_entry(several: Sequence[Told], name_of: Callable[[Target], str]) -> str:
    """Write what became of a segment, or of several for one cause, and what to do."""
    first, targets = several[0], [each.row.target for each in several]
    row, problem = first.row, first.row.error
    owners = join(sorted({target.segment.owner for target in targets if target.segment.owner}))
    status = f"{row.status}".replace("_", " ") + (f" (before: {first.before})" if first.before else "")
    if len(several) == 1:
        title = f" “{_escape(row.title)}”" if row.title else ""
        lines = [f"• *{_escape(name_of(row.target))}*{title}: {status}"]
    else:
        lines = [f"• *{count(len(several), 'segment')}*: {status}"]
        lines.append(_escape(list_names([name_of(target) for target in targets]), 2 * PIECE_CHARACTERS))
        problem = put_together(problem, targets) if problem else None
    if owners:
        lines.append(f"Owner: {_escape(owners)}")
    if isinstance(row, SegmentRun):
        lines += [f"{each.name}: {_escape(each.detail)}" for each in row.plan.verdicts if each.blocks]
        lines.append(join(list_numbers((row.tally.rejected, "rejected"), (row.tally.unsettled, "unsettled"))))
    if isinstance(row, SegmentDrift) and row.counts is not None:
        lines.append(join(list_numbers((row.counts.missing, "missing"), (row.counts.foreign, "foreign"))))
    if problem is not None:
        lines += [_escape(problem.message), f"Next: {_escape(problem.hint)}" if problem.hint else ""]
    return "\n".join(filter(None, lines))


def _write_places(notification: Notification) -> str:
    """Write where to look: the run by the beginning of its id, and the job."""
    result, job = notification.result, notification.job
    places = [] if isinstance(result, Drift) else [f"Run {shorten(result.run_id)}"]
    if job and _LINK.fullmatch(job):
        places.append(f"<{job.replace('&', '&amp;')}|the job>")
    elif job:
        places.append(_escape(job))
    return " · ".join(places)


def _is_back(told: Told) -> bool:
    return told.before in TROUBLED and str(told.row.status) not in TROUBLED


def _find_cause(told: Told) -> tuple[object, ...] | None:
    """What an entry may share: a status without a cause, or the cause; None where it has numbers of its own."""
    row = told.row
    numbers = isinstance(row, SegmentDrift) and row.counts is not None
    if isinstance(row, SegmentRun):
        numbers = any(each.blocks for each in row.plan.verdicts) or bool(row.tally.rejected or row.tally.unsettled)
    return None if numbers else (row.status, told.before, row.error.cause if row.error else None)


def _escape(text: str, length: int = PIECE_CHARACTERS) -> str:
    """Give a foreign text as one line that mentions nobody and links nowhere."""
    shown = re.sub("[&<>]", lambda match: _ENTITIES[match[0]], one_line(clean(text), length))
    return _AT.sub("@\u200b", shown)


def _cut(text: str) -> str:
    """Shorten an escaped text to what a block takes."""
    return text if len(text) <= BLOCK_CHARACTERS else _PART_OF_ENTITY.sub("", text[: BLOCK_CHARACTERS - 1]) + "…"
