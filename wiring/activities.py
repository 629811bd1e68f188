"""Builds the activities of a worker process over its parts."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from activities.broadcast import Broadcasting
from activities.check_preferences import CheckPreferences
from activities.check_rate_limit import CheckRateLimit
from activities.deliver import Deliver
from activities.deliver_batch import DeliverBatch
from activities.poll_delivery_status import PollDeliveryStatus
from activities.reconcile import Reconcile
from delivery.admission import Admission
from delivery.batch_item import BatchItems
from delivery.broadcast import BroadcastProcessor
from delivery.call import ProviderCalls
from delivery.delivery_pass import DeliveryPass
from delivery.limits import Limits
from delivery.messages import Messages
from delivery.overdue_receipts import OverdueReceipts
from delivery.planner import Planner
from delivery.reporting import report_entries
from delivery.resolution import Resolver
from delivery.snapshots import Snapshots
from delivery.transitions import Transitions
from domain.audit import chain_key
from domain.ids import namespace
from storage.audit import AuditLog
from storage.broadcast_chunks import BroadcastChunks
from wiring.parts import Parts

Activity = Callable[..., Awaitable[Any]]


def activities_of(parts: Parts) -> dict[str, Activity]:
    """Every activity by its name."""
    return _notifications(parts) | _maintenance(parts) | _broadcasts(parts)


def _notifications(parts: Parts) -> dict[str, Activity]:
    catalog, ledger, metrics = parts.settings.catalog, parts.ledger, parts.metrics
    messages = Messages(
        parts.settings.public_url,
        parts.settings.unsubscribe_secrets[0],
        parts.settings.secret_key.get_secret_value(),
    )
    snapshots = Snapshots(catalog, parts.providers, parts.health)
    limits = Limits(parts.limiter, catalog, metrics, parts.settings.secret_key.get_secret_value())
    transitions = Transitions(
        ledger, limits, metrics, parked_workflows_max=catalog.parking.open_workflows_max
    )
    admission = Admission(ledger, snapshots, transitions, limits)
    planner = Planner(ledger, snapshots, transitions, parts.health)

    def passes(*, counts_in_flight: bool) -> DeliveryPass:
        calls = ProviderCalls(
            ledger,
            parts.providers,
            parts.health,
            catalog,
            messages,
            metrics,
            counts_in_flight=counts_in_flight,
        )
        resolver = Resolver(ledger, parts.receipts, parts.providers, calls, transitions, messages, catalog)
        return DeliveryPass(ledger, snapshots, transitions, limits, calls, resolver)

    # Calls of batches do not count as under way: they must not keep other first passes out of workflow tasks.
    items = BatchItems(planner, admission, passes(counts_in_flight=False), catalog)
    overdue = OverdueReceipts(ledger, parts.receipts, parts.providers, snapshots, transitions, catalog)
    slots, prefetched = parts.slots, parts.prefetched
    return {
        "check_preferences": CheckPreferences(planner, slots, prefetched).check_preferences,
        "check_rate_limit": CheckRateLimit(admission, prefetched).check_rate_limit,
        "deliver": Deliver(passes(counts_in_flight=True), slots, prefetched).deliver,
        "poll_delivery_status": PollDeliveryStatus(overdue).poll_delivery_status,
        "deliver_batch": DeliverBatch(
            parts.batch_queue, items, catalog.dispatch, metrics, parts.turns, parts.stopping
        ).deliver_batch,
    }


def _maintenance(parts: Parts) -> dict[str, Activity]:
    reconcile = Reconcile(parts.pool, parts.metrics, parts.settings.catalog.retention)
    return {
        "requeue_lost": reconcile.requeue_lost,
        "report_drift": reconcile.report_drift,
        "watch_dead_letters": reconcile.watch_dead_letters,
        "maintain": reconcile.maintain,
    }


def _broadcasts(parts: Parts) -> dict[str, Activity]:
    secret = parts.settings.secret_key.get_secret_value()
    processor = BroadcastProcessor(
        BroadcastChunks(parts.pool),
        parts.ledger,
        parts.settings.catalog,
        namespace(secret),
        parts.settings.fingerprint_secrets,
        parts.metrics,
        AuditLog(parts.pool, chain_key(secret), appended=partial(report_entries, parts.metrics)),
    )
    broadcasting = Broadcasting(processor)
    return {
        "gather_recipients": broadcasting.gather_recipients,
        "accept_recipients": broadcasting.accept_recipients,
        "stop_accepted": broadcasting.stop_accepted,
        "follow_broadcast": broadcasting.follow_broadcast,
        "apply_broadcast_command": broadcasting.apply_broadcast_command,
    }
