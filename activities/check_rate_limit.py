"""Whether a delivery has a place under its user's limits."""

from datetime import timedelta
from uuid import UUID

import structlog
from temporalio import activity

from activities.check_preferences import defer
from activities.limits import Limits, free_at
from domain.decisions import Next
from domain.notification import Delivery, Notification
from domain.notification_types import OnLimit
from domain.reasons import Reason
from domain.status import SENDABLE, Status
from domain.steps import DeliveryRef, LimitResult
from ratelimit.limiter import Reservation
from storage.group import LedgerError
from storage.ledger import Ledger
from storage.rows import Move
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)


class CheckRateLimit:
    """Reserves a delivery's places, and settles or defers the one that has none."""

    def __init__(self, ledger: Ledger, limits: Limits, metrics: Metrics) -> None:
        self._ledger = ledger
        self._limits = limits
        self._metrics = metrics

    @activity.defn(name="check_rate_limit")
    async def check_rate_limit(self, ref: DeliveryRef) -> LimitResult:
        """Reserve; a place that is held already is kept.

        Without one the delivery is dropped or deferred, as its type says.
        """
        if not self._limits.apply_to(ref.type, ref.channel):
            return LimitResult(admitted=True)
        try:
            return await self._reserve(UUID(ref.notification_id), UUID(ref.delivery_id))
        except LedgerError as error:
            if not activity.info().is_local:
                raise
            log.warning("limit_check_failed", notification_id=ref.notification_id, why=str(error))
            return LimitResult(admitted=False, failed=True)

    async def _reserve(self, notification_id: UUID, delivery_id: UUID) -> LimitResult:
        notification = await self._ledger.load(notification_id)
        delivery = (
            next((d for d in notification.deliveries if d.id == delivery_id), None) if notification else None
        )
        if notification is None or delivery is None or delivery.state not in SENDABLE:
            return LimitResult(admitted=False, state=delivery.state if delivery else "")
        reservation = await self._limits.reserve(notification, delivery)
        if reservation.store_lost:
            self._metrics.limiter_lost.add(decision="pass" if reservation.admitted else "wait")
        if reservation.admitted:
            return LimitResult(admitted=True)
        if not reservation.store_lost:
            self._metrics.limiter_denied.add(type=notification.type, channel=delivery.channel)
        after = denied(notification, delivery, reservation)
        moved = await self._ledger.move(Move(notification.id, delivery.id, delivery.version, after))
        return LimitResult(admitted=False, state=moved.state if moved else "")


def denied(notification: Notification, delivery: Delivery, reservation: Reservation) -> Next:
    """What a delivery without a place comes to: dropped if any limit drops, else deferred until one frees.

    With the limiter's store lost it waits whatever its type says: nobody knows that it is above its limit.
    """
    free = free_at(reservation)
    if reservation.store_lost:
        return defer(delivery, max(free, notification.now + timedelta(seconds=1)), Reason.LIMIT_STORE_LOST)
    if any(key.then is OnLimit.DROP for key in reservation.denied):
        data = {"limits": [f"{key.max} in {key.per_s:.0f} s" for key in reservation.denied]}
        return Next(Status.RATE_LIMITED, None, Reason.RATE_LIMITED, event="rate_limited", data=data)
    return defer(delivery, max(free, notification.now + timedelta(seconds=1)), Reason.RATE_LIMITED)
