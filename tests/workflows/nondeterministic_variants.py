"""Variants of the notification's workflow whose commands come in another order: replays must fail on them."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.steps import NotificationRef
    from workflows.notification import NotificationWorkflow


@workflow.defn(name="NotificationWorkflow")
class PlansTwice(NotificationWorkflow):
    """Plans once more before it begins."""

    @workflow.run
    async def run(self, ref: NotificationRef) -> str:
        await self._plan(ref)
        return await super().run(ref)


@workflow.defn(name="NotificationWorkflow")
class WaitsFirst(NotificationWorkflow):
    """Has a timer that the recorded one has not."""

    @workflow.run
    async def run(self, ref: NotificationRef) -> str:
        await workflow.sleep(timedelta(seconds=1))
        return await super().run(ref)


@workflow.defn(name="NotificationWorkflow")
class ForgetsTheStage(NotificationWorkflow):
    """Upserts no search attribute."""

    def _enter_stage(self, stage: str) -> None:
        return

    @workflow.run
    async def run(self, ref: NotificationRef) -> str:
        return await super().run(ref)
