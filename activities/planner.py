"""Makes the plan of a notification: what preferences, contacts and the clock settle, and what is left."""

from uuid import UUID

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
from domain.steps import Action, Plan, Step
from storage.ledger import Ledger
from storage.rows import Move

READS_MAX = 8
"""A notification that keeps moving under us is planned from what was seen last."""


class Planner:
    """Plans from the ledger alone, so that whoever carries a notification can be started again."""

    def __init__(self, ledger: Ledger, catalog: Catalog, gate: ProviderGate) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._gate = gate

    async def plan(
        self, notification_id: UUID, loaded: Notification | None = None
    ) -> tuple[Plan, Notification | None]:
        """Move what can be settled without sending, and plan the rest; and the notification as it was then.

        `loaded`: as it was read just now. Raises storage.group.LedgerError.
        """
        notification = None
        for _ in range(READS_MAX):
            notification, loaded = loaded or await self._ledger.load(notification_id), None
            if notification is None:
                return Plan(), None
            rules = Rules.of(self._catalog, self._catalog.types[notification.type])
            moves = [
                (delivery, after)
                for delivery in notification.deliveries
                if (after := self._settles(notification, delivery, rules))
            ]
            if not moves:
                return await self._steps(notification, rules), notification
            for delivery, after in moves:
                await self._ledger.move(Move(notification.id, delivery.id, delivery.version, after))
        return Plan(failed=True), notification

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
