"""Keeps one batch running for each batched lane that has work."""

import asyncio
from collections.abc import Collection, Sequence
from uuid import UUID, uuid4

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from dispatcher.listener import Listener
from dispatcher.loop import Rounds
from domain.batching import is_always_batched, may_be_batched
from domain.contracts import BatchRef
from domain.fairness import Turns
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


class BatchStarter(Rounds):
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
        turns: Turns,
    ) -> None:
        self._client = client
        self._queue = queue
        self._policy = policy
        self._listener = listener
        self._batches = {lane: uuid4() for lane in lanes if may_be_batched(lane, policy)}
        self._always = {lane for lane in self._batches if is_always_batched(lane)}
        self._turns = turns
        self._backlog: dict[Lane, dict[int, int]] = {}

    def take_all(self, lane: Lane) -> bool:
        """Whether batches take everything in the lane that needs no dedicated workflow; otherwise they take
        the turns that spike.
        """
        return lane in self._always

    def busy(self, lane: Lane) -> Collection[int]:
        """The turns of the lane that batches take and that had a backlog at the last count."""
        backlog = self._backlog.get(lane, {})
        return backlog if self.take_all(lane) else self._turns.spiking[lane] & backlog.keys()

    async def rest(self) -> None:
        """Wait until something is due, at least LOOK_S."""
        await asyncio.sleep(LOOK_S)
        await self._listener.wait("herald_due", self._policy.sweep_s, waiter="batches")

    async def round(self) -> None:
        """Count what is due, and start the missing batches."""
        if not self._batches:
            return
        threshold = self._policy.batch_threshold
        self._backlog = await self._queue.backlog(list(self._batches), threshold, self._turns.last[Lane.BULK])
        for lane, backlog in self._backlog.items():
            if lane not in self._always:
                spiking = self._turns.spiking[lane]
                risen = {turn for turn, count in backlog.items() if count >= threshold} - spiking
                if risen:
                    log.info("lane_batched", lane=lane, tenants=len(risen))
                # Once started, batches keep a turn until it is empty: single workflows would not be faster.
                self._turns.spiking[lane] = risen | (spiking & backlog.keys())
            if self.busy(lane):
                await self._start(lane, self._batches[lane])

    async def _start(self, lane: Lane, batch_id: UUID) -> None:
        try:
            await start(
                self._client,
                BatchWorkflow.run,
                BatchRef(str(batch_id), lane.value, sorted(self._turns.spiking[lane])),
                id=batch_workflow_id(batch_id),
                task_queue=task_queue(lane),
                summary=f"batch of {lane}",
            )
        except RPCError as error:
            log.warning("temporal_refused", status=error.status.name, lane=lane)
