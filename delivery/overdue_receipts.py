"""Settles deliveries whose receipt is overdue."""

from collections.abc import Mapping
from uuid import UUID

from delivery.snapshots import Snapshots
from delivery.transitions import Transitions
from domain.contracts import Action, PassResult
from domain.decision import decide
from domain.notification import Attempt
from domain.notification_types import Catalog
from domain.outcome import FINAL_RECEIPTS
from domain.overdue_receipt import ReceiptMissing, overdue
from domain.required_action import required_action
from domain.snapshot import DeliverySnapshot
from domain.transition import Transition
from providers.base import LookupFailed, Provider
from storage.ledger import Ledger
from storage.receipts import Receipts


class OverdueReceipts:
    """Asks providers for receipts, and applies what follows if there is no answer."""

    def __init__(
        self,
        ledger: Ledger,
        receipts: Receipts,
        providers: Mapping[str, Provider],
        snapshots: Snapshots,
        transitions: Transitions,
        catalog: Catalog,
    ) -> None:
        self._ledger = ledger
        self._receipts = receipts
        self._providers = providers
        self._snapshots = snapshots
        self._transitions = transitions
        self._catalog = catalog

    async def settle(self, notification_id: UUID, delivery_id: UUID) -> PassResult:
        """Ask for the receipt if it is overdue. POLL in the result: ask again in `wait_s` seconds.

        Raises storage.group.LedgerError.
        """
        notification = await self._ledger.load(notification_id)
        if notification is None:
            return PassResult(Action.NOTHING)
        snapshot = self._snapshots.of_id(notification, delivery_id)
        # Repeated polls run a lease before the dispatcher would claim it (domain/overdue_receipt.py).
        attempt = overdue(snapshot, head_start_s=snapshot.context.lease_s)
        if attempt is None:
            return self._not_overdue(snapshot)
        if await self._has_reported(snapshot, attempt):
            return PassResult(Action.NOTHING, replan=True, detail=f"{attempt.provider}: polled")
        return await self._apply(snapshot, attempt, decide(snapshot, ReceiptMissing()))

    def _not_overdue(self, snapshot: DeliverySnapshot) -> PassResult:
        decision = decide(snapshot)
        if isinstance(decision, Transition):
            # The next plan applies it.
            return PassResult(Action.NOTHING, replan=True)
        return required_action(snapshot, decision)

    async def _apply(self, snapshot: DeliverySnapshot, attempt: Attempt, after: Transition) -> PassResult:
        if await self._transitions.apply(snapshot, after) is None:
            return PassResult(Action.NOTHING, replan=True)
        return required_action(snapshot, after, f"{attempt.provider}: no receipt")

    async def _has_reported(self, snapshot: DeliverySnapshot, attempt: Attempt) -> bool:
        """Whether the provider reported a final receipt."""
        provider = self._providers.get(attempt.provider)
        if provider is None or not provider.capabilities.polls or attempt.provider_message_id is None:
            return False
        timeout_s = self._catalog.provider(attempt.provider).timeout_s
        try:
            receipt = await provider.poll(attempt.provider_message_id, timeout_s=timeout_s)
        except LookupFailed:
            return False
        if receipt is None:
            return False
        await self._receipts.apply_one(snapshot.delivery.id, attempt.number, receipt, "poll")
        return receipt.status in FINAL_RECEIPTS
