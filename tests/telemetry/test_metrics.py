"""Metrics are exposed under their names, with declared labels only."""

import socket

import httpx
import pytest

from telemetry import metrics as definitions
from telemetry.metrics import Counter, Gauge, Histogram, Metric, Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_every_metric_is_exposed_with_its_name_and_labels(metrics: Metrics) -> None:
    instruments = {
        attribute.upper(): instrument
        for attribute, instrument in vars(metrics).items()
        if isinstance(instrument, Counter | Gauge | Histogram)
    }
    defined = {constant: it for constant, it in vars(definitions).items() if isinstance(it, Metric)}
    assert instruments.keys() == defined.keys()
    for constant, metric in defined.items():
        instrument = instruments[constant]
        labels = dict.fromkeys(metric.labels, "x")
        if isinstance(instrument, Counter):
            instrument.add(**labels)
            assert metric.name.endswith("_total")
        elif isinstance(instrument, Histogram):
            instrument.record(0.5, **labels)
            assert metric.buckets
        else:
            instrument.set(1, **labels)
    text = metrics.render().decode()
    for metric in defined.values():
        shown = f"{metric.name}_count" if metric.buckets else metric.name
        labels = ",".join(f'{label}="x"' for label in sorted(metric.labels))
        assert any(
            line.startswith(f"{shown}{{{labels}}} 1" if labels else f"{shown} 1")
            for line in text.splitlines()
        ), metric.name
        assert f"# HELP {metric.name} {metric.description}" in text


def test_values_add_up(metrics: Metrics) -> None:
    metrics.attempts.add(provider="twilio", outcome="accepted")
    metrics.attempts.add(2, provider="twilio", outcome="accepted")
    metrics.circuit_state.set(2, provider="twilio")
    metrics.circuit_state.set(0, provider="twilio")
    metrics.attempt_seconds.record(0.3, provider="twilio")
    text = metrics.render().decode()
    assert 'herald_attempts_total{outcome="accepted",provider="twilio"} 3.0' in text
    assert 'herald_circuit_state{provider="twilio"} 0.0' in text
    assert "_created" not in text
    assert 'herald_attempt_seconds_bucket{le="0.25",provider="twilio"} 0.0' in text
    assert 'herald_attempt_seconds_bucket{le="0.5",provider="twilio"} 1.0' in text


def test_a_label_that_was_not_declared_is_refused(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="herald_claims_total"):
        metrics.claims.add(lane="bulk", user_id="u1")
    with pytest.raises(ValueError, match="herald_circuit_state"):
        metrics.circuit_state.set(1)


def test_instances_do_not_share_a_registry(metrics: Metrics) -> None:
    metrics.claims.add(lane="bulk")
    other = Metrics()
    assert "herald_claims_total{" not in other.render().decode()


async def test_metrics_are_served_over_http(metrics: Metrics) -> None:
    metrics.claims.add(lane="bulk")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stop = metrics.serve(port)
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://127.0.0.1:{port}/metrics")
    finally:
        stop()
    assert 'herald_claims_total{lane="bulk"} 1.0' in answer.text
