"""The `poll_delivery_status` activity: asks for an overdue receipt."""

from uuid import UUID

from temporalio import activity

from activities.errors import ledger_away, retry_later
from delivery.overdue_receipts import OverdueReceipts
from domain.contracts import Action, DeliveryRef, PassResult
from storage.group import LedgerError


class PollDeliveryStatus:
    """Settles a delivery whose receipt is overdue."""

    def __init__(self, overdue: OverdueReceipts) -> None:
        self._overdue = overdue

    @activity.defn(name="poll_delivery_status")
    async def poll_delivery_status(self, ref: DeliveryRef) -> PassResult:
        """Ask for the receipt. Fails benignly, with its next time, while the type keeps asking."""
        try:
            result = await self._overdue.settle(UUID(ref.notification_id), UUID(ref.delivery_id))
        except LedgerError as error:
            raise ledger_away(error) from error
        if result.action is Action.POLL:
            raise retry_later(result.detail, result.wait_s)
        return result
