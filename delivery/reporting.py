"""What is reported outside the ledger: alerts for operators, audit entries, and the size and cost of SMS."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from domain.audit import StoredEntry
from domain.outcome import Outcome, SendResult
from domain.snapshot import Snapshot
from domain.transition import Transition
from telemetry.logs import alert
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)


def alert_parked(metrics: Metrics, snapshot: Snapshot, after: Transition, **ids: str) -> None:
    """Count and alert that the delivery was parked, unless a test key sent it. `ids` are ids and codes."""
    notification, channel = snapshot.notification, snapshot.delivery.channel
    if notification.is_test:
        return
    metrics.dead_letters.add(type=notification.type, channel=channel)
    alert(
        after.status,
        notification_id=str(notification.id),
        tenant=notification.tenant,
        type=notification.type,
        channel=channel,
        reason=after.reason_code,
        **ids,
    )


def count_sms(metrics: Metrics, provider: str, size: Mapping[str, Any] | None, result: SendResult) -> None:
    """Count an accepted SMS by its size (delivery.evidence.sms_size; None: not an SMS).

    A vendor that counts segments differently also charges differently: our prices or tables are wrong.
    """
    if size is None or result.outcome is not Outcome.ACCEPTED:
        return
    metrics.sms_segments.add(size["segments"], provider=provider)
    if "cost" in size:
        metrics.sms_cost.add(float(size["cost"]), provider=provider, currency=size["currency"])
    if result.segments not in (None, size["segments"]):
        metrics.sms_segments_differ.add(provider=provider)
        log.warning("segments_differ", provider=provider, ours=size["segments"], theirs=result.segments)


def report_entries(metrics: Metrics, entries: Sequence[StoredEntry]) -> None:
    """Count and log new entries of the audit log. Their hashes show later whether its end was removed."""
    for entry in entries:
        metrics.audit_entries.add(action=entry.action)
        log.info(
            "audited",
            entry=entry.sequence,
            action=entry.action,
            actor=entry.origin.actor,
            tenant=entry.origin.tenant,
            about=entry.subject,
            request_id=entry.origin.request_id,
            hash=entry.hash.hex(),
        )
