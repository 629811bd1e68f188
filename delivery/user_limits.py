"""The limits per user: which ones a delivery counts under, and its place under each."""

from datetime import UTC, datetime

from domain.limit_decision import LimitReached, is_sent_uncounted
from domain.notification import Delivery, Notification
from domain.notification_types import Catalog, OnLimit
from ratelimit.keys import LimitKey, limit_keys
from ratelimit.limiter import Limiter, OnLoss, Reservation
from telemetry.metrics import Metrics


class UserLimits:
    """Reserves and releases the places of deliveries."""

    def __init__(self, limiter: Limiter, catalog: Catalog, metrics: Metrics) -> None:
        self._limiter = limiter
        self._catalog = catalog
        self._metrics = metrics

    def apply_to(self, type_name: str, channel: str) -> bool:
        """Whether a type has any limit on a channel."""
        return self._catalog.types[type_name].limits_on(channel)

    async def reserve(self, notification: Notification, delivery: Delivery) -> LimitReached | None:
        """Reserve the delivery's places, or keep those it has, for a send that follows now.

        None: it may be sent.
        """
        reservation = await self._limiter.reserve(
            self._keys(notification, delivery),
            str(delivery.id),
            OnLoss.PASS if is_sent_uncounted(notification.lane) else OnLoss.WAIT,
        )
        if reservation.store_lost:
            self._metrics.limiter_lost.add(result="pass" if reservation.admitted else "wait")
        elif not reservation.admitted:
            self._metrics.limiter_denied.add(type=notification.type, channel=delivery.channel)
        return None if reservation.admitted else _reached(reservation)

    async def release(self, notification: Notification, delivery: Delivery) -> None:
        """Release the places of a delivery that ended unsent."""
        await self._limiter.release(self._keys(notification, delivery), str(delivery.id))

    def _keys(self, notification: Notification, delivery: Delivery) -> tuple[LimitKey, ...]:
        return limit_keys(
            notification.tenant,
            notification.user_id,
            notification.type,
            self._catalog.types[notification.type],
            delivery.channel,
        )


def _reached(reservation: Reservation) -> LimitReached:
    return LimitReached(
        datetime.fromtimestamp(reservation.free_at_s or 0, UTC),
        tuple(f"{key.max} in {key.per_s:.0f} s" for key in reservation.denied),
        store_lost=reservation.store_lost,
        drops=any(key.then is OnLimit.DROP for key in reservation.denied),
    )
