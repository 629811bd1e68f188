"""Variants of the notification's workflow with another order of commands: replays must fail on them."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.contracts import NotificationRef
    from workflows.notification import NotificationWorkflow


@workflow.defn(name="NotificationWorkflow")
class PlansTwice(NotificationWorkflow):
    """Plans once more before it starts."""

    @workflow.run
    async def run(self, ref: NotificationRef) -> str:
        await self._plan(ref)
        return await super().run(ref)


@workflow.defn(name="NotificationWorkflow")
class WaitsFirst(NotificationWorkflow):
    """Has a timer that the recorded workflow does not have."""

    @workflow.run
    async def run(self, ref: NotificationRef) -> str:
        await workflow.sleep(timedelta(seconds=1))
        return await super().run(ref)


@workflow.defn(name="NotificationWorkflow")
class ForgetsTheStage(NotificationWorkflow):
    """Does not upsert its search attribute."""

    def _enter_stage(self, stage: str) -> None:
        return

    @workflow.run
    async def run(self, ref: NotificationRef) -> str:
        return await super().run(ref)
