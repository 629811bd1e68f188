"""Wakes workflows whose notifications were settled by something other than the workflow."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import structlog
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from dispatcher.listener import Listener
from domain.ids import workflow_id
from temporal.client import RPC_TIMEOUT
from workflows.notification import NotificationWorkflow

log = structlog.stdlib.get_logger(__name__)

AT_ONCE_MAX = 50
"""The most signals at once: a bulk cancel settles thousands of notifications."""


async def wake(client: Client, notification_id: UUID) -> RPCError | None:
    """Make a notification's workflow read the ledger, if it runs. Returns Temporal's refusal, if any."""
    handle: WorkflowHandle[NotificationWorkflow, str] = client.get_workflow_handle_for(
        NotificationWorkflow.run, workflow_id(notification_id)
    )
    try:
        await handle.signal(NotificationWorkflow.wake, rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        return error
    return None


class WorkflowSignals:
    """The loop of one worker process over `herald_wake`: wakes workflows that may wait for a settled
    delivery.

    It only saves time: after a lost wake-up the workflow continues at its own timer.
    """

    def __init__(self, client: Client, listener: Listener) -> None:
        self._client = client
        self._listener = listener

    async def run(self) -> None:
        """Wake until cancelled."""
        while True:
            ids = await self._listener.payloads("herald_wake")
            for start in range(0, len(ids), AT_ONCE_MAX):
                await self._wake(ids[start : start + AT_ONCE_MAX])

    async def _wake(self, ids: Sequence[str]) -> None:
        results = await asyncio.gather(*(wake(self._client, UUID(id)) for id in ids))
        for id, error in zip(ids, results, strict=True):
            if error is not None:
                log.debug("signal_failed", notification_id=id, status=error.status.name)
