"""Every metric, once: its name, its labels and what it counts. No label carries anything of a user."""

from collections.abc import Callable
from typing import NamedTuple

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, start_http_server

CONTENT_TYPE = CONTENT_TYPE_LATEST

_QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_CALL_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LAG_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metric(NamedTuple):
    """A metric as it is exposed. `buckets` makes it a histogram; `_total` in its name, a counter."""

    name: str
    labels: tuple[str, ...]
    description: str
    buckets: tuple[float, ...] = ()


ACCEPTED = Metric("herald_accepted_total", ("type", "lane"), "Notifications accepted")
ATTEMPTS = Metric("herald_attempts_total", ("provider", "outcome"), "Attempts closed")
ATTEMPT_SECONDS = Metric("herald_attempt_seconds", ("provider",), "From intent to outcome", _CALL_S)
DELIVERIES = Metric("herald_deliveries_total", ("channel", "status"), "Deliveries that came to a status")
DEAD_LETTERS = Metric("herald_dead_letters_total", ("type", "channel"), "Deliveries dead-lettered")
DEAD_LETTERS_OPEN = Metric("herald_dead_letters_open", (), "Deliveries parked for an operator now")
RECEIPTS = Metric("herald_receipts_total", ("provider", "status"), "Receipts taken")
CALLBACKS_REFUSED = Metric("herald_callbacks_refused_total", ("provider", "code"), "Callbacks refused")
GROUP_ROWS = Metric("herald_group_rows", ("group",), "Rows of one group commit", _ROWS)
GROUP_FLUSH_SECONDS = Metric("herald_group_flush_seconds", ("group",), "One group commit", _QUICK_S)
CLAIMS = Metric("herald_claims_total", ("lane",), "Notifications claimed as due")
DUE_LAG_SECONDS = Metric("herald_due_lag_seconds", ("lane",), "From due to claimed", _LAG_S)
LIMITER_DENIED = Metric("herald_limiter_denied_total", ("type", "channel"), "Deliveries above a limit")
LIMITER_LOST = Metric("herald_limiter_lost_total", ("decision",), "Reservations without complete counts")
LATE_OUTCOMES = Metric("herald_late_outcomes_total", ("provider",), "Outcomes that came after resolution")
DRIFT = Metric("herald_drift_total", ("kind",), "What reconciliation found amiss")
REMOVED = Metric("herald_removed_total", ("kind",), "What retention removed: partitions, or rows")
SMS_SEGMENTS = Metric("herald_sms_segments_total", ("provider",), "Segments of accepted SMS")
SMS_COST = Metric("herald_sms_cost_total", ("provider", "currency"), "What accepted SMS should cost")
SMS_SEGMENTS_DIFFER = Metric(
    "herald_sms_segments_differ_total", ("provider",), "SMS that a vendor counted otherwise than we"
)
CIRCUIT_STATE = Metric("herald_circuit_state", ("provider",), "0 closed, 1 half open, 2 open")

METRICS = (
    *(ACCEPTED, ATTEMPTS, ATTEMPT_SECONDS, DELIVERIES, DEAD_LETTERS, DEAD_LETTERS_OPEN, RECEIPTS),
    *(CALLBACKS_REFUSED, GROUP_ROWS, GROUP_FLUSH_SECONDS, CLAIMS, DUE_LAG_SECONDS, LIMITER_DENIED),
    *(LIMITER_LOST, LATE_OUTCOMES, DRIFT, REMOVED, CIRCUIT_STATE),
    *(SMS_SEGMENTS, SMS_COST, SMS_SEGMENTS_DIFFER),
)


class _Labels:
    """The labels of a metric, checked: a wrong one is a bug and may be private."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._expected = frozenset(metric.labels)

    def checked(self, given: dict[str, str]) -> dict[str, str]:
        if given.keys() != self._expected:
            raise ValueError(
                f"{self._metric.name} has the labels {sorted(self._expected)}, not {sorted(given)}"
            )
        return {name: str(value) for name, value in given.items()}


class Counter:
    """Counts up. Labels are passed by name; ValueError if they are not the metric's own."""

    def __init__(self, meter: Meter, metric: Metric) -> None:
        self._instrument = meter.create_counter(metric.name, description=metric.description)
        self._labels = _Labels(metric)

    def add(self, amount: float = 1, **labels: str) -> None:
        """Count so many more."""
        self._instrument.add(amount, self._labels.checked(labels))


class Histogram:
    """Counts values by size. Labels are passed by name; ValueError if they are not the metric's own."""

    def __init__(self, meter: Meter, metric: Metric) -> None:
        self._instrument = meter.create_histogram(
            metric.name, description=metric.description, explicit_bucket_boundaries_advisory=metric.buckets
        )
        self._labels = _Labels(metric)

    def record(self, value: float, **labels: str) -> None:
        """Count one value."""
        self._instrument.record(value, self._labels.checked(labels))


class Gauge:
    """Holds the last value. Labels are passed by name; ValueError if they are not the metric's own."""

    def __init__(self, meter: Meter, metric: Metric) -> None:
        self._instrument = meter.create_gauge(metric.name, description=metric.description)
        self._labels = _Labels(metric)

    def set(self, value: float, **labels: str) -> None:
        """Replace the value."""
        self._instrument.set(value, self._labels.checked(labels))


class Metrics:
    """The instruments of one process, and how to read them. Make one and pass it on."""

    def __init__(self) -> None:
        """With a registry of its own: nothing is registered for the whole process."""
        self._registry = CollectorRegistry()
        reader = PrometheusMetricReader(
            disable_target_info=True, scope_info_enabled=False, registry=self._registry
        )
        self._provider = MeterProvider([reader], shutdown_on_exit=False)
        meter = self._provider.get_meter("herald")
        self.accepted = Counter(meter, ACCEPTED)
        self.attempts = Counter(meter, ATTEMPTS)
        self.attempt_seconds = Histogram(meter, ATTEMPT_SECONDS)
        self.deliveries = Counter(meter, DELIVERIES)
        self.dead_letters = Counter(meter, DEAD_LETTERS)
        self.dead_letters_open = Gauge(meter, DEAD_LETTERS_OPEN)
        self.receipts = Counter(meter, RECEIPTS)
        self.callbacks_refused = Counter(meter, CALLBACKS_REFUSED)
        self.group_rows = Histogram(meter, GROUP_ROWS)
        self.group_flush_seconds = Histogram(meter, GROUP_FLUSH_SECONDS)
        self.claims = Counter(meter, CLAIMS)
        self.due_lag_seconds = Histogram(meter, DUE_LAG_SECONDS)
        self.limiter_denied = Counter(meter, LIMITER_DENIED)
        self.limiter_lost = Counter(meter, LIMITER_LOST)
        self.late_outcomes = Counter(meter, LATE_OUTCOMES)
        self.drift = Counter(meter, DRIFT)
        self.removed = Counter(meter, REMOVED)
        self.circuit_state = Gauge(meter, CIRCUIT_STATE)
        self.sms_segments = Counter(meter, SMS_SEGMENTS)
        self.sms_cost = Counter(meter, SMS_COST)
        self.sms_segments_differ = Counter(meter, SMS_SEGMENTS_DIFFER)

    def render(self) -> bytes:
        """Everything in Prometheus's text format, of type CONTENT_TYPE."""
        return generate_latest(self._registry)

    def serve(self, port: int, host: str = "127.0.0.1") -> Callable[[], None]:
        """Serve `render` over HTTP from a thread; returns what stops it. Raises OSError (port taken)."""
        server, thread = start_http_server(port, addr=host, registry=self._registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop

    def close(self) -> None:
        """Let go of the reader."""
        self._provider.shutdown()
