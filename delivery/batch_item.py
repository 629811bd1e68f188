"""One notification of a batch: planned, limited and sent by the code that a dedicated workflow would run."""

import asyncio
from enum import StrEnum
from uuid import UUID

from delivery.admission import Admission
from delivery.delivery_pass import DeliveryPass
from delivery.planner import Planner
from domain.batching import needs_workflow
from domain.contracts import Action, PassResult, Plan, Step
from domain.notification import Notification
from domain.notification_types import Catalog
from domain.reasons import Reason

_UNAVAILABLE = frozenset({Reason.PROVIDER_DOWN, Reason.LIMIT_STORE_LOST})


class BatchItemResult(StrEnum):
    """The result of a notification, for its batch."""

    SETTLED = "settled"
    """The batch is done with it: final, sent, parked or deferred in the ledger."""
    WAITING = "waiting"
    """Deferred without a call: no provider may be called, or the limits cannot be checked."""
    DEDICATED_WORKFLOW = "dedicated_workflow"
    """It needs more than its first pass, and so a dedicated workflow."""
    LEFT = "left"
    """It could not be processed now; it falls due again when its claim ends."""


class BatchItems:
    """Carries notifications through their first pass, as workflows/notification.py does."""

    def __init__(
        self, planner: Planner, admission: Admission, passes: DeliveryPass, catalog: Catalog
    ) -> None:
        self._planner = planner
        self._admission = admission
        self._passes = passes
        self._catalog = catalog

    async def run(self, notification_id: UUID) -> BatchItemResult:
        """Run its first pass on every channel, independently of each other.

        Raises storage.group.LedgerError, and any other exception for a broken notification.
        """
        plan, notification = await self._planner.plan(notification_id)
        if plan.failed:
            return BatchItemResult.LEFT
        if notification is None:
            return BatchItemResult.SETTLED
        if not plan.steps:
            put_off = all(delivery.reason_code in _UNAVAILABLE for delivery in notification.deliveries)
            return BatchItemResult.WAITING if put_off else BatchItemResult.SETTLED
        if self._needs_dedicated_workflow(plan, notification):
            return BatchItemResult.DEDICATED_WORKFLOW
        under_way = [asyncio.create_task(self._carry(notification, step)) for step in plan.steps]
        await asyncio.wait(under_way)
        return _combined([task.result() for task in under_way])

    def _needs_dedicated_workflow(self, plan: Plan, notification: Notification) -> bool:
        """Whether a batch must not send it: its type was changed, or it was tried before."""
        type = self._catalog.types[notification.type]
        return needs_workflow(type, notification.strategy) or any(
            step.action is not Action.SEND and step.keeps_workflow for step in plan.steps
        )

    async def _carry(self, notification: Notification, step: Step) -> PassResult:
        if step.action is not Action.SEND:
            return PassResult(
                step.action, step.status, step.reason, step.wait_s, keeps_workflow=step.keeps_workflow
            )
        delivery = notification.delivery_by_id(UUID(step.delivery_id))
        if step.limited:
            limited = await self._admission.admit(notification, delivery)
            if not limited.admitted:
                return PassResult(Action.NOTHING, limited.status, limited.reason)
        return await self._passes.run(notification.id, delivery.id, notification)


def _combined(results: list[PassResult]) -> BatchItemResult:
    """The notification's result, from those of its channels."""
    if any(result.action is not Action.NOTHING and result.keeps_workflow for result in results):
        return BatchItemResult.DEDICATED_WORKFLOW
    if all(result.reason in _UNAVAILABLE for result in results):
        return BatchItemResult.WAITING
    return BatchItemResult.SETTLED
