"""OpenTelemetry: a trace and the metrics of each run, where the usual OTEL_* variables ask for them.

While a run goes on, only what happens is written down, with its time. The SDK is loaded at the end, and only where it
was asked for. No member id, no secret and no text of a query is in what is exported.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

from reconciler.models.events import Confirming, Event, Finished, Planned, Queried, ReadBack, Reading, Sending
from reconciler.models.plan import Plan, PlanStatus, SegmentPlan
from reconciler.models.results import (
    Drift,
    Refresh,
    RefreshRow,
    Run,
    RunStatus,
    SegmentDrift,
    SegmentRow,
    SegmentRun,
    Tally,
)
from reconciler.models.spec import Target

MOST_SECONDS = 5.0
"""For which a collector may hold the end of a run."""

SIGNALS = ("TRACES", "METRICS")
PROTOCOL = "http/protobuf"
INSTALL = 'pip install "reconcile-segments[otel]"'

FAILED = (RunStatus.FAILED, RunStatus.PARTIAL, RunStatus.STALE, RunStatus.LOCKED)

Attributes = Mapping[str, str | int]


@dataclass(frozen=True)
class Span:
    """Something that took time, and what it consisted of. Times are nanoseconds of Unix time."""

    name: str
    started_at: int
    ended_at: int
    attributes: Attributes
    is_failed: bool = False
    children: tuple["Span", ...] = ()


@dataclass(frozen=True)
class Measurement:
    """A number about one segment."""

    name: str
    unit: str
    value: float
    attributes: Attributes
    is_total: bool = False
    """What was done in this run, and adds up; else what is so at its end."""


@dataclass
class Recorder:
    """Writes down what a run reports. Told one event at a time."""

    started_at: int = field(default_factory=time.time_ns)
    moments: dict[tuple[str, str], list[tuple[int, Event]]] = field(default_factory=dict)
    """By spec and name of the segment."""

    def tell(self, event: Event) -> None:
        match event:
            case Planned(plan):
                target = plan.target
            case Finished(run):
                target = run.target
            case ReadBack(row):
                target = row.target
            case _:
                target = event.target
        self.moments.setdefault(_identify(target), []).append((time.time_ns(), event))


def start(environment: Mapping[str, str] = os.environ) -> Recorder | None:
    """Begin to record, if a signal is asked for."""
    return Recorder() if any(find_reason(each, environment) for each in SIGNALS) else None


def find_reason(signal: str, environment: Mapping[str, str]) -> str | None:
    """Find the variable that asks for a signal; None: it is off. An empty variable is unset."""
    exporter = f"OTEL_{signal}_EXPORTER"
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_disabled or environment.get(exporter, "").strip().lower() == "none":
        return None
    asking = (exporter, f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return next((name for name in asking if environment.get(name, "").strip()), None)


def finish(
    recorder: Recorder,
    command: str,
    result: Plan | Run | Drift | Refresh,
    exit_code: int,
    environment: Mapping[str, str] = os.environ,
) -> list[str]:
    """Export a run, in five seconds at most; give what could not be done as warnings. Raises nothing."""
    warnings = []
    wanted = []
    for signal in SIGNALS:
        reason = find_reason(signal, environment)
        refusal = _refuse(signal, environment)
        if reason and refusal:
            warnings.append(refusal)
        elif reason:
            wanted.append((signal, reason))
    if not wanted:
        return list(dict.fromkeys(warnings))
    try:
        from reconciler.telemetry import export  # it loads the SDK
    except ImportError:
        missing = f"{wanted[0][1]} asks for OpenTelemetry, and it can't be loaded: {INSTALL}, or set "
        return [*warnings, f"{missing}OTEL_SDK_DISABLED to true"]

    trace = make_trace(recorder, command, result, exit_code)
    parent = export.find_parent(environment)  # here, as it may be the current span of this thread
    tasks = {
        "TRACES": lambda: export.send_trace(trace, parent, environment),
        "METRICS": lambda: export.send_metrics(measure(result), environment),
    }
    answers: list[Future[bool]] = []
    for signal, _ in wanted:
        answer: Future[bool] = Future()
        answers.append(answer)
        # One that hangs does not hold the end of the process.
        threading.Thread(target=_run, args=(tasks[signal], answer), name="telemetry", daemon=True).start()
    wait(answers, MOST_SECONDS)
    for (signal, reason), answer in zip(wanted, answers, strict=True):
        if not (answer.done() and answer.result()):
            lost = f"the {signal.lower()} of this run may not have reached the collector"
            warnings.append(f"{lost}: it can't be reached, refuses them, or is slow (see {reason})")
    return warnings


def _refuse(signal: str, environment: Mapping[str, str]) -> str | None:
    """Say what a signal's variables ask for and can't be had."""
    own, general = f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"
    choices = ((f"OTEL_{signal}_EXPORTER", "otlp"), (own if environment.get(own) else general, PROTOCOL))
    for name, known in choices:
        if environment.get(name, "").strip().lower() not in ("", known):
            return f"{name} asks for what reconcile can't export by; set it to {known}, or OTEL_SDK_DISABLED to true"
    return None


def _run(task: Callable[[], bool], answer: Future[bool]) -> None:
    try:
        answer.set_result(task())
    except Exception:  # its text may hold an address, or a header
        answer.set_result(False)


# --- what is exported --------------------------------------------------------------------------------------------


def make_trace(
    recorder: Recorder, command: str, result: Plan | Run | Drift | Refresh, exit_code: int, now: int | None = None
) -> Span:
    """Make the trace of a run of what was recorded: a span for each segment, and in it one for each phase."""
    ended_at = time.time_ns() if now is None else now
    segments = [
        _make_segment(row, recorder.moments.get(_identify(row.target), ()), ended_at) for row in result.segments
    ]
    attributes: dict[str, str | int] = {"reconcile.command": command, "reconcile.exit_code": exit_code}
    if isinstance(result, Run | Refresh):
        attributes["reconcile.run_id"] = result.run_id
    is_failed = any(segment.is_failed for segment in segments)
    return Span(f"reconcile {command}", recorder.started_at, ended_at, attributes, is_failed, tuple(segments))


def _make_segment(row: SegmentRow, moments: Sequence[tuple[int, Event]], ended_at: int) -> Span:
    """Make the span of a segment; of one of which nothing was heard it has no length."""
    about = _describe(row.target)
    phases: list[Span] = []
    phase, began = None, 0
    for at, event in moments:
        following = _name_phase(event, phase)
        if following == phase:
            continue
        if phase is not None:
            # A plan file's changes are compared, and no query runs.
            name = "compare" if phase == "query" and isinstance(event, Planned) and not _fails(event) else phase
            phases.append(Span(name, began, at, about, _fails(event)))
        phase, began = following, at
    first, last = (moments[0][0], moments[-1][0]) if moments else (ended_at, ended_at)
    status: Attributes = {"reconcile.segment_id": row.target.segment_id, "reconcile.status": str(row.status)}
    code: Attributes = {"error.type": row.error.code} if row.error else {}
    is_failed = row.status in FAILED
    return Span("segment", first, last, {**about, **status, **code}, is_failed, tuple(phases))


def _name_phase(event: Event, phase: str | None) -> str | None:
    """Name the phase that an event begins or goes on with; None: it ends one."""
    match event:
        case Reading():
            return "query"
        case Queried():
            return "compare"
        case Sending():
            return "send"
        case Confirming():
            return "confirm"
        case Planned() | Finished() | ReadBack():
            return None
        case _:
            return phase


def _fails(event: Event) -> bool:
    """Tell whether an event is the end of something that failed."""
    match event:
        case Planned(plan):
            return plan.status is PlanStatus.FAILED
        case Finished(run):
            return run.error is not None
        case ReadBack(row):
            return row.error is not None
        case _:
            return False


def measure(result: Plan | Run | Drift | Refresh) -> list[Measurement]:
    """List what is measured of each segment; a number that is not known is left out."""
    found = []
    for row in result.segments:
        members, unmatched, tally = _count(row)
        numbers: list[tuple[str, str, float | None, bool]] = [
            ("members", "{person}", members, False),
            ("unmatched", "{person}", unmatched, False),
        ]
        if tally is not None:
            numbers += [
                ("seconds", "s", tally.seconds, False),
                ("entered", "{person}", tally.added, True),
                ("left", "{person}", tally.removed, True),
                ("rejected", "{person}", tally.rejected, True),
                ("requests", "{request}", tally.requests, True),
                ("retries", "{request}", tally.retries, True),
            ]
        about = _describe(row.target)
        for name, unit, value, is_total in numbers:
            if value is not None:
                found.append(Measurement(f"reconcile.{name}", unit, value, about, is_total))
    return found


def _count(row: SegmentRow) -> tuple[int | None, int | None, Tally | None]:
    """Count what the state holds: members and unmatched ids; and what was sent, if anything could be."""
    match row:
        case SegmentRun():
            return row.members, row.unmatched_after, row.tally
        case SegmentPlan() | SegmentDrift() if row.counts is not None:
            return row.counts.stored, row.counts.unmatched, None
        case SegmentDrift() | RefreshRow():
            return row.stored, row.unmatched, None
        case _:
            return None, None, None


def _identify(target: Target) -> tuple[str, str]:
    return str(target.spec.path), target.segment.name


def _describe(target: Target) -> Attributes:
    return {"reconcile.workspace": target.workspace, "reconcile.segment": target.segment.name}
