"""Applies transitions that follow from no provider call, and what every transition entails."""

from delivery.reporting import alert_parked
from delivery.user_limits import UserLimits
from domain.outcome import Outcome
from domain.snapshot import DeliverySnapshot
from domain.status import FINAL, PARKED, REACHED, Status
from domain.transition import Transition
from storage.ledger import Ledger
from storage.records import DeliveryUpdate, Updated
from telemetry.metrics import Metrics

_MAYBE_SENT = frozenset({Outcome.ACCEPTED, Outcome.UNKNOWN})


class Transitions:
    """Applies transitions to the ledger. One for each worker process."""

    def __init__(
        self, ledger: Ledger, limits: UserLimits, metrics: Metrics, *, parked_workflows_max: int
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

    async def conclude(self, snapshot: DeliverySnapshot, after: Transition) -> None:
        """Do what follows from an applied transition: alert for a parked delivery, release unused places."""
        if after.status in PARKED:
            alert_parked(self._metrics, snapshot, after)
        await self.release_unsent(snapshot, after.status)

    async def release_unsent(self, snapshot: DeliverySnapshot, status: Status) -> None:
        """Release the places under the user's limits of a delivery that ended with this status, unsent."""
        maybe_sent = any(attempt.outcome in _MAYBE_SENT for attempt in snapshot.delivery.attempts)
        if status in FINAL and status not in REACHED and not maybe_sent:
            await self._limits.release(snapshot.notification, snapshot.delivery)

    async def keeps_workflow(self) -> bool:
        """Whether one more parked notification may keep its workflow open.

        Raises storage.group.LedgerError.
        """
        return await self._ledger.parked_count() <= self._parked_workflows_max
