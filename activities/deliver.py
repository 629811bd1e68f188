"""The `deliver` activity: one pass, first in the workflow task, then retried by Temporal."""

from uuid import UUID

import structlog
from temporalio import activity

from activities.errors import is_local, ledger_away, retry_later
from delivery.delivery_pass import DeliveryPass
from delivery.prefetch import PrefetchCache
from delivery.slots import InFlightSlots
from domain.contracts import Action, DeliveryRef, PassResult
from storage.group import LedgerError

log = structlog.stdlib.get_logger(__name__)


class Deliver:
    """Runs one pass over a delivery."""

    def __init__(self, passes: DeliveryPass, slots: InFlightSlots, prefetched: PrefetchCache) -> None:
        self._passes = passes
        self._slots = slots
        self._prefetched = prefetched

    @activity.defn(name="deliver")
    async def deliver(self, ref: DeliveryRef) -> PassResult:
        """Run one pass. As a local activity it always returns. As a regular one it fails benignly, with the
        ledger's next time, until the delivery needs something other than another pass.
        """
        local = is_local()
        try:
            id = UUID(ref.delivery_id)
            result = await self._passes.run(UUID(ref.notification_id), id, self._prefetched.take(id))
        except LedgerError as error:
            if not local:
                raise ledger_away(error) from error
            log.warning("pass_failed", notification_id=ref.notification_id, why=str(error))
            return PassResult(Action.RETRY, detail="the ledger did not answer")
        finally:
            if local:
                self._slots.release(ref.notification_id)
        if result.action is Action.RETRY and not local:
            raise retry_later(result.detail, result.wait_s)
        return result
