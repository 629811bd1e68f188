"""Who creates the schedule of the reconciliation: any worker that serves its task queue."""

import contextlib

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

import worker
from domain.notification import Lane
from settings import Settings
from wiring.parts import opened
from workflows.reconciliation import SCHEDULE_ID


async def _exists(client: Client) -> bool:
    try:
        await client.get_schedule_handle(SCHEDULE_ID).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


async def _delete(client: Client) -> None:
    with contextlib.suppress(RPCError):
        await client.get_schedule_handle(SCHEDULE_ID).delete()


@pytest.mark.parametrize(
    ("lanes", "creates"), [(tuple(Lane), True), ((Lane.BULK,), True), ((Lane.CRITICAL,), False)]
)
async def test_every_worker_but_a_critical_only_one_creates_the_schedule(
    settings: Settings, client: Client, lanes: tuple[Lane, ...], creates: bool
) -> None:
    await _delete(client)
    try:
        async with opened(settings, lanes) as parts:
            await worker.ready(parts)
        assert await _exists(client) is creates
    finally:
        await _delete(client)
