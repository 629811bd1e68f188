"""One pass over a delivery: load, decide and execute until the delivery needs something else.

The fast path in the first workflow task, the retried activity and batches all run the same pass. Every step
is a compare-and-set in the ledger; a pass that finds the delivery changed reads it again.
"""

from dataclasses import replace
from uuid import UUID

from delivery.call import ProviderCalls
from delivery.limits import Limits
from delivery.resolution import Resolver
from delivery.snapshots import Snapshots
from delivery.transitions import Transitions
from domain.call_decision import CallEnded
from domain.contracts import Action, PassResult
from domain.decision import decide
from domain.notification import Notification
from domain.required_action import continues_pass, required_action
from domain.snapshot import DeliverySnapshot
from domain.transition import Call, Resolve, Transition, Wait
from storage.ledger import Ledger

STEPS_MAX = 12
"""More steps than any route has candidates; a pass that needs more is retried later."""


class DeliveryPass:
    """Runs passes. One for each worker process."""

    def __init__(
        self,
        ledger: Ledger,
        snapshots: Snapshots,
        transitions: Transitions,
        limits: Limits,
        calls: ProviderCalls,
        resolver: Resolver,
    ) -> None:
        self._ledger = ledger
        self._snapshots = snapshots
        self._transitions = transitions
        self._limits = limits
        self._calls = calls
        self._resolver = resolver

    async def run(
        self, notification_id: UUID, delivery_id: UUID, loaded: Notification | None = None
    ) -> PassResult:
        """Do what the delivery needs now, and return what it needs next.

        `loaded`: the notification, if it was read just now. Raises storage.group.LedgerError if the ledger
        does not answer; then nothing is sent.
        """
        for _ in range(STEPS_MAX):
            notification, loaded = loaded or await self._ledger.load(notification_id), None
            if notification is None:
                return PassResult(Action.NOTHING, detail="no such notification")
            snapshot = self._snapshots.of_id(notification, delivery_id)
            result = await self._execute(snapshot)
            if result is not None:
                return result
        return PassResult(Action.RETRY, wait_s=1.0, detail="the delivery kept changing")

    async def _execute(self, snapshot: DeliverySnapshot) -> PassResult | None:
        """Execute one step. None: the ledger changed; read it again."""
        match decide(snapshot):
            case Wait() as wait:
                await self._transitions.conclude(snapshot)
                return await self._limit_parked(required_action(snapshot, wait))
            case Transition() as transition:
                return await self._apply(snapshot, transition)
            case Resolve(attempt) as resolve if attempt.outcome is None:
                return await self._resolver.resolve(snapshot, resolve)
            case Resolve() as resolve:
                return required_action(snapshot, resolve)
            case Call() as call:
                return await self._send(snapshot, call)

    async def _send(self, snapshot: DeliverySnapshot, call: Call) -> PassResult | None:
        # The limit's window starts at the send: a later send moves its place, or has lost it.
        counts = bool(snapshot.delivery.attempts) or self._limits.cost_counts(snapshot.delivery.channel)
        while refused := await self._calls.reserve(call.candidate.provider, snapshot.notification.tenant):
            snapshot = snapshot.with_blocked(call.candidate.provider, refused)
            decision = decide(snapshot)
            if not isinstance(decision, Call):
                assert isinstance(decision, Transition), (
                    "blocking a provider only changes the candidate, or ends the pass"
                )
                return await self._apply(snapshot, decision)
            call = decision
        # After the call is reserved: the cost of a call that is not made would keep others from sending.
        if counts and (above := await self._above_limit(snapshot, call)):
            await self._calls.give_back(call.candidate.provider)
            return await self._apply(snapshot, above)
        made = await self._calls.send(snapshot, call)
        if made is None:
            return None
        after = decide(made.snapshot, CallEnded(made.attempt, made.result))
        updated = await self._calls.record(made, after)
        if updated is None or updated.status is not after.status or continues_pass(made.snapshot, after):
            return None
        code = f" ({made.result.code})" if made.result.code else ""
        detail = f"{call.candidate.provider}: {made.result.outcome}{code}"
        await self._transitions.conclude(made.snapshot, after)
        return await self._limit_parked(required_action(made.snapshot, after, detail))

    async def _above_limit(self, snapshot: DeliverySnapshot, call: Call) -> Transition | None:
        """Reserve the delivery's places and the cost of this call. The transition if that is not possible."""
        reached = await self._limits.reserve(
            snapshot.notification, snapshot.delivery, call.candidate.provider
        )
        return decide(snapshot, reached) if reached else None

    async def _apply(self, snapshot: DeliverySnapshot, after: Transition) -> PassResult | None:
        if await self._transitions.apply(snapshot, after) is None:
            return None
        return await self._limit_parked(required_action(snapshot, after, after.reason_code or after.status))

    async def _limit_parked(self, result: PassResult) -> PassResult:
        """Keep a workflow open for a parked delivery only while few are parked."""
        if result.action is not Action.PARKED:
            return result
        return replace(result, keeps_workflow=await self._transitions.keeps_workflow())
