"""A scripted `drain_page` under its real name, and batch histories that later code must replay."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from temporalio import activity
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner

from domain.steps import PageProgress, PageRef
from temporal.task_queues import page_queue
from workflows.page import PageWorkflow

Handle = WorkflowHandle[PageWorkflow, PageProgress]
QUEUE = "pages-workflows"
DONE = PageProgress(taken=30, settled=27, waiting=1, promoted=2, ended="nothing more is due")

PAGES: dict[str, Sequence[PageProgress | BaseException]] = {
    "drained": [DONE],
    "drained_at_the_second_try": [OSError("Postgres went away"), DONE],
}
"""The results of the activity, try by try."""


@asynccontextmanager
async def draining(
    client: Client, answers: Sequence[PageProgress | BaseException], runner: WorkflowRunner | None = None
) -> AsyncGenerator[list[PageRef]]:
    """Workers for batches. Yields the arguments of the activity."""
    asked: list[PageRef] = []

    @activity.defn(name="drain_page")
    async def drain_page(ref: PageRef) -> PageProgress:
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(ref)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async with (
        Worker(
            client,
            task_queue=QUEUE,
            workflows=[PageWorkflow],
            workflow_runner=runner or UnsandboxedWorkflowRunner(),
        ),
        Worker(client, task_queue=page_queue(), activities=[drain_page]),
    ):
        yield asked


async def start(client: Client) -> Handle:
    """Start a batch's workflow."""
    id = str(uuid4())
    return await client.start_workflow(
        PageWorkflow.run, PageRef(id, "bulk"), id=f"page-{id}", task_queue=QUEUE
    )


async def record_page(client: Client, name: str) -> WorkflowHistory:
    """Run a batch on a real server. Returns its history."""
    async with draining(client, PAGES[name]):
        handle = await start(client)
        await handle.result()
        return await handle.fetch_history()
