"""Applies receipts from the inbox to the ledger, and wakes the workflows that wait for them."""

import asyncio

import structlog
from temporalio.client import Client

from dispatcher.listener import Listener
from dispatcher.loop import Rounds
from dispatcher.wakeups import wake
from domain.batching import needs_workflow
from domain.notification import Strategy
from domain.notification_types import Catalog
from storage.receipt_records import Applied, Changed
from storage.receipts import Receipts
from telemetry.logs import alert
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)

ROWS_MAX = 200
SWEEP_S = 1.0
MANY = 3
"""A round with at least this many receipts makes more of them likely."""
GATHER_S = 0.005
GATHER_S_MAX = 0.2
"""After a round with several receipts, wait GATHER_S for each of them, at most GATHER_S_MAX, so that the next
round is larger: together each costs a fraction, and two receipts of one message are applied as one.
"""
LOW_PRIORITY_DELAY_S = 2.0
"""How old a receipt must be before a low-priority processor applies it, in seconds."""


class ReceiptProcessor(Rounds):
    """The loop of one worker process over the inbox; any number of them may run at once."""

    failure = "receipts_not_applied"

    def __init__(
        self,
        client: Client,
        receipts: Receipts,
        catalog: Catalog,
        listener: Listener,
        metrics: Metrics,
        *,
        low_priority: bool = False,
    ) -> None:
        """`low_priority`: this process has more urgent work, and other processes apply receipts too."""
        self._client = client
        self._receipts = receipts
        self._catalog = catalog
        self._listener = listener
        self._metrics = metrics
        self._older_than_s = LOW_PRIORITY_DELAY_S if low_priority else 0.0
        self._taken = 0

    async def round(self) -> None:
        """Apply up to ROWS_MAX due receipts."""
        self._taken = 0
        applied = await self._receipts.apply_due(ROWS_MAX, self._older_than_s)
        self._taken = applied.taken
        await self._report(applied)

    async def rest(self) -> None:
        """Wait until receipts arrive or gather; not at all after a full round."""
        if self._taken == ROWS_MAX:
            return
        if self._older_than_s:
            await asyncio.sleep(SWEEP_S)
        elif self._taken < MANY:
            await self._listener.wait("herald_receipts", SWEEP_S)
        else:
            await asyncio.sleep(min(self._taken * GATHER_S, GATHER_S_MAX))

    async def _report(self, applied: Applied) -> None:
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
            self._metrics.deliveries.add(channel=change.channel, status=change.status)
        await asyncio.gather(*(self._wake(change) for change in applied.changed if self._may_wait(change)))

    def _may_wait(self, change: Changed) -> bool:
        strategy = Strategy.FIRST if change.first else Strategy.ALL
        return needs_workflow(self._catalog.types.get(change.type), strategy)

    async def _wake(self, change: Changed) -> None:
        error = await wake(self._client, change.notification_id)
        if error is not None:
            # Not running, or Temporal is down: the workflow's timer, or the dispatcher, reads the change
            # later.
            log.debug("signal_failed", notification_id=str(change.notification_id), status=error.status.name)
