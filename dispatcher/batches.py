"""Keeps one batch running for each batched lane that has work."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from dispatcher.listener import Listener
from domain.batching import is_always_batched, may_be_batched
from domain.contracts import BatchRef
from domain.ids import batch_workflow_id
from domain.notification import Lane
from domain.notification_types import DispatchPolicy
from storage.batch_queue import BatchQueue
from temporal.client import start
from temporal.task_queues import task_queue
from workflows.batch import BatchWorkflow

log = structlog.stdlib.get_logger(__name__)

LOOK_S = 0.2
"""The shortest time between counts of the backlog: each accepted notification wakes the loop."""


class BatchStarter:
    """The loop of one worker process. It keeps one batch per lane running, under its own id; Temporal knows
    whether it runs already.
    """

    failure = "batching_failed"

    def __init__(
        self,
        client: Client,
        queue: BatchQueue,
        lanes: Sequence[Lane],
        policy: DispatchPolicy,
        listener: Listener,
    ) -> None:
        self._client = client
        self._queue = queue
        self._policy = policy
        self._listener = listener
        self._batches = {lane: uuid4() for lane in lanes if may_be_batched(lane, policy)}
        self._always = {lane for lane in self._batches if is_always_batched(lane)}
        self._spiking: set[Lane] = set()
        self._backlog: dict[Lane, int] = {}

    def takes(self, lane: Lane) -> bool:
        """Whether batches now take what is due in the lane, except what has a dedicated workflow."""
        return lane in self._always or lane in self._spiking

    def is_busy(self, lane: Lane) -> bool:
        """Whether the lane is batched and had a backlog at the last count."""
        return self.takes(lane) and self._backlog.get(lane, 0) > 0

    async def rest(self) -> None:
        """Wait until something is due, at least LOOK_S."""
        await asyncio.sleep(LOOK_S)
        await self._listener.wait("herald_due", self._policy.sweep_s, waiter="batches")

    async def round(self) -> None:
        """Count what is due, and start the missing batches."""
        if not self._batches:
            return
        threshold = self._policy.batch_threshold
        self._backlog = await self._queue.backlog(list(self._batches), threshold)
        for lane, count in self._backlog.items():
            if lane not in self._always:
                # Once started, batches keep the lane until it is empty: single workflows would not be faster.
                if count >= threshold and lane not in self._spiking:
                    log.info("lane_batched", lane=lane)
                    self._spiking.add(lane)
                elif count == 0:
                    self._spiking.discard(lane)
            if count and self.takes(lane):
                await self._start(lane, self._batches[lane])

    async def _start(self, lane: Lane, batch_id: UUID) -> None:
        try:
            await start(
                self._client,
                BatchWorkflow.run,
                BatchRef(str(batch_id), lane.value),
                id=batch_workflow_id(batch_id),
                task_queue=task_queue(lane),
                summary=f"batch of {lane}",
            )
        except RPCError as error:
            log.warning("temporal_refused", status=error.status.name, lane=lane)
