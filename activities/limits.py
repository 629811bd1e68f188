"""The limits of a delivery: which ones it counts under, and its one place under each."""

from datetime import UTC, datetime

from domain.notification import Delivery, Lane, Notification
from domain.notification_types import Catalog
from ratelimit.keys import LimitKey, limit_keys
from ratelimit.limiter import Limiter, OnLoss, Reservation


class Limits:
    """Reserves and releases the places of deliveries."""

    def __init__(self, limiter: Limiter, catalog: Catalog) -> None:
        self._limiter = limiter
        self._catalog = catalog

    def apply_to(self, type_name: str, channel: str) -> bool:
        """Whether a type has any limit on a channel."""
        return any(limit.channel == channel for limit in self._catalog.types[type_name].limits)

    async def reserve(self, notification: Notification, delivery: Delivery) -> Reservation:
        """Reserve the delivery's places; reserving again keeps the ones it has."""
        critical = notification.lane is Lane.CRITICAL
        return await self._limiter.reserve(
            self._keys(notification, delivery),
            str(delivery.id),
            OnLoss.PASS if critical else OnLoss.WAIT,
        )

    async def release(self, notification: Notification, delivery: Delivery) -> None:
        """Give the places back: the delivery ended without a send."""
        await self._limiter.release(self._keys(notification, delivery), str(delivery.id))

    def _keys(self, notification: Notification, delivery: Delivery) -> tuple[LimitKey, ...]:
        return limit_keys(
            notification.tenant,
            notification.user_id,
            notification.type,
            self._catalog.types[notification.type],
            delivery.channel,
        )


def free_at(reservation: Reservation) -> datetime:
    """When a place is free again, for a reservation that was not admitted."""
    return datetime.fromtimestamp(reservation.free_at_s or 0, UTC)
