"""The `deliver_batch` activity: runs one batch, and heartbeats its progress."""

import asyncio
import contextlib
from uuid import UUID

from temporalio import activity

from delivery.batch import Batch
from delivery.batch_item import BatchItems
from domain.contracts import BatchProgress, BatchRef
from domain.fairness import Turns
from domain.notification import Lane
from domain.notification_types import DispatchPolicy
from storage.batch_queue import BatchQueue
from telemetry.metrics import Metrics

HEARTBEAT_S = 1.0


class DeliverBatch:
    """Runs batches."""

    def __init__(
        self,
        queue: BatchQueue,
        items: BatchItems,
        policy: DispatchPolicy,
        metrics: Metrics,
        turns: Turns,
        stopping: asyncio.Event,
    ) -> None:
        """`stopping`: set when this process stops. Temporal's own event is not reliable: the first activity
        of a worker that is already stopping does not receive it.
        """
        self._stopping = stopping
        self._queue = queue
        self._items = items
        self._policy = policy
        self._metrics = metrics
        self._turns = turns

    @activity.defn(name="deliver_batch")
    async def deliver_batch(self, ref: BatchRef) -> BatchProgress:
        """Run many notifications through their first pass. Once stopping, claim nothing more; sends under way
        finish and are recorded.
        """
        batch = Batch(
            UUID(ref.batch_id),
            Lane(ref.lane),
            self._queue,
            self._items,
            self._policy,
            self._metrics,
            self._turns,
            ref.turns,
        )
        beside = [asyncio.create_task(_heartbeat(batch)), asyncio.create_task(self._stop(batch))]
        try:
            return await batch.run()
        finally:
            for task in beside:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*beside)

    async def _stop(self, batch: Batch) -> None:
        await self._stopping.wait()
        batch.stop("the worker stops")


async def _heartbeat(batch: Batch) -> None:
    while True:
        activity.heartbeat(batch.progress)
        await asyncio.sleep(HEARTBEAT_S)
