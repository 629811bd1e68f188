"""The workflow of a broadcast: its steps, its waits, and what it shows."""

import pytest
from broadcast_script import (
    ACCEPT,
    FOLLOW,
    GATHER,
    OVER,
    PAUSED,
    STOP,
    WINDOW,
    Handle,
    Script,
    start,
    working_on,
)
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from workflow_case import until

import workflows.broadcast
from workflows.broadcast import BroadcastWorkflow

ACCEPTED, FOLLOWED = "accept_recipients", "follow_broadcast"


async def test_a_broadcast_gathers_accepts_and_follows(
    skipping: Client, sandboxed: SandboxedWorkflowRunner
) -> None:
    script = Script([GATHER, ACCEPT, ACCEPT, FOLLOW, FOLLOW, OVER])
    async with working_on(skipping, script, sandboxed):
        handle = await start(skipping)
        assert await handle.result() == "completed"
    assert script.calls == [
        *(ACCEPTED, "gather_recipients", ACCEPTED, ACCEPTED),
        *(FOLLOWED, FOLLOWED),
    ]


async def test_a_broadcast_waits_for_its_window_by_a_timer(skipping: Client) -> None:
    script = Script([WINDOW, ACCEPT, OVER])
    async with working_on(skipping, script):
        handle = await start(skipping)
        await handle.result()
        history = await handle.fetch_history()
    (timer,) = [e for e in history.events if e.HasField("timer_started_event_attributes")]
    assert timer.timer_started_event_attributes.start_to_fire_timeout.seconds == 36_000
    assert script.calls == [ACCEPTED] * 3


async def test_a_failed_activity_is_repeated(skipping: Client) -> None:
    script = Script([ACCEPT, OSError("the ledger did not answer"), OVER])
    async with working_on(skipping, script):
        assert await (await start(skipping)).result() == "completed"
    assert script.calls == [ACCEPTED] * 3


async def test_commands_that_wait_together_are_applied_without_a_wait_between(
    temporal_client: Client,
) -> None:
    script = Script([OVER])
    handle = await start(temporal_client)
    await handle.signal(BroadcastWorkflow.pause)
    await handle.signal(BroadcastWorkflow.resume)
    async with working_on(temporal_client, script):
        await until(lambda: _began_with(script, "pause", "resume"))
        await handle.terminate()


async def test_a_paused_broadcast_is_woken(temporal_client: Client) -> None:
    script = Script([PAUSED, OVER])
    async with working_on(temporal_client, script):
        handle = await start(temporal_client)
        await until(lambda: _shows(handle, "waits for resume"))
        await handle.signal(BroadcastWorkflow.wake)
        assert await handle.result() == "completed"


async def test_a_signal_becomes_a_command_in_the_ledger(temporal_client: Client) -> None:
    script = Script([WINDOW, STOP, FOLLOW, OVER], decided=STOP)
    async with working_on(temporal_client, script):
        handle = await start(temporal_client)
        await until(lambda: _shows(handle, "**running**, waits for window"))
        await handle.signal(BroadcastWorkflow.cancel)
        assert await handle.result() == "completed"
    assert script.calls == [ACCEPTED, "cancel", "stop_accepted", "stop_accepted", FOLLOWED]


async def test_the_details_show_counts(temporal_client: Client) -> None:
    script = Script([FOLLOW])
    async with working_on(temporal_client, script):
        handle = await start(temporal_client)
        await until(lambda: _shows(handle, "990 of 1000 accepted, 10 refused"))
        await until(lambda: _shows(handle, "400 active"))
        await handle.terminate()


async def test_a_long_broadcast_continues_as_new(skipping: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflows.broadcast, "TURNS_MAX", 5)
    script = Script([ACCEPT] * 12 + [OVER])
    async with working_on(skipping, script):
        handle = await start(skipping)
        assert await handle.result() == "completed"
        first = await skipping.get_workflow_handle(handle.id, run_id=handle.result_run_id).describe()
    assert first.status is not None
    assert first.status.name == "CONTINUED_AS_NEW"
    assert script.calls == [ACCEPTED] * 13


async def _began_with(script: Script, *calls: str) -> bool:
    return tuple(script.calls[: len(calls)]) == calls


async def _shows(handle: Handle, text: str) -> bool:
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return text in metadata.current_details
