"""Sends a trace and metrics by OTLP over HTTP, as the OTEL_* variables say.

Nothing is global to the process: the OpenTelemetry of an application that embeds us is left alone, but for the span
that is current there, which becomes the parent.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from reconciler import __version__
from reconciler.telemetry import Measurement, Span

SERVICE = "reconcile"
MOST_SPANS, MOST_MEASUREMENTS = 512, 2000
"""In one request."""


def find_parent(environment: Mapping[str, str]) -> Context:
    """Find what the trace is a part of: what TRACEPARENT says, else the current span of the thread, if there is one."""
    carrier = {name.lower(): environment[name] for name in ("TRACEPARENT", "TRACESTATE") if environment.get(name)}
    return TraceContextTextMapPropagator().extract(carrier)


def send_trace(trace: Span, parent: Context, environment: Mapping[str, str]) -> bool:
    """Send the spans of a trace; tell whether the collector took them all."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=_make_resource(environment), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    _write(provider.get_tracer(SERVICE, __version__), trace, parent)
    spans = kept.get_finished_spans()
    with _closing(OTLPSpanExporter()) as exporter:
        return all(
            exporter.export(spans[start : start + MOST_SPANS]) is SpanExportResult.SUCCESS
            for start in range(0, len(spans), MOST_SPANS)
        )


def _write(tracer: Tracer, span: Span, parent: Context) -> None:
    written = tracer.start_span(span.name, parent, attributes=span.attributes, start_time=span.started_at)
    for child in span.children:
        _write(tracer, child, set_span_in_context(written, parent))
    if span.is_failed:
        written.set_status(StatusCode.ERROR)
    written.end(span.ended_at)


class _MetricExporter(OTLPMetricExporter):  # type: ignore[misc]
    """Keeps whether the collector took what was sent, which the reader does not tell."""

    is_taken = True

    def export(self, *words: Any, **more: Any) -> Any:
        result = super().export(*words, **more)
        self.is_taken = self.is_taken and result is MetricExportResult.SUCCESS
        return result


def send_metrics(measurements: Sequence[Measurement], environment: Mapping[str, str]) -> bool:
    """Send measurements; tell whether the collector took them all."""
    return all(
        _send_some(measurements[start : start + MOST_MEASUREMENTS], environment)
        for start in range(0, len(measurements), MOST_MEASUREMENTS)
    )


def _send_some(measurements: Sequence[Measurement], environment: Mapping[str, str]) -> bool:
    with _closing(_MetricExporter()) as exporter:
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
        provider = MeterProvider([reader], _make_resource(environment), shutdown_on_exit=False)
        meter = provider.get_meter(SERVICE, __version__)
        counters: dict[str, Any] = {}
        for each in measurements:
            if each.name not in counters:
                make = meter.create_counter if each.is_total else meter.create_gauge
                counters[each.name] = make(each.name, each.unit)
            add = counters[each.name].add if each.is_total else counters[each.name].set
            add(each.value, each.attributes)
        reader.collect()
        return bool(exporter.is_taken)


@contextmanager
def _closing(exporter: Any) -> Iterator[Any]:
    try:
        yield exporter
    finally:
        exporter.shutdown()


def _make_resource(environment: Mapping[str, str]) -> Resource:
    """Describe what sends: by OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, else by our own name."""
    said = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    own = {} if said else {"service.name": SERVICE}
    return Resource.create({"service.version": __version__, **own})
