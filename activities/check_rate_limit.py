"""The `check_rate_limit` activity: checks a delivery's limits."""

from uuid import UUID

import structlog
from temporalio import activity

from activities.errors import is_local
from delivery.admission import Admission
from delivery.prefetch import PrefetchCache
from domain.contracts import DeliveryRef, LimitResult
from domain.notification import Channel
from storage.group import LedgerError

log = structlog.stdlib.get_logger(__name__)


class CheckRateLimit:
    """Admits deliveries."""

    def __init__(self, admission: Admission, prefetched: PrefetchCache) -> None:
        self._admission = admission
        self._prefetched = prefetched

    @activity.defn(name="check_rate_limit")
    async def check_rate_limit(self, ref: DeliveryRef) -> LimitResult:
        """Reserve the delivery's places, or keep those it has.

        Above a limit the delivery is dropped or deferred, as the limit says.
        """
        if not self._admission.is_limited(ref.type, Channel(ref.channel)):
            return LimitResult(admitted=True)
        notification_id, delivery_id = UUID(ref.notification_id), UUID(ref.delivery_id)
        try:
            return await self._admission.admit_id(
                notification_id, delivery_id, self._prefetched.peek(delivery_id)
            )
        except LedgerError as error:
            if not is_local():
                raise
            log.warning("limit_check_failed", notification_id=ref.notification_id, why=str(error))
            return LimitResult(admitted=False, failed=True)
