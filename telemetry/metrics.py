"""All metrics: names, labels and descriptions. No label may contain data of a user."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import prometheus_client
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, start_http_server

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Do not export a `_created` series for each counter and histogram.
prometheus_client.disable_created_metrics()

_QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_CALL_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LAG_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metric(NamedTuple):
    """A metric's definition: a histogram if it has `buckets`, a counter if named `…_total`, else a gauge."""

    name: str
    labels: tuple[str, ...]
    description: str
    buckets: tuple[float, ...] = ()


ACCEPTED = Metric("herald_accepted_total", ("type", "lane"), "Notifications accepted")
ATTEMPTS = Metric(
    "herald_attempts_total",
    ("provider", "outcome"),
    "Send calls to a provider, by outcome; ambiguous ones are looked up later",
)
ATTEMPT_SECONDS = Metric(
    "herald_attempt_seconds", ("provider",), "Duration of one send call to a provider", _CALL_S
)
DELIVERIES = Metric(
    "herald_deliveries_total",
    ("channel", "status"),
    "Deliveries whose status a receipt from a callback changed",
)
DEAD_LETTERS = Metric(
    "herald_dead_letters_total",
    ("type", "channel"),
    "Deliveries parked for an operator as dead letters or with an unknown outcome",
)
DEAD_LETTERS_OPEN = Metric(
    "herald_dead_letters_open", (), "Notifications that wait for an operator, at this worker's last count"
)
RECEIPTS = Metric(
    "herald_receipts_total", ("provider", "status"), "Receipts in accepted callbacks, including duplicates"
)
CALLBACKS_REFUSED = Metric("herald_callbacks_refused_total", ("provider", "code"), "Callbacks refused")
REQUESTS_REFUSED = Metric(
    "herald_requests_refused_total",
    ("reason",),
    "Requests and connections refused or ended by a limit of the API",
)
EVENT_LOOP_HELD_SECONDS = Metric(
    "herald_event_loop_held_seconds",
    (),
    "How late a callback of the event loop ran that was due every 25 ms (100 ms while the process is idle): "
    "each time that it was 50 ms or later, and of the others the latest of each second",
    _QUICK_S,
)
GROUP_ROWS = Metric("herald_group_rows", ("group",), "Rows written or read by one group commit", _ROWS)
GROUP_FLUSH_SECONDS = Metric(
    "herald_group_flush_seconds", ("group",), "Duration of one group commit", _QUICK_S
)
CLAIMS = Metric("herald_claims_total", ("lane",), "Notifications claimed as due")
BATCH_ITEMS = Metric(
    "herald_batch_items_total", ("lane", "result"), "Notifications carried in batches, by result"
)
DUE_LAG_SECONDS = Metric(
    "herald_due_lag_seconds", ("lane",), "Delay between a notification's due time and its claim", _LAG_S
)
LIMITER_DENIED = Metric(
    "herald_limiter_denied_total",
    ("type", "channel", "limit"),
    "Deliveries held back by a limit, by what it counts",
)
LIMITER_LOST = Metric(
    "herald_limiter_lost_total",
    ("result",),
    "Limit checks with incomplete counts, by result: pass or wait",
)
LATE_OUTCOMES = Metric(
    "herald_late_outcomes_total",
    ("provider",),
    "Outcomes and receipts that contradict an earlier decision made without them",
)
DRIFT = Metric("herald_drift_total", ("kind",), "Inconsistencies found by the reconciliation")
REMOVED = Metric("herald_removed_total", ("kind",), "Partitions and rows removed by retention")
SMS_SEGMENTS = Metric(
    "herald_sms_segments_total", ("provider",), "SMS segments accepted by providers at send time"
)
SMS_COST = Metric(
    "herald_sms_cost_total",
    ("provider", "currency"),
    "Estimated cost of SMS accepted by providers at send time, in the currency",
)
SMS_SPEND_RATIO = Metric(
    "herald_sms_spend_ratio",
    ("by", "of", "currency"),
    "Share of a day's spend cap that is reserved, at this worker's last send",
)
SMS_SEGMENTS_DIFFER = Metric(
    "herald_sms_segments_differ_total",
    ("provider",),
    "SMS whose provider reported a different segment count",
)
CIRCUIT_STATE = Metric(
    "herald_circuit_state", ("provider",), "State of a provider's circuit: 0 closed, 1 half open, 2 open"
)
AUDIT_ENTRIES = Metric(
    "herald_audit_entries_total", ("action",), "Acts and readings recorded in the audit log"
)


Child = TypeVar("Child")


class _Family(Generic[Child]):
    """One metric's series by their labels. Refuses undeclared labels: they are a bug and may be private."""

    def __init__(self, metric: Metric, parent: Any) -> None:
        self._metric = metric
        self._parent = parent
        self._children: dict[tuple[tuple[str, str], ...], Child] = {}

    def child(self, given: dict[str, str]) -> Child:
        """The series with these labels. Raises ValueError if they are not the metric's labels."""
        key = tuple(given.items())
        found = self._children.get(key)
        if found is None:
            if given.keys() != frozenset(self._metric.labels):
                raise ValueError(
                    f"{self._metric.name} has the labels {sorted(self._metric.labels)}, not {sorted(given)}"
                )
            values = {name: str(value) for name, value in given.items()}
            found = self._children[key] = self._parent.labels(**values) if values else self._parent
        return found


class Counter:
    """A counter. Pass labels by name; raises ValueError if they are not the metric's labels."""

    def __init__(self, registry: CollectorRegistry, metric: Metric) -> None:
        parent = prometheus_client.Counter(metric.name, metric.description, metric.labels, registry=registry)
        self._family = _Family[prometheus_client.Counter](metric, parent)

    def add(self, amount: float = 1, **labels: str) -> None:
        """Add `amount`."""
        self._family.child(labels).inc(amount)


class Histogram:
    """A histogram. Pass labels by name; raises ValueError if they are not the metric's labels."""

    def __init__(self, registry: CollectorRegistry, metric: Metric) -> None:
        parent = prometheus_client.Histogram(
            metric.name, metric.description, metric.labels, buckets=metric.buckets, registry=registry
        )
        self._family = _Family[prometheus_client.Histogram](metric, parent)

    def record(self, value: float, **labels: str) -> None:
        """Record one value."""
        self._family.child(labels).observe(value)


class Gauge:
    """A gauge. Pass labels by name; raises ValueError if they are not the metric's labels."""

    def __init__(self, registry: CollectorRegistry, metric: Metric) -> None:
        parent = prometheus_client.Gauge(metric.name, metric.description, metric.labels, registry=registry)
        self._family = _Family[prometheus_client.Gauge](metric, parent)

    def set(self, value: float, **labels: str) -> None:
        """Set the value."""
        self._family.child(labels).set(value)


class Metrics:
    """The metrics of one process. Create one instance and pass it on."""

    def __init__(self) -> None:
        """Create the metrics in a separate registry, not in the process-wide default."""
        self._registry = registry = CollectorRegistry()
        self.accepted = Counter(registry, ACCEPTED)
        self.attempts = Counter(registry, ATTEMPTS)
        self.attempt_seconds = Histogram(registry, ATTEMPT_SECONDS)
        self.deliveries = Counter(registry, DELIVERIES)
        self.dead_letters = Counter(registry, DEAD_LETTERS)
        self.dead_letters_open = Gauge(registry, DEAD_LETTERS_OPEN)
        self.receipts = Counter(registry, RECEIPTS)
        self.callbacks_refused = Counter(registry, CALLBACKS_REFUSED)
        self.requests_refused = Counter(registry, REQUESTS_REFUSED)
        self.event_loop_held_seconds = Histogram(registry, EVENT_LOOP_HELD_SECONDS)
        self.group_rows = Histogram(registry, GROUP_ROWS)
        self.group_flush_seconds = Histogram(registry, GROUP_FLUSH_SECONDS)
        self.claims = Counter(registry, CLAIMS)
        self.batch_items = Counter(registry, BATCH_ITEMS)
        self.due_lag_seconds = Histogram(registry, DUE_LAG_SECONDS)
        self.limiter_denied = Counter(registry, LIMITER_DENIED)
        self.limiter_lost = Counter(registry, LIMITER_LOST)
        self.late_outcomes = Counter(registry, LATE_OUTCOMES)
        self.drift = Counter(registry, DRIFT)
        self.removed = Counter(registry, REMOVED)
        self.circuit_state = Gauge(registry, CIRCUIT_STATE)
        self.sms_segments = Counter(registry, SMS_SEGMENTS)
        self.sms_cost = Counter(registry, SMS_COST)
        self.sms_spend_ratio = Gauge(registry, SMS_SPEND_RATIO)
        self.sms_segments_differ = Counter(registry, SMS_SEGMENTS_DIFFER)
        self.audit_entries = Counter(registry, AUDIT_ENTRIES)

    def observe_group(self, group: str, rows: int, seconds: float) -> None:
        """Record one group commit: its rows, and how long it took."""
        self.group_rows.record(rows, group=group)
        self.group_flush_seconds.record(seconds, group=group)

    def render(self) -> bytes:
        """Render all metrics in Prometheus's text format, of type CONTENT_TYPE."""
        return generate_latest(self._registry)

    def serve(self, port: int, host: str = "127.0.0.1") -> Callable[[], None]:
        """Serve the metrics over HTTP from a thread; return a function that stops it.

        Raises OSError if the port is taken.
        """
        server, thread = start_http_server(port, addr=host, registry=self._registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop
