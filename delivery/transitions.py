"""Applies transitions that follow from no provider call, and what every transition entails."""

from delivery.limits import Limits
from delivery.reporting import alert_parked
from domain.limit_decision import refunds_charge, releases_places
from domain.snapshot import DeliverySnapshot
from domain.status import PARKED
from domain.transition import Transition
from storage.ledger import Ledger
from storage.records import DeliveryUpdate, Updated
from telemetry.metrics import Metrics


class Transitions:
    """Applies transitions to the ledger. One for each worker process."""

    def __init__(
        self, ledger: Ledger, limits: Limits, metrics: Metrics, *, parked_workflows_max: int
    ) -> None:
        """`parked_workflows_max`: how many parked notifications keep a waiting workflow."""
        self._ledger = ledger
        self._limits = limits
        self._metrics = metrics
        self._parked_workflows_max = parked_workflows_max

    async def apply(self, snapshot: DeliverySnapshot, after: Transition) -> Updated | None:
        """Apply a transition. None: the delivery changed; read it again.

        Raises storage.group.LedgerError.
        """
        delivery = snapshot.delivery
        updated = await self._ledger.update(
            DeliveryUpdate(snapshot.notification.id, delivery.id, delivery.version, after)
        )
        if updated is not None:
            await self.conclude(snapshot, after)
        return updated

    async def conclude(self, snapshot: DeliverySnapshot, after: Transition | None = None, **ids: str) -> None:
        """Do what follows from an applied transition: alert for a parked delivery, release unused places.

        Without `after`: what follows from the status that was read; it alerts for nothing. `ids` are ids and
        codes for the alert.
        """
        if after is not None and after.status in PARKED:
            alert_parked(self._metrics, snapshot, after, **ids)
        if releases_places(snapshot.delivery, after):
            await self._limits.release(snapshot.notification, snapshot.delivery)
        if refunds_charge(snapshot.delivery, after):
            await self._limits.refund(snapshot.notification, snapshot.delivery)

    async def keeps_workflow(self) -> bool:
        """Whether one more parked notification may keep its workflow open.

        Raises storage.group.LedgerError.
        """
        return await self._ledger.parked_count() <= self._parked_workflows_max
