"""Builds the Temporal workers and the loops of a worker process over its parts."""

from collections.abc import Sequence
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from dispatcher.batches import BatchStarter
from dispatcher.broadcasts import BroadcastStarter
from dispatcher.dispatcher import Dispatcher
from dispatcher.expiring_contents import ContentSweeper
from dispatcher.listener import Listener
from dispatcher.loop import Rounds
from dispatcher.provider_health import ProviderHealthPublisher
from dispatcher.receipts import ReceiptProcessor
from dispatcher.wakeups import WorkflowSignals
from domain.notification import Channel, Lane
from storage.broadcast_chunks import BroadcastChunks
from temporal.task_queues import batch_queue, channel_queue, task_queue
from wiring.activities import Activity, activities_of
from wiring.parts import Parts
from workflows.batch import BatchWorkflow
from workflows.broadcast import BroadcastWorkflow
from workflows.notification import NotificationWorkflow
from workflows.reconciliation import ReconciliationWorkflow

RETRIES_MAX = 50
"""The most retried passes of one channel at once in one process."""
BATCHES_MAX = 3
"""The most batches at once in one process: one for each lane but `critical`."""


def workers_of(parts: Parts, client: Client) -> list[Worker]:
    """The Temporal workers of a process: one for its lanes' workflows, one for each channel's retries."""
    activities = activities_of(parts)
    workers: list[Worker] = []
    for queue in sorted({task_queue(lane) for lane in parts.lanes}):
        in_flight = parts.settings.catalog.dispatch.in_flight_max
        workers.append(
            Worker(
                client,
                task_queue=queue,
                workflows=[NotificationWorkflow, BatchWorkflow, BroadcastWorkflow, ReconciliationWorkflow],
                activities=list(activities.values()),
                # tests/guards/test_imports.py keeps workflows deterministic, and tests run them sandboxed.
                workflow_runner=UnsandboxedWorkflowRunner(),
                max_concurrent_workflow_tasks=in_flight * 2,
                max_concurrent_local_activities=in_flight * 4,
                max_concurrent_activities=RETRIES_MAX,
                graceful_shutdown_timeout=timedelta(seconds=parts.grace_s),
            )
        )
        lane = Lane.CRITICAL if queue == task_queue(Lane.CRITICAL) else Lane.NORMAL
        of_channels = [activities["deliver"], activities["poll_delivery_status"]]
        workers += [
            _activity_worker(parts, client, channel_queue(lane, channel), of_channels, RETRIES_MAX)
            for channel in Channel
        ]
    if any(lane is not Lane.CRITICAL for lane in parts.lanes):
        batches = [activities["deliver_batch"]]
        workers.append(_activity_worker(parts, client, batch_queue(), batches, BATCHES_MAX))
    return workers


def _activity_worker(
    parts: Parts, client: Client, queue: str, activities: Sequence[Activity], slots: int
) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        activities=activities,
        max_concurrent_activities=slots,
        graceful_shutdown_timeout=timedelta(seconds=parts.grace_s),
    )


def listener_of(parts: Parts) -> Listener:
    """The listener that wakes the loops of a process."""
    return Listener(
        parts.settings.database_dsn,
        ("herald_due", "herald_receipts", "herald_providers", "herald_wake", "herald_broadcasts"),
    )


def loops_of(parts: Parts, client: Client, listener: Listener) -> list[Rounds]:
    """The loops of a process, except the listener and the signals to workflows."""
    policy = parts.settings.catalog.dispatch
    batches = BatchStarter(client, parts.batch_queue, parts.lanes, policy, listener, parts.turns)
    dispatcher = Dispatcher(
        client,
        parts.ledger,
        parts.lanes,
        policy,
        parts.slots,
        parts.prefetched,
        listener,
        parts.metrics,
        parts.turns,
        batches,
    )
    # During a broadcast receipts arrive by the thousand, and would delay OTPs in a critical-only process.
    low_priority = set(parts.lanes) == {Lane.CRITICAL}
    receipts = ReceiptProcessor(
        client,
        parts.receipts,
        parts.settings.catalog,
        listener,
        parts.metrics,
        low_priority=low_priority,
    )
    health = ProviderHealthPublisher(parts.pool, parts.health, listener, parts.metrics)
    sweeper = ContentSweeper(parts.pool, parts.prefetched, parts.metrics)
    loops: list[Rounds] = [health, receipts, dispatcher, batches, sweeper]
    if Lane.BULK in parts.lanes:
        loops.append(BroadcastStarter(client, BroadcastChunks(parts.pool), listener))
    return loops


def signals_of(client: Client, listener: Listener) -> WorkflowSignals:
    """The loop that wakes workflows."""
    return WorkflowSignals(client, listener)
