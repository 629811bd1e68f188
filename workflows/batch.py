"""The workflow of one batch: many notifications of one lane run through their first pass in one activity.

It holds no state: the ledger says what is due, and a notification that the batch does not settle gets its own
workflow.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.deliver_batch import DeliverBatch
    from domain.contracts import BatchProgress, BatchRef
    from temporal.task_queues import batch_queue

TIMEOUT = timedelta(minutes=10)
"""Longer than a batch claims, plus the budgets of the calls under way then."""
HEARTBEAT = timedelta(seconds=15)
RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)
"""Losing a batch is harmless: its claims fall due again, and other batches start."""


@workflow.defn(name="BatchWorkflow")
class BatchWorkflow:
    """One batch; its workflow ID is `batch-<batch id>`."""

    @workflow.run
    async def run(self, ref: BatchRef) -> BatchProgress:
        """Run the batch; returns the results of its notifications."""
        workflow.set_current_details(
            f"A batch of lane **{ref.lane}**; its progress is in the heartbeat of `deliver_batch`."
        )
        progress = await workflow.execute_activity_method(
            DeliverBatch.deliver_batch,
            ref,
            task_queue=batch_queue(),
            start_to_close_timeout=TIMEOUT,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RETRY,
            summary=f"batch of {ref.lane}",
        )
        workflow.set_current_details(
            f"A batch of lane **{ref.lane}**: {progress.taken} taken, {progress.settled} settled, "
            f"{progress.waiting} deferred, {progress.promoted} promoted to dedicated workflows, "
            f"{progress.left} left ({progress.ended})"
        )
        return progress
