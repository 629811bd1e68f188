"""Starts, or wakes, the workflows of broadcasts that somebody must come back to."""

import asyncio

import structlog
from temporalio.client import Client
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from dispatcher.away import LEDGER_AWAY
from dispatcher.listener import Listener
from dispatcher.waker import RPC_TIMEOUT
from domain.ids import broadcast_workflow_id
from domain.notification import Lane
from domain.steps import BroadcastRef, task_queue
from storage.broadcast_pages import BroadcastPages, DueBroadcast
from workflows.broadcast import BroadcastWorkflow
from workflows.search_attributes import CHANNEL, TENANT, TYPE

log = structlog.stdlib.get_logger(__name__)

SWEEP_S = 5.0
AT_ONCE_MAX = 50
TRY_AGAIN_S = 10.0
"""A broadcast whose workflow could not be started is due again so long after."""
TALLIES_MAX = 300
"""More rows than that are folded."""


class BroadcastStarter:
    """The loop of one worker process over the broadcasts that are due; any number of them may run at once.

    What is accepted over REST waits in Postgres, whether Temporal answers or not; a workflow that was lost is
    started again when its broadcast's lease ends.
    """

    def __init__(self, client: Client, pages: BroadcastPages, listener: Listener) -> None:
        self._client = client
        self._pages = pages
        self._listener = listener

    async def run(self) -> None:
        """Start until cancelled."""
        while True:
            try:
                due = await self._pages.claim(AT_ONCE_MAX, TRY_AGAIN_S)
                await asyncio.gather(*(self._start(broadcast) for broadcast in due))
                await self._pages.tidy(TALLIES_MAX, AT_ONCE_MAX)
            except LEDGER_AWAY as error:
                log.warning("broadcasts_not_claimed", why=type(error).__name__)
            await self._listener.wait("herald_broadcasts", SWEEP_S)

    async def _start(self, due: DueBroadcast) -> None:
        id = broadcast_workflow_id(due.id)
        try:
            await self._client.start_workflow(
                BroadcastWorkflow.run,
                BroadcastRef(str(due.id)),
                id=id,
                task_queue=task_queue(Lane.BULK),
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                static_summary=f"broadcast: {due.type} → {', '.join(due.channels)}",
                search_attributes=TypedSearchAttributes(
                    [
                        SearchAttributePair(TENANT, due.tenant),
                        SearchAttributePair(TYPE, due.type),
                        SearchAttributePair(CHANNEL, list(due.channels)),
                    ]
                ),
                rpc_timeout=RPC_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            await self._wake(due)
        except RPCError as error:
            log.warning("temporal_refused", status=error.status.name, broadcast_id=str(due.id))

    async def _wake(self, due: DueBroadcast) -> None:
        handle = self._client.get_workflow_handle_for(BroadcastWorkflow.run, broadcast_workflow_id(due.id))
        try:
            await handle.signal(BroadcastWorkflow.wake, rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            log.debug("not_woken", broadcast_id=str(due.id), status=error.status.name)
