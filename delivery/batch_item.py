"""One notification of a page: planned, limited and sent by the code that its own workflow would run."""

import asyncio
from enum import StrEnum
from uuid import UUID

from delivery.admission import Admission
from delivery.delivery_pass import DeliveryPass
from delivery.planner import Planner
from domain.notification import Notification
from domain.notification_types import Catalog
from domain.paging import needs_workflow
from domain.reasons import Reason
from domain.steps import Action, PassResult, Plan, Step

_SHUT = frozenset({Reason.PROVIDER_DOWN, Reason.LIMIT_STORE_LOST})


class BatchItemResult(StrEnum):
    """What a notification came to, for the page that carried it."""

    SETTLED = "settled"
    """Nothing more is needed: final, sent, parked or deferred in the ledger."""
    WAITING = "waiting"
    """Put off without anything having been asked: no provider may be, or the limits cannot be checked."""
    SOLO = "solo"
    """It needs more than its first pass: a workflow of its own."""
    LEFT = "left"
    """It could not be carried now; it is due again when its claim ends."""


class PagePass:
    """Carries notifications through their first pass, as workflows/notification.py does."""

    def __init__(
        self, planner: Planner, admission: Admission, passes: DeliveryPass, catalog: Catalog
    ) -> None:
        self._planner = planner
        self._admission = admission
        self._passes = passes
        self._catalog = catalog

    async def run(self, notification_id: UUID) -> BatchItemResult:
        """Carry it through its first pass; every channel to its end, whatever another one comes to.

        Raises storage.group.LedgerError, and whatever a notification is broken enough to raise.
        """
        plan, notification = await self._planner.plan(notification_id)
        if plan.failed:
            return BatchItemResult.LEFT
        if notification is None:
            return BatchItemResult.SETTLED
        if not plan.steps:
            put_off = all(delivery.reason_code in _SHUT for delivery in notification.deliveries)
            return BatchItemResult.WAITING if put_off else BatchItemResult.SETTLED
        if self._is_solo(plan, notification):
            return BatchItemResult.SOLO
        under_way = [asyncio.create_task(self._carry(notification, step)) for step in plan.steps]
        await asyncio.wait(under_way)
        return _what_of([task.result() for task in under_way])

    def _is_solo(self, plan: Plan, notification: Notification) -> bool:
        """What a page may not send: its type was changed since, or something was tried before."""
        type = self._catalog.types[notification.type]
        return needs_workflow(type, notification.strategy) or any(
            step.action is not Action.SEND and step.hold for step in plan.steps
        )

    async def _carry(self, notification: Notification, step: Step) -> PassResult:
        if step.action is not Action.SEND:
            return PassResult(step.action, step.state, step.reason, step.wait_s, hold=step.hold)
        delivery = notification.delivery_by_id(UUID(step.delivery_id))
        if step.limited:
            limited = await self._admission.admit(notification, delivery)
            if not limited.admitted:
                return PassResult(Action.NOTHING, limited.state, limited.reason)
        return await self._passes.run(notification.id, delivery.id, notification)


def _what_of(results: list[PassResult]) -> BatchItemResult:
    """The notification's, of its channels' results."""
    if any(result.action is not Action.NOTHING and result.hold for result in results):
        return BatchItemResult.SOLO
    if all(result.reason in _SHUT for result in results):
        return BatchItemResult.WAITING
    return BatchItemResult.SETTLED
