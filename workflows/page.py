"""Many notifications of one lane through their first pass, in one activity: volume without a workflow each.

It holds nothing: the ledger says what is due, and what a page does not settle has a workflow of its own.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.drain_page import DrainPage
    from domain.steps import PageProgress, PageRef
    from temporal.task_queues import page_queue

TIMEOUT = timedelta(minutes=10)
"""Longer than a page takes more, and what is under way then: its calls' whole budgets."""
HEARTBEAT = timedelta(seconds=15)
RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)
"""A page that is lost is not missed: what it had claimed is due again, and others are started."""


@workflow.defn(name="PageWorkflow")
class PageWorkflow:
    """One page; its workflow ID is `page-<page id>`."""

    @workflow.run
    async def run(self, ref: PageRef) -> PageProgress:
        """Have the page drained; returns what its notifications came to."""
        workflow.set_current_details(
            f"A page of lane **{ref.lane}**: how far it is stands in the heartbeat of `drain_page`."
        )
        progress = await workflow.execute_activity_method(
            DrainPage.drain_page,
            ref,
            task_queue=page_queue(),
            start_to_close_timeout=TIMEOUT,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RETRY,
            summary=f"page of {ref.lane}",
        )
        workflow.set_current_details(
            f"A page of lane **{ref.lane}**: {progress.taken} taken, {progress.settled} settled, "
            f"{progress.waiting} wait in the ledger, {progress.promoted} have workflows of their own, "
            f"{progress.left} left to others ({progress.ended})"
        )
        return progress
