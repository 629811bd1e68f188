"""Tells the people on duty that a delivery waits for them."""

from domain.decisions import Next
from domain.notification import Delivery, Notification
from telemetry.logs import alert
from telemetry.metrics import Metrics


def raise_alarm(
    metrics: Metrics, notification: Notification, delivery: Delivery, after: Next, **ids: str
) -> None:
    """Count and alert that the delivery was parked as `after`. `ids` are ids and codes."""
    metrics.dead_letters.add(type=notification.type, channel=delivery.channel)
    alert(
        after.state,
        notification_id=str(notification.id),
        tenant=notification.tenant,
        type=notification.type,
        channel=delivery.channel,
        reason=after.reason_code,
        **ids,
    )
