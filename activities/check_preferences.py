"""The `check_preferences` activity: plans a notification."""

from uuid import UUID

import structlog
from temporalio import activity

from activities.errors import is_local, retry_later
from delivery.planner import Planner
from delivery.prefetch import PrefetchCache
from delivery.slots import InFlightSlots
from domain.contracts import Action, NotificationRef, Plan
from storage.group import LedgerError

log = structlog.stdlib.get_logger(__name__)

REPLAN_S = 1.0
"""How long after a notification kept changing it is planned again, in seconds."""


class CheckPreferences:
    """Plans notifications."""

    def __init__(self, planner: Planner, slots: InFlightSlots, prefetched: PrefetchCache) -> None:
        self._planner = planner
        self._slots = slots
        self._prefetched = prefetched

    @activity.defn(name="check_preferences")
    async def check_preferences(self, ref: NotificationRef) -> Plan:
        """Apply what preferences, contacts or the clock decide, and plan the rest.

        As a local activity it reports a failed plan; as a regular one it raises, to be retried.
        """
        try:
            id = UUID(ref.notification_id)
            plan, notification = await self._planner.plan(id, self._prefetched.take(id))
        except LedgerError as error:
            if not is_local():
                raise
            log.warning("plan_failed", notification_id=ref.notification_id, why=str(error))
            return Plan(failed=True)
        if plan.failed and not is_local():
            raise retry_later("the notification kept changing", REPLAN_S)
        fast = [step for step in plan.steps if step.action is Action.SEND and step.fast]
        if notification is not None:
            for step in fast:
                self._prefetched.put(UUID(step.delivery_id), notification)
        # Without a fast step the notification leaves the workflow task now, and needs no slot.
        if not fast:
            self._slots.release(ref.notification_id)
        return plan
