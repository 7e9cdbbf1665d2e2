"""What is recorded of a run and made of it, without the SDK; and when it is on."""

import sys
from dataclasses import replace

import pytest

from reconciler import telemetry
from reconciler.models.events import Confirming, Event, Finished, Planned, Queried, Reading, Sending, Waiting
from reconciler.models.plan import Problem
from reconciler.models.results import Run, RunStatus, SegmentRun, Tally
from reconciler.telemetry import Recorder, Span, find_reason, finish, make_trace, start
from tests.fakes import samples

TARGET = samples.make_target()
PLAN = samples.make_plan()
DONE = SegmentRun(PLAN, RunStatus.APPLIED, Tally(added=20, removed=10), members=1010)
FAILED = replace(DONE, status=RunStatus.FAILED, error=Problem("exhausted", "it failed"))


def trace(row: SegmentRun, *events: Event) -> Span:
    """The span of a segment; each event is one nanosecond after the one before."""
    recorder = Recorder(started_at=0)
    key = str(TARGET.spec.path), TARGET.segment.name
    recorder.moments[key] = [(at, event) for at, event in enumerate(events, start=1)]
    [segment] = make_trace(recorder, "apply", Run("run", samples.TWO_AM, (row,)), 0, now=100).children
    return segment


def phases(segment: Span) -> list[tuple[str, int, int, bool]]:
    return [(each.name, each.started_at, each.ended_at, each.is_failed) for each in segment.children]


def test_the_phases_of_a_segment_follow_each_other() -> None:
    events = (Reading(TARGET), Queried(TARGET), Planned(PLAN), Waiting(TARGET, 1, "x"), Sending(TARGET, 0, 30))
    segment = trace(DONE, *events, Sending(TARGET, 30, 30), Confirming(TARGET), Finished(DONE))
    assert (segment.started_at, segment.ended_at, segment.is_failed) == (1, 8, False)
    assert phases(segment) == [
        ("query", 1, 2, False),
        ("compare", 2, 3, False),
        ("send", 5, 7, False),
        ("confirm", 7, 8, False),
    ]


def test_the_phase_that_failed_is_marked() -> None:
    planned = samples.make_failed()
    assert phases(trace(FAILED, Reading(TARGET), Planned(planned))) == [("query", 1, 2, True)]
    segment = trace(FAILED, Reading(TARGET), Planned(PLAN), Sending(TARGET, 0, 30), Finished(FAILED))
    assert phases(segment) == [("compare", 1, 2, False), ("send", 3, 4, True)]  # of a plan file: no query ran
    assert segment.attributes["error.type"] == "exhausted"
    assert segment.is_failed


def test_a_segment_that_was_not_begun_has_no_length() -> None:
    assert phases(trace(FAILED)) == []
    assert (trace(FAILED).started_at, trace(FAILED).ended_at) == (100, 100)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (None, None)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, (None, None)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x"}, ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_SDK_DISABLED": "True"}, (None, None)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_METRICS_EXPORTER": "none"}, ("OTEL_EXPORTER_OTLP_ENDPOINT", None)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "x"}, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", None)),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, (None, "OTEL_METRICS_EXPORTER")),
    ],
)
def test_a_signal_is_on_where_a_variable_asks_for_it(
    environment: dict[str, str], expected: tuple[str | None, str | None]
) -> None:
    assert (find_reason("TRACES", environment), find_reason("METRICS", environment)) == expected
    assert (start(environment) is not None) == any(expected)


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [("OTEL_TRACES_EXPORTER", "console", "otlp"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf")],
)
def test_what_it_can_not_export_by_is_said(name: str, value: str, known: str) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_METRICS_EXPORTER": "none", name: value}
    run = Run("run", samples.TWO_AM, (DONE,))
    [warning] = finish(Recorder(), "apply", run, 0, environment)
    assert warning == f"{name} asks for what reconcile can't export by; set it to {known}, or OTEL_SDK_DISABLED to true"


def test_without_the_extra_one_warning_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reconciler.telemetry.export", None)
    monkeypatch.delattr(telemetry, "export", raising=False)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    [warning] = finish(Recorder(), "apply", Run("run", samples.TWO_AM, (DONE,)), 0, environment)
    assert warning == (
        "OTEL_EXPORTER_OTLP_ENDPOINT asks for OpenTelemetry, and it can't be loaded: "
        'pip install "reconcile-segments[otel]", or set OTEL_SDK_DISABLED to true'
    )
