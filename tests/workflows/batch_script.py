"""A scripted `deliver_batch` under its real name, and batch histories that later code must replay."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from temporalio import activity
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner

from domain.contracts import BatchProgress, BatchRef
from temporal.task_queues import batch_queue
from workflows.batch import BatchWorkflow

Handle = WorkflowHandle[BatchWorkflow, BatchProgress]
QUEUE = "batch-workflows"
DONE = BatchProgress(taken=30, settled=27, waiting=1, promoted=2, ended="nothing more is due")

BATCHES: dict[str, Sequence[BatchProgress | BaseException]] = {
    "drained": [DONE],
    "drained_at_the_second_try": [OSError("Postgres went away"), DONE],
}
"""The results of the activity, try by try."""


@asynccontextmanager
async def draining(
    client: Client, answers: Sequence[BatchProgress | BaseException], runner: WorkflowRunner | None = None
) -> AsyncGenerator[list[BatchRef]]:
    """Workers for batches. Yields the arguments of the activity."""
    asked: list[BatchRef] = []

    @activity.defn(name="deliver_batch")
    async def deliver_batch(ref: BatchRef) -> BatchProgress:
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(ref)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async with (
        Worker(
            client,
            task_queue=QUEUE,
            workflows=[BatchWorkflow],
            workflow_runner=runner or UnsandboxedWorkflowRunner(),
        ),
        Worker(client, task_queue=batch_queue(), activities=[deliver_batch]),
    ):
        yield asked


async def start(client: Client) -> Handle:
    """Start a batch's workflow."""
    id = str(uuid4())
    return await client.start_workflow(
        BatchWorkflow.run, BatchRef(id, "bulk"), id=f"batch-{id}", task_queue=QUEUE
    )


async def record_batch(client: Client, name: str) -> WorkflowHistory:
    """Run a batch on a real server. Returns its history."""
    async with draining(client, BATCHES[name]):
        handle = await start(client)
        await handle.result()
        return await handle.fetch_history()
