"""Applies receipts from the inbox to the ledger, and wakes the workflows that wait for them."""

import asyncio

import structlog
from temporalio.client import Client

from dispatcher.away import LEDGER_AWAY
from dispatcher.listener import Listener
from dispatcher.waker import wake
from domain.notification_types import Catalog
from storage.receipt_rows import Applied, Changed
from storage.receipts import Receipts
from telemetry.logs import alert
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)

BATCH = 200
SWEEP_S = 1.0
MANY = 3
"""From so many receipts in a round on, more are likely under way."""
GATHER_S = 0.005
GATHER_S_MAX = 0.2
"""While rounds find several receipts, the next are let gather, so long for each that was found and so long
at most: together each costs a fraction, and the two of one message are applied as one.
"""
STAND_BACK_S = 2.0
"""A relay that stands back takes what nobody has applied for so long."""


class Relay:
    """The loop of one worker process over the inbox; any number of them may run at once."""

    def __init__(
        self,
        client: Client,
        receipts: Receipts,
        catalog: Catalog,
        listener: Listener,
        metrics: Metrics,
        *,
        stands_back: bool = False,
    ) -> None:
        """`stands_back`: its process has something more urgent to do, and other processes relay too."""
        self._client = client
        self._receipts = receipts
        self._catalog = catalog
        self._listener = listener
        self._metrics = metrics
        self._older_than_s = STAND_BACK_S if stands_back else 0.0

    async def run(self) -> None:
        """Relay until cancelled."""
        while True:
            taken = 0
            try:
                applied = await self._receipts.apply_due(BATCH, self._older_than_s)
                taken = applied.taken
                await self._tell(applied)
            except LEDGER_AWAY as error:
                log.warning("relaying_failed", why=type(error).__name__)
            if taken == BATCH:
                continue
            if self._older_than_s:
                await asyncio.sleep(SWEEP_S)
            elif taken < MANY:
                await self._listener.wait("herald_receipts", SWEEP_S)
            else:
                await asyncio.sleep(min(taken * GATHER_S, GATHER_S_MAX))

    async def _tell(self, applied: Applied) -> None:
        for late in applied.late:
            self._metrics.late_outcomes.add(provider=late.provider)
            alert(
                "late_outcome",
                notification_id=str(late.notification_id),
                provider=late.provider,
                resolved_as=late.outcome,
                outcome="accepted",
            )
        for orphan in applied.orphans:
            log.warning("receipt_orphaned", provider=orphan.provider, status=orphan.status)
        for change in applied.changed:
            self._metrics.deliveries.add(channel=change.channel, status=change.state)
        await asyncio.gather(*(self._wake(change) for change in applied.changed if self._may_wait(change)))

    def _may_wait(self, change: Changed) -> bool:
        type = self._catalog.types.get(change.type)
        return change.first or (type is not None and type.await_receipt)

    async def _wake(self, change: Changed) -> None:
        error = await wake(self._client, change.notification_id)
        if error is not None:
            # Not running, or Temporal is away: its own timer, or what is due, finds the ledger changed.
            log.debug("not_woken", notification_id=str(change.notification_id), status=error.status.name)
