"""Admits deliveries under their limits, and drops or defers those above a limit."""

from uuid import UUID

from delivery.limits import Limits
from delivery.snapshots import Snapshots
from delivery.transitions import Transitions
from domain.contracts import LimitResult
from domain.decision import decide
from domain.notification import Channel, Delivery, Notification
from domain.status import SENDABLE
from storage.ledger import Ledger


class Admission:
    """Reserves places under the limits before the first pass of a delivery."""

    def __init__(
        self, ledger: Ledger, snapshots: Snapshots, transitions: Transitions, limits: Limits
    ) -> None:
        self._ledger = ledger
        self._snapshots = snapshots
        self._transitions = transitions
        self._limits = limits

    def is_limited(self, type_name: str, channel: Channel) -> bool:
        """Whether a type has any limit on a channel."""
        return self._limits.apply_to(type_name, channel)

    async def admit_id(
        self, notification_id: UUID, delivery_id: UUID, loaded: Notification | None = None
    ) -> LimitResult:
        """Admit a delivery by its id. `loaded`: the notification, if it was read just now.

        Raises storage.group.LedgerError.
        """
        notification = loaded or await self._ledger.load(notification_id)
        if notification is None:
            return LimitResult(admitted=False)
        delivery = notification.delivery_by_id(delivery_id)
        if delivery.status not in SENDABLE:
            return LimitResult(admitted=False, status=delivery.status)
        return await self.admit(notification, delivery)

    async def admit(self, notification: Notification, delivery: Delivery) -> LimitResult:
        """Admit a sendable delivery that was loaded just now, of a type with limits.

        Raises storage.group.LedgerError.
        """
        reached = await self._limits.reserve(notification, delivery)
        if reached is None:
            return LimitResult(admitted=True)
        snapshot = self._snapshots.of(notification, delivery)
        after = decide(snapshot, reached)
        updated = await self._transitions.apply(snapshot, after)
        if updated is None:
            return LimitResult(admitted=False)
        return LimitResult(admitted=False, status=updated.status, reason=after.reason_code)
