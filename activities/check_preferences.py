"""What a notification needs now: preferences, quiet hours, contacts and expiry, then a plan of steps."""

from uuid import UUID

import structlog
from temporalio import activity

from activities.first_passes import FirstPasses
from activities.planner import Planner
from activities.read_ahead import ReadAhead
from domain.steps import Action, NotificationRef, Plan
from storage.group import LedgerError

log = structlog.stdlib.get_logger(__name__)


class CheckPreferences:
    """The plan of a notification, as an activity."""

    def __init__(self, planner: Planner, first_passes: FirstPasses, read_ahead: ReadAhead) -> None:
        self._planner = planner
        self._first_passes = first_passes
        self._read_ahead = read_ahead

    @activity.defn(name="check_preferences")
    async def check_preferences(self, ref: NotificationRef) -> Plan:
        """Move what the preferences, the contacts or the clock settle, and plan the rest."""
        try:
            id = UUID(ref.notification_id)
            plan, notification = await self._planner.plan(id, self._read_ahead.take(id))
        except LedgerError as error:
            if not activity.info().is_local:
                raise
            log.warning("plan_failed", notification_id=ref.notification_id, why=str(error))
            return Plan(failed=True)
        fast = [step for step in plan.steps if step.action is Action.SEND and step.fast]
        if notification is not None:
            for step in fast:
                self._read_ahead.put(UUID(step.delivery_id), notification)
        # One that is not fast leaves the workflow task at once: it must not hold a place for its call.
        if not fast:
            self._first_passes.done(ref.notification_id)
        return plan
