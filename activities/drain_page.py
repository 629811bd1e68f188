"""The `drain_page` activity: runs one batch, and heartbeats its progress."""

import asyncio
import contextlib
from uuid import UUID

from temporalio import activity

from delivery.batch import Page
from delivery.batch_item import PagePass
from domain.notification import Lane
from domain.notification_types import DispatchPolicy
from domain.steps import PageProgress, PageRef
from storage.page_queue import PageQueue
from telemetry.metrics import Metrics

HEARTBEAT_S = 1.0


class DrainPage:
    """Runs batches."""

    def __init__(
        self,
        queue: PageQueue,
        passes: PagePass,
        policy: DispatchPolicy,
        metrics: Metrics,
        stopping: asyncio.Event,
    ) -> None:
        """`stopping`: set when this process stops. Temporal's own event is not reliable: the first activity
        of a worker that is already stopping does not receive it.
        """
        self._stopping = stopping
        self._queue = queue
        self._passes = passes
        self._policy = policy
        self._metrics = metrics

    @activity.defn(name="drain_page")
    async def drain_page(self, ref: PageRef) -> PageProgress:
        """Run many notifications through their first pass. Once stopping, claim nothing more; sends under way
        finish and are recorded.
        """
        page = Page(UUID(ref.page_id), Lane(ref.lane), self._queue, self._passes, self._policy, self._metrics)
        beside = [asyncio.create_task(_tell(page)), asyncio.create_task(self._stop(page))]
        try:
            return await page.drain()
        finally:
            for task in beside:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*beside)

    async def _stop(self, page: Page) -> None:
        await self._stopping.wait()
        page.stop("the worker stops")


async def _tell(page: Page) -> None:
    while True:
        activity.heartbeat(page.progress)
        await asyncio.sleep(HEARTBEAT_S)
