"""Whether a delivery has a place under its user's limits."""

from uuid import UUID

import structlog
from temporalio import activity

from activities.limits import Limits
from activities.read_ahead import ReadAhead
from domain.notification import Delivery, Notification
from domain.status import SENDABLE
from domain.steps import DeliveryRef, LimitResult
from storage.group import LedgerError
from storage.ledger import Ledger
from storage.rows import Move
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)


class CheckRateLimit:
    """Reserves a delivery's places, and settles or defers the one that has none."""

    def __init__(self, ledger: Ledger, limits: Limits, metrics: Metrics, read_ahead: ReadAhead) -> None:
        self._ledger = ledger
        self._read_ahead = read_ahead
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
        notification = self._read_ahead.see(delivery_id) or await self._ledger.load(notification_id)
        delivery = (
            next((d for d in notification.deliveries if d.id == delivery_id), None) if notification else None
        )
        if notification is None or delivery is None or delivery.state not in SENDABLE:
            return LimitResult(admitted=False, state=delivery.state if delivery else "")
        return await self.admit(notification, delivery)

    async def admit(self, notification: Notification, delivery: Delivery) -> LimitResult:
        """As the activity, for a sendable delivery that was loaded just now, of a type with limits. Raises
        LedgerError.
        """
        after = await self._limits.reserve(notification, delivery, self._metrics)
        if after is None:
            return LimitResult(admitted=True)
        moved = await self._ledger.move(Move(notification.id, delivery.id, delivery.version, after))
        return LimitResult(
            admitted=False, state=moved.state if moved else "", reason=after.reason_code if moved else None
        )
