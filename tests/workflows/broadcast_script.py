"""Scripted activities of broadcasts under the real names."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner

from domain.contracts import BroadcastCommand, BroadcastRef, BroadcastStep, BroadcastTurn
from workflows.broadcast import BroadcastWorkflow

Handle = WorkflowHandle[BroadcastWorkflow, str]
QUEUE = "broadcasts"

ACCEPT = BroadcastTurn(BroadcastStep.ACCEPT, "running", cursor=500, total=1000, accepted=500)
GATHER = BroadcastTurn(BroadcastStep.GATHER, "running")
WINDOW = BroadcastTurn(BroadcastStep.WAIT, "running", wait_s=36_000, waits_for="window", total=1000)
PAUSED = BroadcastTurn(BroadcastStep.WAIT, "paused", wait_s=86_400, waits_for="resume")
STOP = BroadcastTurn(BroadcastStep.STOP, "cancelled", wait_s=0.2, accepted=500, active=20)
FOLLOW = BroadcastTurn(BroadcastStep.FOLLOW, "completed", total=1000, accepted=990, refused=10, active=400)
OVER = BroadcastTurn(BroadcastStep.OVER, "completed", total=1000, accepted=990, refused=10, sent=990)


@dataclass
class Script:
    """The results of the activities in order; the last one is repeated."""

    turns: Sequence[BroadcastTurn | BaseException]
    decided: BroadcastTurn = PAUSED
    calls: list[str] = field(default_factory=list[str])

    def activities(self) -> list[Callable[..., Awaitable[Any]]]:
        """Scripted activities."""

        def named(name: str) -> Callable[..., Awaitable[Any]]:
            @activity.defn(name=name)
            async def answer(_: BroadcastRef) -> BroadcastTurn:
                return self._next(name)

            return answer

        @activity.defn(name="apply_broadcast_command")
        async def apply_command(command: BroadcastCommand) -> BroadcastTurn:
            self.calls.append(command.command)
            return self.decided

        names = ("gather_recipients", "accept_recipients", "stop_accepted", "follow_broadcast")
        return [*map(named, names), apply_command]

    def _next(self, name: str) -> BroadcastTurn:
        number = sum(call.endswith(("s", "accepted", "broadcast")) for call in self.calls)
        self.calls.append(name)
        answer = self.turns[min(number, len(self.turns) - 1)]
        if isinstance(answer, BaseException):
            raise answer
        return answer


@asynccontextmanager
async def working_on(
    client: Client, script: Script, runner: WorkflowRunner | None = None
) -> AsyncGenerator[None]:
    """A worker for broadcasts."""
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[BroadcastWorkflow],
        activities=script.activities(),
        workflow_runner=runner or UnsandboxedWorkflowRunner(),
    ):
        yield


async def start(client: Client) -> Handle:
    """Start a broadcast's workflow."""
    id = str(uuid4())
    return await client.start_workflow(
        BroadcastWorkflow.run, BroadcastRef(id), id=f"brd-{id}", task_queue=QUEUE
    )
