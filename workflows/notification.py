"""The workflow of one notification: plan, deliver, wait for the receipt, finish. It decides only WHEN.

Every step reads the ledger again, so a run may be restarted at any time and a signal may arrive twice, late
or never. Nothing private enters the history: ids, statuses, codes and waits only.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.exceptions import TimeoutError as TimedOut

# Pass everything through: if the sandbox re-imported `domain`, its `Action` would not match the activities'.
with workflow.unsafe.imports_passed_through():
    from activities.check_preferences import CheckPreferences
    from activities.check_rate_limit import CheckRateLimit
    from activities.deliver import Deliver
    from activities.poll_delivery_status import PollDeliveryStatus
    from domain.contracts import (
        Action,
        DeliveryRef,
        LimitResult,
        NotificationRef,
        PassResult,
        Plan,
        Step,
    )
    from domain.status import Status, derive
    from temporal.search_attributes import STAGE
    from temporal.task_queues import channel_queue

LOST = (ActivityError, ApplicationError, TimedOut)
"""How a local activity fails: with its own error, not wrapped in an ActivityError."""
LOCAL_TIMEOUT = timedelta(seconds=60)
PASS_TIMEOUT = timedelta(seconds=120)
"""Longer than any pass: the budgets of all its calls, and Postgres."""
LOOK_AGAIN_S = 86_400.0
"""How often a parked notification reads the ledger: the most that a lost wake-up delays it."""
ONCE = RetryPolicy(maximum_attempts=1)
PATIENT = RetryPolicy(
    initial_interval=timedelta(seconds=5), backoff_coefficient=2.0, maximum_interval=timedelta(minutes=10)
)
"""For activities that crash or time out. A time from the ledger takes precedence over it."""


@workflow.defn(name="NotificationWorkflow")
class NotificationWorkflow:
    """One notification; its workflow ID is `ntf-<notification id>`."""

    def __init__(self) -> None:
        self._wakes = 0
        self._stage = ""
        self._details: dict[str, str] = {}
        self._statuses: dict[str, Status] = {}

    @workflow.signal
    def wake(self) -> None:
        """The ledger changed: read it again."""
        self._wakes += 1

    @workflow.run
    async def run(self, ref: NotificationRef) -> str:
        """Run the notification as long as it needs a workflow; returns its status."""
        while True:
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(ref)
            seen = self._wakes
            plan = await self._plan(ref)
            if not plan.steps:
                return self._finish(plan.status)
            replan = await asyncio.gather(*(self._carry(ref, plan, step, seen) for step in plan.steps))
            if not any(replan) and self._wakes == seen:
                return self._finish(derive(self._statuses.values()) if self._statuses else plan.status)

    async def _carry(self, ref: NotificationRef, plan: Plan, step: Step, seen: int) -> bool:
        """Carry one delivery until it needs nothing more from this run. Returns whether to plan again."""
        delivery = DeliveryRef(ref.notification_id, step.delivery_id, step.channel, plan.type)
        if step.action is Action.SEND:
            result = await self._first_pass(delivery, step)
        else:
            result = PassResult(
                step.action, step.status, step.reason, step.wait_s, keeps_workflow=step.keeps_workflow
            )
        while result is not None:
            self._show(step.channel, result)
            match result.action:
                case Action.RETRY:
                    result = await self._retry(plan, delivery, seen)
                case Action.POLL:
                    result = await self._poll(plan, delivery, seen)
                case Action.AWAIT_RECEIPT:
                    if not result.keeps_workflow:
                        return False
                    if await self._woken(seen, result.wait_s, f"{step.channel}: receipt by"):
                        return True
                    result = PassResult(Action.POLL, result.status)
                case Action.PARKED:
                    if result.keeps_workflow:
                        await self._woken(
                            seen,
                            min(result.wait_s, LOOK_AGAIN_S),
                            f"{step.channel}: {result.status}; reads the ledger again at",
                        )
                    return result.keeps_workflow
                case Action.SEND:
                    return True
                case Action.NOTHING:
                    return result.replan
        return True

    async def _plan(self, ref: NotificationRef) -> Plan:
        """Plan in the workflow task; if that fails, by a retried activity."""
        try:
            plan = await workflow.execute_local_activity_method(
                CheckPreferences.check_preferences,
                ref,
                start_to_close_timeout=LOCAL_TIMEOUT,
                retry_policy=ONCE,
            )
        except LOST:
            plan = Plan(failed=True)
        if not plan.failed:
            return plan
        return await workflow.execute_activity_method(
            CheckPreferences.check_preferences,
            ref,
            start_to_close_timeout=LOCAL_TIMEOUT,
            retry_policy=PATIENT,
            summary="plan again: the ledger did not answer",
        )

    async def _first_pass(self, delivery: DeliveryRef, step: Step) -> PassResult:
        """Check the limits, then deliver, in the workflow task. Never raises, so that a retry can follow."""
        if step.limited and not (limit := await self._limit(delivery)).admitted:
            return PassResult(Action.NOTHING, limit.status, limit.reason, replan=True)
        if not step.fast:
            return PassResult(Action.RETRY, detail="the provider is slow")
        try:
            return await workflow.execute_local_activity_method(
                Deliver.deliver, delivery, start_to_close_timeout=LOCAL_TIMEOUT, retry_policy=ONCE
            )
        except LOST:
            return PassResult(Action.RETRY, detail="the first pass did not end")

    async def _limit(self, delivery: DeliveryRef) -> LimitResult:
        try:
            result = await workflow.execute_local_activity_method(
                CheckRateLimit.check_rate_limit,
                delivery,
                start_to_close_timeout=LOCAL_TIMEOUT,
                retry_policy=ONCE,
            )
        except LOST:
            result = LimitResult(admitted=False, failed=True)
        if result.failed:
            result = await workflow.execute_activity_method(
                CheckRateLimit.check_rate_limit,
                delivery,
                start_to_close_timeout=LOCAL_TIMEOUT,
                retry_policy=PATIENT,
                summary="limit again: the ledger did not answer",
            )
        return result

    async def _retry(self, plan: Plan, delivery: DeliveryRef, seen: int) -> PassResult | None:
        """Run passes by the retried activity, pending in the Web UI. None: woken before it ended."""
        self._enter_stage("retrying")
        handle = workflow.start_activity_method(
            Deliver.deliver,
            delivery,
            task_queue=channel_queue(plan.lane, delivery.channel),
            start_to_close_timeout=PASS_TIMEOUT,
            retry_policy=PATIENT,
            summary=f"{plan.type} → {delivery.channel}",
        )
        return await self._unless_woken(handle, seen)

    async def _poll(self, plan: Plan, delivery: DeliveryRef, seen: int) -> PassResult | None:
        self._enter_stage("awaiting_receipt_late")
        handle = workflow.start_activity_method(
            PollDeliveryStatus.poll_delivery_status,
            delivery,
            task_queue=channel_queue(plan.lane, delivery.channel),
            start_to_close_timeout=PASS_TIMEOUT,
            retry_policy=PATIENT,
            summary=f"{plan.type} → {delivery.channel}: receipt overdue",
        )
        return await self._unless_woken(handle, seen)

    async def _unless_woken(
        self, handle: "workflow.ActivityHandle[PassResult]", seen: int
    ) -> PassResult | None:
        await workflow.wait_condition(lambda: handle.done() or self._wakes != seen)
        if handle.done():
            return handle.result()
        # The ledger has what it is doing; the next plan reads it there.
        handle.cancel()
        return None

    async def _woken(self, seen: int, wait_s: float, what: str) -> bool:
        """Wait for a wake-up, at most `wait_s` seconds. Returns whether there was one."""
        try:
            await workflow.wait_condition(
                lambda: self._wakes != seen,
                timeout=timedelta(seconds=max(wait_s, 0.01)),
                timeout_summary=f"{what} {workflow.now() + timedelta(seconds=wait_s):%d %b %H:%M:%S} UTC",
            )
        except TimeoutError:
            return False
        return True

    def _show(self, channel: str, result: PassResult) -> None:
        """Set what the Web UI shows of a running workflow, and the stage if it left the happy path."""
        reason = f" ({result.reason})" if result.reason else ""
        detail = f" — {result.detail}" if result.detail else ""
        self._details[channel] = f"- **{channel}**: {result.status}{reason}{detail}"
        workflow.set_current_details("\n".join(self._details.values()))
        if result.status:
            self._statuses[channel] = Status(result.status)
        if result.action is Action.PARKED:
            self._enter_stage(result.status)

    def _enter_stage(self, stage: str) -> None:
        if stage != self._stage:
            self._stage = stage
            workflow.upsert_search_attributes([STAGE.value_set(stage)])

    def _finish(self, status: str) -> str:
        if self._stage:
            self._enter_stage(f"was_{self._stage}".replace("was_was_", "was_"))
        return status
