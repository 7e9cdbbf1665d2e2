"""Past runs in words: how each ended, what it did, who made it."""

from collections.abc import Iterable, Mapping, Sequence

from reconciler.errors import SIGNALLED, ExitCode
from reconciler.models.history import Actor, HistoryRow, RunPart, RunRecord, RunState, shorten
from reconciler.models.results import RefreshStatus, StatusRow
from reconciler.render.json_documents import write_time
from reconciler.render.sentences import BAD, count, join, list_numbers, quote

_RESULTS: Mapping[int, str] = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed",
    ExitCode.BLOCKED: "blocked",
    ExitCode.STALE: "stale",
    ExitCode.LOCKED: "locked",
    ExitCode.PARTIAL: "partly done",
}
_DECLINED = "declined"
_MOST_NAMES, _MOST_RUNS = 3, 3


def tell_result(row: HistoryRow) -> str:
    """`done`, `partly done (6)`, `killed`."""
    if row.status is not RunState.ENDED:
        return row.status.value
    if row.exit_code is None or row.exit_code == ExitCode.DONE:
        return "done"
    word = "stopped" if row.exit_code > SIGNALLED else _RESULTS.get(row.exit_code, "ended")
    return f"{word} ({row.exit_code})"


def tell_deeds(row: HistoryRow) -> str:
    """`failed (source): churn; 20 entered, 10 left in vip`."""
    moved = list_numbers((sum(part.added for part in row.parts), "entered"))
    moved += list_numbers((sum(part.removed for part in row.parts), "left"))
    clauses = _tell_troubles(row.parts) if row.is_over else []
    if moved:
        changed = [part for part in row.parts if part.added or part.removed]
        where = changed[0].name if len(changed) == 1 else count(len(changed), "segment")
        clauses.append(f"{'' if row.is_over else 'at least '}{', '.join(moved)} in {where}")
    taken_over = [part.name for part in row.parts if part.status == RefreshStatus.REFRESHED]
    if taken_over:
        clauses.append(f"taken over: {list_some(taken_over)}")
    if not row.is_over:
        known = [part.name for part in row.parts if not (part.added or part.removed)]
        clauses += [f"was at {list_some(known)}"] if known else []
        clauses = clauses or ["nothing is known to be sent"]
    clauses += list_numbers(
        (sum(part.rejected for part in row.parts), "rejected"), (sum(part.unsettled for part in row.parts), "unsettled")
    )
    return "; ".join(clauses) or "nothing changed"


def tell_actor(actor: Actor) -> str:
    """`ann on laptop`; empty where neither is known."""
    parts = [actor.user or "somebody", f"on {actor.host}" if actor.host else ""]
    return " ".join(filter(None, parts)) if actor.user or actor.host else ""


def list_facts(record: RunRecord) -> list[str]:
    """What the history adds to the document of a run, each a sentence."""
    row, actor = record.row, record.row.actor
    times = [time for moment in (row.started_at, row.ended_at) if (time := write_time(moment))]
    by = tell_actor(actor)
    return [
        f"Run {shorten(row.run_id)}, {row.command}, {' to '.join(times)}: {tell_result(row)}",
        *([f"By {by}"] if by else []),
        *([f"Commit: {actor.commit}"] if actor.commit else []),
        *([f"Job: {actor.job}"] if actor.job else []),
        *([f"Reason: {row.reason}"] if row.reason else []),
        *([f"Allowed: {', '.join(record.allowed)}"] if record.allowed else []),
        *([f"Plan: {record.plan_id}"] if record.plan_id else []),
    ]


def summarise_unended(row: HistoryRow) -> str:
    """Say of a run that has not ended what is known of it."""
    if row.status is RunState.RUNNING:
        return "It goes on. This is what the state knows by now."
    known = "This is what the state knows of it" if row.parts else "The state knows of nothing that it sent"
    return f"It was killed. {known}. Run it again: it goes on where it was cut."


def list_some(names: Sequence[str]) -> str:
    """`a, b, c and 4 more`."""
    more = [f"{len(names) - _MOST_NAMES:,} more"] if len(names) > _MOST_NAMES else []
    return join([*names[:_MOST_NAMES], *more])


def remark_on_status(rows: Iterable[StatusRow]) -> list[tuple[str, str, str]]:
    """Say of the runs that failed or were killed what to do next, each run once: remarks of a Report."""
    runs: dict[str, list[StatusRow]] = {}
    for row in rows:
        if row.last is not None and row.last.status in BAD:
            runs.setdefault(row.last.run_id, []).append(row)
    remarks = []
    for run_id, several in runs.items():
        command = f"reconcile history {quote(str(several[0].target.spec.path))} {shorten(run_id)}"
        killed = [row.name for row in several if row.last and row.last.status == RunState.KILLED]
        if killed:
            told = f"Run {shorten(run_id)} was killed while it worked on {list_some(killed)}"
            remarks.append((f"{told}: run it again, and it goes on. What is known of it: `{command}`", "yellow", "!"))
        else:
            remarks.append((f"Why, for {list_some([row.name for row in several])}: `{command}`", "", ""))
    left = len(remarks) - _MOST_RUNS
    return [*remarks[:_MOST_RUNS], *([(f"{count(left, 'more run')} had trouble.", "", "")] if left > 0 else [])]


def _tell_troubles(parts: Sequence[RunPart]) -> list[str]:
    troubles: dict[str, list[str]] = {}
    for status in BAD:
        for part in parts:
            if part.status == status:
                word = (
                    "not confirmed" if part.code == _DECLINED else f"{status}{f' ({part.code})' if part.code else ''}"
                )
                troubles.setdefault(word, []).append(part.name)
    return [f"{word}: {list_some(names)}" for word, names in troubles.items()]
