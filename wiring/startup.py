"""What a worker ensures before it starts to work."""

import asyncio
import contextlib

import structlog
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)

from domain.notification import Lane
from ratelimit.limiter import STORE_LOST, Limiter
from storage.ledger import Ledger
from storage.outages import DATABASE_UNAVAILABLE
from telemetry.scrub import scrub
from temporal.task_queues import task_queue
from workflows.reconciliation import EVERY, SCHEDULE_ID, WORKFLOW_ID, ReconciliationWorkflow

log = structlog.stdlib.get_logger(__name__)

RETRY_S = 2.0
"""How long after a store could not be reached it is tried again, in seconds."""


async def keep_schedule(client: Client) -> None:
    """Create the schedule that runs reconciliation every two minutes."""
    with contextlib.suppress(ScheduleAlreadyRunningError):
        await client.create_schedule(
            SCHEDULE_ID,
            Schedule(
                action=ScheduleActionStartWorkflow(
                    ReconciliationWorkflow.run,
                    id=WORKFLOW_ID,
                    task_queue=task_queue(Lane.NORMAL),
                    static_summary="lost notifications, drift, dead letters, maintenance",
                ),
                spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=EVERY)]),
                policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
            ),
        )


async def establish_limits(ledger: Ledger, limiter: Limiter) -> None:
    """On a new installation, mark the limiter's empty store as complete."""
    while True:
        try:
            if not await ledger.has_attempts():
                await limiter.establish()
        except (*DATABASE_UNAVAILABLE, *STORE_LOST) as error:
            log.warning("stores_unreachable", why=f"{type(error).__name__}: {scrub(str(error))[:200]}")
            await asyncio.sleep(RETRY_S)
        else:
            return
