"""The `deliver` activity: one pass, in the workflow task on the fast path, retried by Temporal afterwards."""

from uuid import UUID

import structlog
from temporalio import activity

from activities.delivery_pass import DeliveryPass
from activities.early import UNAVAILABLE_S, not_yet
from activities.first_passes import FirstPasses
from activities.read_ahead import ReadAhead
from domain.steps import Action, DeliveryRef, PassResult
from storage.group import LedgerError

log = structlog.stdlib.get_logger(__name__)


class Deliver:
    """Runs one pass over a delivery."""

    def __init__(self, passes: DeliveryPass, first_passes: FirstPasses, read_ahead: ReadAhead) -> None:
        self._passes = passes
        self._first_passes = first_passes
        self._read_ahead = read_ahead

    @activity.defn(name="deliver")
    async def deliver(self, ref: DeliveryRef) -> PassResult:
        """One pass. As a local activity it always returns; as a regular one it fails, benignly and with the
        ledger's own next time, until the delivery needs something else than another pass.
        """
        local = activity.info().is_local
        try:
            id = UUID(ref.delivery_id)
            result = await self._passes.run(UUID(ref.notification_id), id, self._read_ahead.take(id))
        except LedgerError as error:
            if not local:
                raise not_yet(f"the ledger did not answer ({type(error).__name__})", UNAVAILABLE_S) from error
            log.warning("pass_failed", notification_id=ref.notification_id, why=str(error))
            return PassResult(Action.RETRY, detail="the ledger did not answer")
        finally:
            if local:
                self._first_passes.done(ref.notification_id)
        if result.action is Action.RETRY and not local:
            raise not_yet(result.detail, result.wait_s)
        return result
