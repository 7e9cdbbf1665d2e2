"""A run as a collector sees it: the SDK sends to a receiver on this machine, by OTLP over HTTP."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.project import Project, people
from tests.support.receiver import Receiver, receiving

SEGMENTS = {
    "vip": "segment_id: 56\nquery: SELECT id FROM vip WHERE id <> :hidden\nparams: {hidden: hush}\n",
    "lost": "segment_id: 57\nquery: SELECT id FROM lost\n",
}


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiving() as found:
        found.body = b""
        yield found


@pytest.fixture
def observed(project: Project, collector: Receiver) -> Project:
    project.write(SEGMENTS)
    project.want("vip", people(*range(40)))
    project.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_HEADERS": "key=hush"}
    return project


def read_spans(collector: Receiver) -> list[Any]:
    found = []
    for path, body in collector.posted:
        if path == "/v1/traces":
            request = ExportTraceServiceRequest.FromString(body)
            found += [
                span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
            ]
    return found


def read_metrics(collector: Receiver) -> dict[tuple[str, str], float]:
    """By name, and workspace and segment."""
    found = {}
    for path, body in collector.posted:
        if path == "/v1/metrics":
            request = ExportMetricsServiceRequest.FromString(body)
            for metric in request.resource_metrics[0].scope_metrics[0].metrics:
                for point in metric.gauge.data_points or metric.sum.data_points:
                    about = read_attributes(point)
                    place = f"{about['reconcile.workspace']}/{about['reconcile.segment']}"
                    found[metric.name, place] = point.as_int or point.as_double
    return found


def read_attributes(holder: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in holder.attributes}


def test_a_run_is_a_trace_of_what_its_segments_did(observed: Project, collector: Receiver) -> None:
    observed.environment["TRACEPARENT"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    result = observed.run("apply", "spec.yaml", "--confirm", "--format", "json")

    assert (result.code, result.document["warnings"]) == (6, [])
    spans = read_spans(collector)
    [root] = [span for span in spans if span.name == "reconcile apply"]
    assert {span.trace_id.hex() for span in spans} == {"0af7651916cd43dd8448eb211c80319c"}
    assert root.parent_span_id.hex() == "b7ad6b7169203331"
    assert read_attributes(root) == {
        "reconcile.command": "apply",
        "reconcile.exit_code": 6,
        "reconcile.run_id": result.document["run_id"],
    }
    segments = {read_attributes(span)["reconcile.segment"]: span for span in spans if span.name == "segment"}
    assert [segments[name].parent_span_id for name in ("vip", "lost")] == [root.span_id] * 2
    phases = {
        name: [span.name for span in spans if span.parent_span_id == segment.span_id]
        for name, segment in segments.items()
    }
    assert phases == {"vip": ["query", "compare", "send", "confirm"], "lost": ["query"]}
    assert read_attributes(segments["lost"])["error.type"] == "source"
    assert (segments["lost"].status.code, segments["vip"].status.code) == (2, 0)
    for span in spans:
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano


def test_the_metrics_are_by_workspace_and_segment(observed: Project, collector: Receiver) -> None:
    observed.run("apply", "spec.yaml")
    observed.want("vip", people(*range(5, 45)))
    collector.posted.clear()
    observed.run("apply", "spec.yaml")

    found = read_metrics(collector)
    numbers = {name: value for (name, place), value in found.items() if place == "default/vip"}
    assert numbers.pop("reconcile.seconds") > 0
    assert numbers == {
        "reconcile.members": 40,
        "reconcile.unmatched": 0,
        "reconcile.entered": 5,
        "reconcile.left": 5,
        "reconcile.rejected": 0,
        "reconcile.requests": 2,
        "reconcile.retries": 0,
    }
    assert ("reconcile.entered", "default/lost") in found


@pytest.mark.parametrize(
    ("command", "phases"), [("plan", ["compare", "query"]), ("drift", ["confirm"]), ("refresh", ["confirm"])]
)
def test_the_other_commands_are_traced_too(
    observed: Project, collector: Receiver, command: str, phases: list[str]
) -> None:
    observed.run("apply", "spec.yaml", "--select", "vip")
    collector.posted.clear()
    words = ["--yes"] if command == "refresh" else []
    assert observed.run(command, "spec.yaml", "--select", "vip", *words).code == 0

    spans = read_spans(collector)
    assert sorted(span.name for span in spans) == sorted([*phases, "segment", f"reconcile {command}"])
    assert read_metrics(collector)["reconcile.members", "default/vip"] == 40


def test_no_id_no_secret_and_no_query_leave(observed: Project, collector: Receiver) -> None:
    observed.run("apply", "spec.yaml", "--confirm", "--show-ids", "9", "--reason", "hush")
    assert len(collector.posted) == 2
    everything = b"".join(body for _, body in collector.posted)
    for hidden in (
        b"hush",
        b"SELECT",
        b"sandbox-key",
        b"sandbox-app-key",
        *(f"{each}".encode() for each in people(30)),
    ):
        assert hidden not in everything


@pytest.mark.parametrize("answers", [[400, 400], [None, None]])
def test_a_collector_that_fails_is_a_warning(observed: Project, collector: Receiver, answers: list[int | None]) -> None:
    collector.answers = answers  # None: it never answers, and only the limit ends this
    result = observed.run("apply", "spec.yaml", "--select", "vip", "--format", "json", "--verbose")
    assert result.code == 0
    lost = "of this run may not have reached the collector: it can't be reached, refuses them, or is slow"
    reason = "(see OTEL_EXPORTER_OTLP_ENDPOINT)"
    assert result.document["warnings"] == [f"the traces {lost} {reason}", f"the metrics {lost} {reason}"]
    assert "hush" not in result.out + result.err


def test_one_signal_can_be_had_alone(observed: Project, collector: Receiver) -> None:
    observed.environment |= {"OTEL_TRACES_EXPORTER": "none", "OTEL_SERVICE_NAME": "segments"}
    observed.run("apply", "spec.yaml")
    [(path, body)] = collector.posted
    assert path == "/v1/metrics"
    [resource] = ExportMetricsServiceRequest.FromString(body).resource_metrics
    assert read_attributes(resource.resource)["service.name"] == "segments"
