"""What a worker waits for, and makes sure of, before it works."""

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
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from dispatcher.away import LEDGER_AWAY
from domain.notification import Lane
from domain.steps import task_queue
from ratelimit.limiter import STORE_LOST, Limiter
from storage.ledger import Ledger
from telemetry.scrub import scrub
from workflows.reconciliation import EVERY, SCHEDULE_ID, WORKFLOW_ID, ReconciliationWorkflow

log = structlog.stdlib.get_logger(__name__)

CONNECT_AGAIN_S = 2.0


async def connect(address: str, namespace: str, *, api_key: str | None = None, tls: bool = False) -> Client:
    """A client of Temporal, as soon as it answers: a worker that starts before it waits."""
    # Core writes to stdout, in colour, and floods it during an outage: errors only.
    runtime = Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
        )
    )
    while True:
        try:
            return await Client.connect(
                address,
                namespace=namespace,
                api_key=api_key,
                tls=tls,
                runtime=runtime,
            )
        except RuntimeError as error:
            log.warning("temporal_unreachable", at=address, why=str(error)[:200])
            await asyncio.sleep(CONNECT_AGAIN_S)


async def keep_schedule(client: Client) -> None:
    """Have the reconciliation run every two minutes."""
    with contextlib.suppress(ScheduleAlreadyRunningError):
        await client.create_schedule(
            SCHEDULE_ID,
            Schedule(
                action=ScheduleActionStartWorkflow(
                    ReconciliationWorkflow.run,
                    id=WORKFLOW_ID,
                    task_queue=task_queue(Lane.NORMAL),
                    static_summary="lost notifications, drift, dead letters, housekeeping",
                ),
                spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=EVERY)]),
                policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
            ),
        )


async def establish_limits(ledger: Ledger, limiter: Limiter) -> None:
    """On a fresh installation, tell the limiter that its empty store is complete."""
    while True:
        try:
            if not await ledger.has_attempts():
                await limiter.establish()
        except (*LEDGER_AWAY, *STORE_LOST) as error:
            log.warning("stores_unreachable", why=f"{type(error).__name__}: {scrub(str(error))[:200]}")
            await asyncio.sleep(CONNECT_AGAIN_S)
        else:
            return
