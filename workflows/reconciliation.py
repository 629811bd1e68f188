"""Reconciliation, run by a Temporal Schedule: repairs and reports what dispatching does not see."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.reconcile import Reconcile

SCHEDULE_ID = "herald-reconciliation"
WORKFLOW_ID = "herald-reconciliation"
EVERY = timedelta(minutes=2)
TIMEOUT = timedelta(seconds=60)
RETRY = RetryPolicy(maximum_attempts=3)


@workflow.defn(name="ReconciliationWorkflow")
class ReconciliationWorkflow:
    """One round: lost notifications, drift, dead letters, maintenance."""

    @workflow.run
    async def run(self) -> dict[str, int]:
        """Run the round; returns what was found and repaired, by kind."""
        counts: dict[str, int] = {}
        for step in (
            Reconcile.requeue_lost,
            Reconcile.report_drift,
            Reconcile.watch_dead_letters,
            Reconcile.maintain,
        ):
            done = await workflow.execute_activity_method(
                step, start_to_close_timeout=TIMEOUT, retry_policy=RETRY
            )
            counts |= done.counts
        workflow.set_current_details(", ".join(f"{kind}: {count}" for kind, count in counts.items()))
        return counts
