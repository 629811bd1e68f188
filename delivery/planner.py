"""Plans a notification: applies every transition that needs no send, and returns the remaining steps."""

from dataclasses import replace
from uuid import UUID

from delivery.provider_health import ProviderHealth
from delivery.snapshots import Snapshots
from delivery.transitions import Transitions
from domain.contracts import Action, Plan, Step
from domain.decision import decide
from domain.notification import Notification
from domain.required_action import required_action
from domain.snapshot import DeliverySnapshot
from domain.transition import Call, Decision, Transition, Wait
from storage.ledger import Ledger

READS_MAX = 8
"""A notification that keeps changing is planned again by a retried activity."""


class Planner:
    """Plans from the ledger only, so that a workflow can be restarted at any time."""

    def __init__(
        self, ledger: Ledger, snapshots: Snapshots, transitions: Transitions, health: ProviderHealth
    ) -> None:
        self._ledger = ledger
        self._snapshots = snapshots
        self._transitions = transitions
        self._health = health

    async def plan(
        self, notification_id: UUID, loaded: Notification | None = None
    ) -> tuple[Plan, Notification | None]:
        """Apply what needs no send, and plan the rest. Also returns the notification that was planned.

        `loaded`: the notification, if it was read just now. Raises storage.group.LedgerError.
        """
        notification = None
        for _ in range(READS_MAX):
            notification, loaded = loaded or await self._ledger.load(notification_id), None
            if notification is None:
                return Plan(), None
            snapshots = [self._snapshots.of(notification, delivery) for delivery in notification.deliveries]
            decided = [(snapshot, decide(snapshot)) for snapshot in snapshots]
            transitions = [(seen, after) for seen, after in decided if isinstance(after, Transition)]
            if not transitions:
                steps = [await self._step(seen, decision) for seen, decision in decided]
                steps = [step for step in steps if step.action is not Action.NOTHING]
                return Plan(notification.status, notification.type, notification.lane, steps), notification
            for snapshot, after in transitions:
                await self._transitions.apply(snapshot, after)
        return Plan(failed=True), notification

    async def _step(self, snapshot: DeliverySnapshot, decision: Decision) -> Step:
        delivery, needed = snapshot.delivery, required_action(snapshot, decision)
        if isinstance(decision, Wait):
            # It may have ended elsewhere: a client cancelled it, or an operator discarded it.
            await self._transitions.conclude(snapshot)
        step = Step(
            str(delivery.id),
            delivery.channel.value,
            needed.action,
            needed.wait_s,
            needed.status,
            needed.reason,
            keeps_workflow=needed.keeps_workflow,
        )
        if isinstance(decision, Call):
            fast = self._health.is_fast(decision.candidate.provider)
            limited = delivery.channel in snapshot.context.limited
            return replace(step, fast=fast, limited=limited)
        if step.action is Action.PARKED:
            return replace(step, keeps_workflow=await self._transitions.keeps_workflow())
        return step
