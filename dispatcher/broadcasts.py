"""Starts or wakes the workflows of broadcasts that are due."""

import asyncio

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from dispatcher.listener import Listener
from dispatcher.loop import Rounds
from domain.contracts import BroadcastRef
from domain.ids import broadcast_workflow_id
from domain.notification import Lane
from storage.broadcast_chunks import BroadcastChunks, DueBroadcast
from temporal.client import RPC_TIMEOUT, start
from temporal.search_attributes import attributes
from temporal.task_queues import task_queue
from workflows.broadcast import BroadcastWorkflow

log = structlog.stdlib.get_logger(__name__)

SWEEP_S = 5.0
AT_ONCE_MAX = 50
TRY_AGAIN_S = 10.0
"""How long after its workflow could not be started a broadcast is due again, in seconds."""
TALLIES_MAX = 300
"""More tally rows than this are folded into one."""


class BroadcastStarter(Rounds):
    """The loop of one worker process over the broadcasts that are due; any number of them may run at once.

    Accepted broadcasts wait in Postgres, whether Temporal answers or not; a lost workflow is started again
    when its broadcast's lease ends.
    """

    failure = "broadcasts_not_claimed"

    def __init__(self, client: Client, broadcasts: BroadcastChunks, listener: Listener) -> None:
        self._client = client
        self._broadcasts = broadcasts
        self._listener = listener

    async def round(self) -> None:
        """Start the workflows of the broadcasts that are due, and fold their tallies."""
        due = await self._broadcasts.claim(AT_ONCE_MAX, TRY_AGAIN_S)
        await asyncio.gather(*(self._start(broadcast) for broadcast in due))
        await self._broadcasts.tidy(TALLIES_MAX, AT_ONCE_MAX)

    async def rest(self) -> None:
        """Wait until a broadcast changes, at most SWEEP_S."""
        await self._listener.wait("herald_broadcasts", SWEEP_S)

    async def _start(self, due: DueBroadcast) -> None:
        try:
            started = await start(
                self._client,
                BroadcastWorkflow.run,
                BroadcastRef(str(due.id)),
                id=broadcast_workflow_id(due.id),
                task_queue=task_queue(Lane.BULK),
                summary=f"broadcast: {due.type} → {', '.join(due.channels)}",
                attributes=attributes(due.tenant, due.type, list(due.channels)),
            )
        except RPCError as error:
            log.warning("temporal_refused", status=error.status.name, broadcast_id=str(due.id))
            return
        if not started:
            await self._wake(due)

    async def _wake(self, due: DueBroadcast) -> None:
        handle = self._client.get_workflow_handle_for(BroadcastWorkflow.run, broadcast_workflow_id(due.id))
        try:
            await handle.signal(BroadcastWorkflow.wake, rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            log.debug("signal_failed", broadcast_id=str(due.id), status=error.status.name)
