"""Traces continue from a stored traceparent, and begin anew from a bad one."""

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from telemetry.tracing import configure, continued, traceparent


def test_a_trace_goes_on_where_it_was_stored() -> None:
    exporter = InMemorySpanExporter()
    provider = configure("herald-test")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    assert traceparent() is None
    with tracer.start_as_current_span("accept"):
        stored = traceparent()
    assert stored is not None
    with tracer.start_as_current_span("deliver", context=continued(stored)):
        pass
    first, second = exporter.get_finished_spans()
    assert second.parent is not None
    assert second.parent.span_id == first.context.span_id
    assert second.context.trace_id == first.context.trace_id
    assert first.resource.attributes["service.name"] == "herald-test"
    provider.shutdown()


@pytest.mark.parametrize("stored", [None, "", "nonsense", "00-0-0-00", "\0"])
def test_a_bad_traceparent_begins_a_new_trace(stored: str | None) -> None:
    provider = configure("herald-test", InMemorySpanExporter())
    with provider.get_tracer("test").start_as_current_span("deliver", context=continued(stored)) as span:
        assert traceparent() is not None
        assert getattr(span, "parent", None) is None
    provider.shutdown()
