"""Scripted activities under the real names, and scenarios that are driven with them."""

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from temporalio import activity
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner

from activities.errors import retry_later
from domain.contracts import (
    Action,
    DeliveryRef,
    LimitResult,
    NotificationRef,
    PassResult,
    Plan,
    Step,
)
from domain.reasons import Reason
from domain.status import Status
from temporal.task_queues import channel_queue, task_queue
from workflows.notification import NotificationWorkflow

Handle = WorkflowHandle[NotificationWorkflow, str]


def step(action: Action = Action.SEND, channel: str = "sms", **fields: Any) -> Step:
    """A step of a plan."""
    fields.setdefault("status", Status.ACCEPTED)
    return Step(f"delivery-{channel}", channel, action, **fields)


def plan(*steps: Step, status: str = Status.ACCEPTED, type: str = "debit_alert", lane: str = "high") -> Plan:
    return Plan(status, type, lane, list(steps))


def over(status: Status) -> Plan:
    """A plan without steps."""
    return plan(status=status)


SENT = PassResult(Action.NOTHING, Status.SENT)
DELIVERED = PassResult(Action.NOTHING, Status.DELIVERED)
RETRY = PassResult(Action.RETRY, Status.DEFERRED, Reason.RETRY, 30, detail="twilio: unavailable")
PARKED = PassResult(Action.PARKED, Status.DEAD_LETTERED, Reason.PROVIDERS_EXHAUSTED, 14 * 86_400)
AWAITING = PassResult(Action.AWAIT_RECEIPT, Status.SENT, wait_s=30)


@dataclass(frozen=True)
class Call:
    """One call of an activity. `at`: when the server scheduled it; None for local activities."""

    name: str
    local: bool
    attempt: int
    at: datetime | None
    queue: str


Answer = Any
"""A result to return, an exception to raise, or a coroutine function that returns either."""


@dataclass
class Script:
    """The results of the activities in order; the last one of each is repeated."""

    plans: Sequence[Answer] = (plan(step()), over(Status.SENT))
    passes: Sequence[Answer] = (SENT,)
    polls: Sequence[Answer] = (DELIVERED,)
    limits: Sequence[Answer] = (LimitResult(admitted=True),)
    calls: list[Call] = field(default_factory=list[Call])

    def of(self, name: str) -> list[Call]:
        """The calls of one activity."""
        return [call for call in self.calls if call.name == name]

    def activities(self) -> list[Callable[..., Awaitable[Any]]]:
        """Scripted activities."""

        @activity.defn(name="check_preferences")
        async def check_preferences(_: NotificationRef) -> Plan:
            return await self._answer(self.plans)

        @activity.defn(name="check_rate_limit")
        async def check_rate_limit(_: DeliveryRef) -> LimitResult:
            return await self._answer(self.limits)

        @activity.defn(name="deliver")
        async def deliver(_: DeliveryRef) -> PassResult:
            return await self._answer(self.passes)

        @activity.defn(name="poll_delivery_status")
        async def poll_delivery_status(_: DeliveryRef) -> PassResult:
            return await self._answer(self.polls)

        return [check_preferences, check_rate_limit, deliver, poll_delivery_status]

    async def _answer(self, answers: Sequence[Answer]) -> Any:
        info = activity.info()
        number = len(self.of(info.activity_type))
        at = None if info.is_local else info.current_attempt_scheduled_time
        self.calls.append(Call(info.activity_type, info.is_local, info.attempt, at, info.task_queue))
        answer = answers[min(number, len(answers) - 1)]
        if inspect.iscoroutinefunction(answer):
            answer = await answer()
        if isinstance(answer, BaseException):
            raise answer
        return answer


def early(wait_s: float) -> Exception:
    """The error of a regular pass that runs too early."""
    return retry_later("twilio: unavailable", wait_s)


@asynccontextmanager
async def working(
    client: Client, script: Script, runner: WorkflowRunner | None = None, lane: str = "high"
) -> AsyncGenerator[None]:
    """Workers for a lane's workflows and for every channel's retries."""
    fakes = script.activities()
    async with AsyncExitStack() as stack:
        # A run that never ends fails its test, not the whole session.
        await stack.enter_async_context(asyncio.timeout(60))
        await stack.enter_async_context(
            Worker(
                client,
                task_queue=task_queue(lane),
                workflows=[NotificationWorkflow],
                activities=fakes,
                workflow_runner=runner or UnsandboxedWorkflowRunner(),
            )
        )
        for channel in ("sms", "email", "push"):
            await stack.enter_async_context(
                Worker(client, task_queue=channel_queue(lane, channel), activities=fakes[2:])
            )
        yield


async def start(client: Client, lane: str = "high") -> Handle:
    """Start a notification's workflow as the dispatcher does."""
    id = str(uuid4())
    return await client.start_workflow(
        NotificationWorkflow.run,
        NotificationRef(id),
        id=f"ntf-{id}",
        task_queue=task_queue(lane),
        execution_timeout=timedelta(days=60),
    )


async def until(holds: Callable[[], Awaitable[Any]]) -> None:
    """Return once it holds; fail if it does not within 20 seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if await holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the condition did not hold within 20 seconds")


async def events(handle: Handle) -> list[str]:
    """The types of the run's events, without their common prefix."""
    history = await handle.fetch_history()
    return [
        event.WhichOneof("attributes").removesuffix("_event_attributes")  # pyright: ignore[reportOptionalMemberAccess] (every event has attributes)
        for event in history.events
    ]


async def pending(handle: Handle) -> bool:
    """Whether the workflow has an activity that is being retried."""
    described = await handle.describe()
    return any(item.attempt > 1 for item in described.raw_description.pending_activities)


Drive = Callable[[Handle], Awaitable[Any]]


async def _only_wait(handle: Handle) -> None:
    await handle.result()


async def _wake_when_waiting(handle: Handle) -> None:
    await until(lambda: _has(handle, "timer_started"))
    await handle.signal(NotificationWorkflow.wake)
    await handle.result()


async def _has(handle: Handle, event: str) -> bool:
    return event in await events(handle)


@dataclass(frozen=True)
class Scenario:
    """One path through the workflow that later versions must replay."""

    script: Callable[[], Script]
    drive: Drive = _only_wait


SCENARIOS = {
    "otp_delivered_by_receipt": Scenario(
        lambda: Script(
            plans=[plan(step(), type="otp"), over(Status.DELIVERED)],
            passes=[PassResult(Action.AWAIT_RECEIPT, Status.SENT, wait_s=3600)],
        ),
        _wake_when_waiting,
    ),
    "sent_at_once": Scenario(Script),
    "sent_without_a_limit": Scenario(
        lambda: Script(plans=[plan(step(limited=False)), over(Status.SENT)], limits=[])
    ),
    "retried_then_sent": Scenario(lambda: Script(passes=[RETRY, early(0.2), early(0.2), SENT])),
    "dead_lettered_then_sent_again": Scenario(
        lambda: Script(
            plans=[plan(step()), plan(step()), over(Status.SENT)], passes=[RETRY, early(0.2), PARKED, SENT]
        ),
        _wake_when_waiting,
    ),
    "fell_back_to_the_next_channel": Scenario(
        lambda: Script(
            plans=[plan(step(channel="push")), plan(step(channel="sms")), over(Status.SENT)],
            passes=[PassResult(Action.NOTHING, Status.UNDELIVERED, Reason.NO_DEVICE, replan=True), SENT],
        )
    ),
    "two_channels_and_a_poll": Scenario(
        lambda: Script(
            plans=[plan(step(), step(channel="email")), over(Status.DELIVERED)],
            passes=[PassResult(Action.AWAIT_RECEIPT, Status.SENT, wait_s=0.3), SENT],
            polls=[early(0.2), PassResult(Action.NOTHING, Status.DELIVERED, replan=True)],
        )
    ),
    "plan_and_limit_retried": Scenario(
        lambda: Script(
            plans=[Plan(failed=True), plan(step(fast=False)), over(Status.SENT)],
            limits=[LimitResult(admitted=False, failed=True), LimitResult(admitted=True)],
        )
    ),
}


async def record(client: Client, name: str) -> WorkflowHistory:
    """Run a scenario on a real server. Returns its history."""
    scenario = SCENARIOS[name]
    async with working(client, scenario.script()):
        handle = await start(client)
        await scenario.drive(handle)
        return await handle.fetch_history()
