"""A receipt that is overdue: ask the provider, and decide what its silence means."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from temporalio import activity

from activities.early import UNAVAILABLE_S, not_yet
from domain.decisions import Next, Rules, has_channel_behind
from domain.next_step import outcome_of, settled
from domain.notification import Attempt, Delivery, Notification
from domain.notification_types import Catalog, OnUnknown
from domain.outcome import FINAL_RECEIPTS, Outcome
from domain.reasons import Reason
from domain.status import Status
from domain.steps import Action, DeliveryRef, PassResult
from providers.base import LookupFailed, Provider
from storage.group import LedgerError
from storage.ledger import Ledger
from storage.receipts import Receipts
from storage.rows import Move

POLL_AGAIN_S = 60.0
"""How often a type that reconciles asks again, in seconds."""


class PollDeliveryStatus:
    """Settles deliveries whose receipt did not come by its deadline."""

    def __init__(
        self, ledger: Ledger, receipts: Receipts, providers: Mapping[str, Provider], catalog: Catalog
    ) -> None:
        self._ledger = ledger
        self._receipts = receipts
        self._providers = providers
        self._catalog = catalog

    @activity.defn(name="poll_delivery_status")
    async def poll_delivery_status(self, ref: DeliveryRef) -> PassResult:
        """Ask for the receipt. Fails benignly, with a next time, while the type keeps asking."""
        try:
            result = await self._poll(UUID(ref.notification_id), UUID(ref.delivery_id))
        except LedgerError as error:
            raise not_yet(f"the ledger did not answer ({type(error).__name__})", UNAVAILABLE_S) from error
        if result.action is Action.POLL:
            raise not_yet(result.detail, result.wait_s)
        return result

    async def _poll(self, notification_id: UUID, delivery_id: UUID) -> PassResult:
        notification = await self._ledger.load(notification_id)
        if notification is None:
            return PassResult(Action.NOTHING)
        rules = Rules.of(self._catalog, self._catalog.types[notification.type])
        delivery = next(d for d in notification.deliveries if d.id == delivery_id)
        sent = next((a for a in reversed(delivery.attempts) if a.outcome is Outcome.ACCEPTED), None)
        # Later polls come a lease before the dispatcher would (see `silence`).
        overdue = delivery.due_at is not None and delivery.due_at <= rules.soon(notification.now)
        if delivery.state is not Status.SENT or not overdue or sent is None:
            return settled(notification, delivery, rules)
        if await self._reported(delivery, sent):
            return PassResult(Action.NOTHING, replan=True, detail=f"{sent.provider}: polled")
        after = silence(notification, delivery, rules)
        moved = await self._ledger.move(Move(notification.id, delivery.id, delivery.version, after))
        if moved is None:
            return PassResult(Action.NOTHING, replan=True)
        if after.state is Status.DEFERRED:
            return PassResult(
                Action.SEND, after.state, after.reason_code, detail="no receipt: the next provider"
            )
        if after.due_at is not None:
            return PassResult(
                Action.POLL, after.state, wait_s=POLL_AGAIN_S, detail=f"{sent.provider}: no receipt yet"
            )
        return outcome_of(notification, after, rules, "no receipt")

    async def _reported(self, delivery: Delivery, sent: Attempt) -> bool:
        """Whether the provider could tell what became of the message, and it was something final."""
        provider = self._providers.get(sent.provider)
        if provider is None or not provider.capabilities.polls or sent.provider_message_id is None:
            return False
        timeout_s = self._catalog.provider(sent.provider).timeout_s
        try:
            receipt = await provider.poll(sent.provider_message_id, timeout_s=timeout_s)
        except LookupFailed:
            return False
        if receipt is None:
            return False
        await self._receipts.apply_one(delivery.id, sent.no, receipt, "poll")
        return receipt.status in FINAL_RECEIPTS


def silence(notification: Notification, delivery: Delivery, rules: Rules) -> Next:
    """What it means that nobody can tell whether a sent message arrived."""
    now, event = notification.now, "no_receipt"
    if has_channel_behind(notification, delivery):
        return Next(Status.UNDELIVERED, None, Reason.NO_RECEIPT, event=event)
    alive = now < delivery.expires_at and bool(notification.content.body)
    if alive and rules.type.on_unknown is OnUnknown.FAILOVER:
        return Next(Status.DEFERRED, rules.soon(now), Reason.NO_RECEIPT, next_pass_at=now, event=event)
    again = now + timedelta(seconds=POLL_AGAIN_S)
    if rules.type.on_unknown is OnUnknown.RECONCILE and again < delivery.expires_at:
        # Whoever asked asks again at that time; if nobody does, the dispatcher comes after.
        return Next(Status.SENT, rules.soon(again))
    return Next(Status.SENT, None, Reason.NO_RECEIPT, event=event)
