"""What a notification needs now: preferences, quiet hours, contacts and expiry, then a plan of steps."""

from uuid import UUID

import structlog
from temporalio import activity

from activities.first_passes import FirstPasses
from activities.provider_gate import ProviderGate
from domain import decisions
from domain.decisions import Next, Rules
from domain.next_step import settled
from domain.notification import Delivery, Notification
from domain.notification_types import Catalog
from domain.preferences import Decision, decide
from domain.reasons import Reason
from domain.routing import rank
from domain.status import PARKED, SENDABLE, Status
from domain.steps import Action, NotificationRef, Plan, Step
from storage.group import LedgerError
from storage.ledger import Ledger
from storage.rows import Move

log = structlog.stdlib.get_logger(__name__)

READS_MAX = 8
"""A notification that keeps moving under us is planned from what was seen last."""


class CheckPreferences:
    """The plan of a notification, made from the ledger alone, so that any run can be started again."""

    def __init__(
        self, ledger: Ledger, catalog: Catalog, gate: ProviderGate, first_passes: FirstPasses
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._gate = gate
        self._first_passes = first_passes

    @activity.defn(name="check_preferences")
    async def check_preferences(self, ref: NotificationRef) -> Plan:
        """Move what the preferences, the contacts or the clock settle, and plan the rest."""
        try:
            plan = await self._plan(UUID(ref.notification_id))
        except LedgerError as error:
            if not activity.info().is_local:
                raise
            log.warning("plan_failed", notification_id=ref.notification_id, why=str(error))
            return Plan(failed=True)
        # One that is not fast leaves the workflow task at once: it must not hold a place for its call.
        if not any(step.action is Action.SEND and step.fast for step in plan.steps):
            self._first_passes.done(ref.notification_id)
        return plan

    async def _plan(self, notification_id: UUID) -> Plan:
        for _ in range(READS_MAX):
            notification = await self._ledger.load(notification_id)
            if notification is None:
                return Plan()
            rules = Rules.of(self._catalog, self._catalog.types[notification.type])
            moves = [
                (delivery, after)
                for delivery in notification.deliveries
                if (after := self._settles(notification, delivery, rules))
            ]
            if not moves:
                return await self._steps(notification, rules)
            for delivery, after in moves:
                await self._ledger.move(Move(notification.id, delivery.id, delivery.version, after))
        return Plan(failed=True)

    def _settles(self, notification: Notification, delivery: Delivery, rules: Rules) -> Next | None:
        """What the delivery comes to without anything being sent; None if it stays as it is."""
        now = notification.now
        if delivery.state in PARKED and delivery.due_at is not None and delivery.due_at <= now:
            return Next(Status.FAILED, None, Reason.PARKED_TOO_LONG, event="failed")
        if delivery.state not in SENDABLE:
            return None
        if now >= delivery.expires_at:
            return decisions.expired()
        if now < delivery.next_pass_at or delivery.attempts:
            return None
        verdict = decide(
            now,
            rules.type,
            notification.type,
            delivery.channel,
            notification.recipient,
            rules.sms_countries,
        )
        if verdict.decision is Decision.SUPPRESSED:
            return decisions.suppressed(verdict)
        if verdict.decision is Decision.UNREACHABLE:
            return decisions.unreachable(verdict)
        if verdict.decision is Decision.DEFERRED and verdict.until is not None:
            return decisions.defer(delivery, verdict.until, verdict.reason)
        return None

    async def _steps(self, notification: Notification, rules: Rules) -> Plan:
        steps: list[Step] = []
        for delivery in notification.deliveries:
            step = self._step(notification, delivery, rules)
            if step.action is Action.PARKED:
                kept = await self._ledger.parked_count() <= self._catalog.parking.open_workflows_max
                step = Step(
                    step.delivery_id,
                    step.channel,
                    step.action,
                    step.wait_s,
                    step.state,
                    step.reason,
                    hold=kept,
                )
            if step.action is not Action.NOTHING:
                steps.append(step)
        return Plan(notification.status, notification.type, notification.lane, steps)

    def _step(self, notification: Notification, delivery: Delivery, rules: Rules) -> Step:
        now = notification.now
        id, channel = str(delivery.id), delivery.channel.value
        if delivery.state is Status.SENDING:
            return Step(id, channel, Action.RETRY, state=delivery.state, reason=delivery.reason_code)
        if delivery.state in SENDABLE:
            if now >= delivery.next_pass_at:
                fast = self._is_fast(notification, delivery, rules)
                limited = rules.type.limits_on(delivery.channel)
                return Step(id, channel, Action.SEND, state=delivery.state, fast=fast, limited=limited)
            # What waits for a retry keeps its pending activity; whatever else waits does so in the ledger.
            action = Action.RETRY if delivery.reason_code == Reason.RETRY else Action.NOTHING
            wait_s = (delivery.next_pass_at - now).total_seconds()
            return Step(id, channel, action, wait_s, delivery.state, delivery.reason_code)
        result = settled(notification, delivery, rules)
        return Step(id, channel, result.action, result.wait_s, result.state, result.reason, hold=result.hold)

    def _is_fast(self, notification: Notification, delivery: Delivery, rules: Rules) -> bool:
        route = self._gate.route(delivery.channel, rules.type, notification.recipient)
        usable = rank(notification, delivery, route).usable
        return bool(usable) and self._gate.is_fast(usable[0].provider)
