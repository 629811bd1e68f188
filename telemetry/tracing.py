"""Traces: spans that carry ids and codes, and nothing else. Without an exporter they only pass ids on."""

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()
_HEADER = "traceparent"


def configure(service: str, exporter: SpanExporter | None = None) -> TracerProvider:
    """A tracer provider for this process, made the global one if there is none yet.

    The caller shuts it down, which sends what an exporter has not sent yet.
    """
    provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
    if exporter is not None:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)
    return provider


def tracer() -> Tracer:
    """The tracer of Herald's own spans."""
    return trace.get_tracer("herald")


def traceparent() -> str | None:
    """The current span as a W3C `traceparent`, to be stored with what it started; None without one."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(_HEADER)


def continued(traceparent: str | None) -> Context:
    """The context of a stored or received `traceparent`, for `start_as_current_span(context=…)`.

    One that is missing or malformed begins a new trace: it may come from outside.
    """
    return _PROPAGATOR.extract({_HEADER: traceparent} if traceparent else {}, context=Context())
