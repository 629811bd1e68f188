"""The workflow of a notification: first pass, retries at the ledger's times, receipts, dead letters."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from temporalio.client import Client
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from workflow_case import (
    AWAITING,
    DELIVERED,
    PARKED,
    RETRY,
    SENT,
    Script,
    early,
    events,
    over,
    pending,
    plan,
    start,
    step,
    until,
    working,
)

from domain.contracts import Action, LimitResult, PassResult, Plan
from domain.reasons import Reason
from domain.status import Status
from workflows.notification import NotificationWorkflow

WAITS_S = (30.0, 120.0, 600.0)
FOR_HOURS = PassResult(Action.AWAIT_RECEIPT, Status.SENT, wait_s=7200)


async def _run(
    client: Client, script: Script, sandboxed: SandboxedWorkflowRunner, lane: str = "high"
) -> tuple[str, list[str]]:
    """Run to the end. Returns the result and the events."""
    async with working(client, script, sandboxed, lane):
        handle = await start(client, lane)
        return await handle.result(), await events(handle)


async def test_the_happy_path_is_one_workflow_task(
    skipping: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    script = Script()
    result, found = await _run(skipping, script, sandboxed)
    assert result == Status.SENT
    assert [(call.name, call.local) for call in script.calls] == [
        ("check_preferences", True),
        ("check_rate_limit", True),
        ("deliver", True),
    ]
    assert found.count("marker_recorded") == 3
    assert found.count("workflow_task_completed") == 1
    assert not any("activity" in event or "timer" in event or "upsert" in event for event in found)


async def test_without_a_limit_none_is_checked(skipping: Client, sandboxed: SandboxedWorkflowRunner) -> None:
    script = Script(plans=[plan(step(limited=False)), over(Status.SENT)])
    result, found = await _run(skipping, script, sandboxed)
    assert result == Status.SENT
    assert [call.name for call in script.calls] == ["check_preferences", "deliver"]
    assert found.count("marker_recorded") == 2


async def test_a_receipt_in_time_costs_one_timer_and_no_stage(
    temporal_client: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    script = Script(plans=[plan(step()), over(Status.DELIVERED)], passes=[FOR_HOURS])
    async with working(temporal_client, script, sandboxed):
        handle = await start(temporal_client)
        await until(lambda: _seen(handle, "timer_started"))
        await handle.signal(NotificationWorkflow.wake)
        assert await handle.result() == Status.DELIVERED
        found = await events(handle)
    assert not any("activity" in event or "upsert" in event for event in found)
    assert len(script.of("check_preferences")) == 2


async def test_retries_run_at_the_ledgers_times(skipping: Client, sandboxed: SandboxedWorkflowRunner) -> None:
    script = Script(passes=[RETRY, *(early(wait_s) for wait_s in WAITS_S), SENT])
    result, found = await _run(skipping, script, sandboxed)
    assert result == Status.SENT
    [first, *retries] = script.of("deliver")
    assert first.local
    assert {call.queue for call in retries} == {"herald-sms"}
    times = [call.at for call in retries if call.at]
    waited = [(later - sooner).total_seconds() for sooner, later in pairwise(times)]
    assert waited == pytest.approx(WAITS_S, abs=2)
    assert found.count("activity_task_scheduled") == 1, "retries add nothing to the history"
    assert found.count("upsert_workflow_search_attributes") == 2, "retrying and was_retrying"


async def test_critical_retries_use_their_own_queues(
    skipping: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    script = Script(plans=[plan(step(), lane="critical"), over(Status.SENT)], passes=[RETRY, SENT])
    await _run(skipping, script, sandboxed, lane="critical")
    assert [call.queue for call in script.of("deliver")] == ["herald-critical", "herald-critical-sms"]


@pytest.mark.parametrize("local", [RuntimeError("broken"), Plan(failed=True)])
async def test_a_failed_plan_is_repeated_by_a_regular_activity(
    skipping: Client, sandboxed: SandboxedWorkflowRunner, local: object
) -> None:
    script = Script(plans=[local, RuntimeError("away"), plan(step()), over(Status.SENT)])
    result, _ = await _run(skipping, script, sandboxed)
    assert result == Status.SENT
    assert [call.local for call in script.of("check_preferences")] == [True, False, False]


@pytest.mark.parametrize("local", [RuntimeError("broken"), LimitResult(admitted=False, failed=True)])
async def test_a_failed_limit_check_is_repeated_by_a_regular_activity(
    skipping: Client, sandboxed: SandboxedWorkflowRunner, local: object
) -> None:
    script = Script(limits=[local, LimitResult(admitted=True)])
    result, _ = await _run(skipping, script, sandboxed)
    assert result == Status.SENT
    assert [call.local for call in script.of("check_rate_limit")] == [True, False]


async def test_a_broken_first_pass_is_retried(skipping: Client, sandboxed: SandboxedWorkflowRunner) -> None:
    script = Script(passes=[RuntimeError("broken"), SENT])
    result, _ = await _run(skipping, script, sandboxed)
    assert result == Status.SENT
    assert [call.local for call in script.of("deliver")] == [True, False]


async def test_a_slow_provider_is_not_called_from_the_workflow_task(
    skipping: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    script = Script(plans=[plan(step(fast=False)), over(Status.SENT)])
    await _run(skipping, script, sandboxed)
    assert [call.local for call in script.of("deliver")] == [False]
    assert len(script.of("check_rate_limit")) == 1


async def test_above_the_limit_nothing_is_delivered(
    skipping: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    script = Script(
        plans=[plan(step()), over(Status.RATE_LIMITED)],
        limits=[LimitResult(admitted=False, status=Status.RATE_LIMITED)],
    )
    result, _ = await _run(skipping, script, sandboxed)
    assert result == Status.RATE_LIMITED
    assert script.of("deliver") == []


async def test_an_overdue_receipt_is_polled(skipping: Client, sandboxed: SandboxedWorkflowRunner) -> None:
    script = Script(passes=[AWAITING], polls=[early(60), early(60), DELIVERED])
    result, found = await _run(skipping, script, sandboxed)
    assert result == Status.DELIVERED
    times = [call.at for call in script.of("poll_delivery_status") if call.at]
    assert times[2] - times[0] == pytest.approx(timedelta(seconds=120), abs=timedelta(seconds=2))
    assert found.count("timer_started") == 1
    assert found.count("activity_task_scheduled") == 1


async def test_the_run_ends_as_sent_if_the_receipt_is_not_awaited(
    skipping: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    awaiting = PassResult(Action.AWAIT_RECEIPT, Status.SENT, wait_s=3600, keeps_workflow=False)
    result, found = await _run(skipping, Script(passes=[awaiting]), sandboxed)
    assert result == Status.SENT
    assert "timer_started" not in found


async def test_strategy_first_plans_again_for_the_next_channel(
    skipping: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    missed = PassResult(Action.NOTHING, Status.UNDELIVERED, Reason.NO_DEVICE, replan=True)
    script = Script(
        plans=[plan(step(channel="push")), plan(step()), over(Status.SENT)], passes=[missed, SENT]
    )
    await _run(skipping, script, sandboxed)
    assert len(script.of("check_preferences")) == 2
    assert len(script.of("deliver")) == 2


async def test_channels_run_concurrently(skipping: Client, sandboxed: SandboxedWorkflowRunner) -> None:
    together = asyncio.Barrier(2)

    async def meet() -> PassResult:
        async with asyncio.timeout(60):
            await together.wait()
        return SENT

    script = Script(plans=[plan(step(), step(channel="email")), over(Status.SENT)], passes=[meet])
    result, _ = await _run(skipping, script, sandboxed)
    assert result == Status.SENT


async def test_a_wake_during_a_retry_cancels_it_and_plans_again(
    temporal_client: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    script = Script(passes=[RETRY, early(3600)], plans=[plan(step()), over(Status.CANCELLED)])
    async with working(temporal_client, script, sandboxed):
        handle = await start(temporal_client)
        await until(lambda: pending(handle))
        await handle.signal(NotificationWorkflow.wake)
        await handle.result()
        assert "activity_task_cancel_requested" in await events(handle)
    assert len(script.of("check_preferences")) == 2
    assert len(script.of("deliver")) == 2


async def test_a_parked_notification_waits_for_a_wake(
    temporal_client: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    script = Script(plans=[plan(step()), plan(step()), over(Status.SENT)], passes=[PARKED, SENT])
    async with working(temporal_client, script, sandboxed):
        handle = await start(temporal_client)
        await until(lambda: _stage(temporal_client, handle.id, Status.DEAD_LETTERED))
        await handle.signal(NotificationWorkflow.wake)
        assert await handle.result() == Status.SENT
        assert "was_dead_lettered" in str((await handle.describe()).typed_search_attributes)


async def test_a_parked_notification_is_planned_again_at_its_deadline(
    skipping: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    script = Script(plans=[plan(step()), over(Status.FAILED)], passes=[PARKED])
    result, found = await _run(skipping, script, sandboxed)
    assert result == Status.FAILED
    assert found.count("timer_fired") == 1


async def test_a_parked_notification_above_the_limit_keeps_no_workflow(
    skipping: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    unheld = PassResult(Action.PARKED, Status.DEAD_LETTERED, wait_s=86_400, keeps_workflow=False)
    result, found = await _run(skipping, Script(passes=[unheld]), sandboxed)
    assert result == Status.DEAD_LETTERED
    assert "timer_started" not in found


async def test_a_run_with_nothing_to_do_ends_at_once(
    skipping: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    script = Script(plans=[over(Status.DELIVERED)])
    result, found = await _run(skipping, script, sandboxed)
    assert (result, found.count("marker_recorded")) == (Status.DELIVERED, 1)


async def test_a_wake_during_the_first_pass_is_not_lost(
    temporal_client: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> PassResult:
        begun.set()
        await go_on.wait()
        return SENT

    script = Script(passes=[hold, SENT])
    async with working(temporal_client, script, sandboxed):
        handle = await start(temporal_client)
        async with asyncio.timeout(60):
            await begun.wait()
        await handle.signal(NotificationWorkflow.wake)
        go_on.set()
        assert await handle.result() == Status.SENT
    assert len(script.of("check_preferences")) == 2


async def _seen(handle: object, event: str) -> bool:
    return event in await events(handle)  # pyright: ignore[reportArgumentType] (any workflow's handle)


async def _stage(client: Client, id: str, stage: str) -> bool:
    described = await client.get_workflow_handle(id).describe()
    return stage in str(described.typed_search_attributes)
