"""The limits of a delivery: which ones it counts under, and its one place under each."""

from datetime import UTC, datetime, timedelta

from domain import decisions
from domain.decisions import Next
from domain.notification import Delivery, Lane, Notification
from domain.notification_types import Catalog, OnLimit
from domain.reasons import Reason
from domain.status import Status
from ratelimit.keys import LimitKey, limit_keys
from ratelimit.limiter import Limiter, OnLoss, Reservation
from telemetry.metrics import Metrics


class Limits:
    """Reserves and releases the places of deliveries."""

    def __init__(self, limiter: Limiter, catalog: Catalog) -> None:
        self._limiter = limiter
        self._catalog = catalog

    def apply_to(self, type_name: str, channel: str) -> bool:
        """Whether a type has any limit on a channel."""
        return self._catalog.types[type_name].limits_on(channel)

    async def reserve(self, notification: Notification, delivery: Delivery, metrics: Metrics) -> Next | None:
        """Reserve the delivery's places, or keep those it has, for a send that follows now.

        None: it may send. Otherwise what it comes to without a place.
        """
        critical = notification.lane is Lane.CRITICAL
        reservation = await self._limiter.reserve(
            self._keys(notification, delivery),
            str(delivery.id),
            OnLoss.PASS if critical else OnLoss.WAIT,
        )
        if reservation.store_lost:
            metrics.limiter_lost.add(decision="pass" if reservation.admitted else "wait")
        elif not reservation.admitted:
            metrics.limiter_denied.add(type=notification.type, channel=delivery.channel)
        return None if reservation.admitted else denied(notification, delivery, reservation)

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


def denied(notification: Notification, delivery: Delivery, reservation: Reservation) -> Next:
    """What a delivery without a place comes to: dropped if any limit drops, else deferred until one frees.

    With the limiter's store lost it waits whatever its type says: nobody knows that it is above its limit.
    """
    again = max(free_at(reservation), notification.now + timedelta(seconds=1))
    if reservation.store_lost:
        return decisions.defer(delivery, again, Reason.LIMIT_STORE_LOST)
    if any(key.then is OnLimit.DROP for key in reservation.denied):
        data = {"limits": [f"{key.max} in {key.per_s:.0f} s" for key in reservation.denied]}
        return Next(Status.RATE_LIMITED, None, Reason.RATE_LIMITED, event="rate_limited", data=data)
    return decisions.defer(delivery, again, Reason.RATE_LIMITED)


def free_at(reservation: Reservation) -> datetime:
    """When a place is free again, for a reservation that was not admitted."""
    return datetime.fromtimestamp(reservation.free_at_s or 0, UTC)
