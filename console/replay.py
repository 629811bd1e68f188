"""Replays a workflow's history against today's code: would the code still decide what it decided then?"""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.failure import Failure
from console.notifications import plain_id

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowHistory

    from settings import TemporalSettings


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay found. `difference` is None when the code decided the same at every event."""

    workflow_id: str
    run_id: str
    events: int
    difference: str | None


async def replay_history(json_text: str, workflow_id: str = "replayed") -> Replay:
    """Replay one history, as the Web UI, the `temporal` program or `herald replay --save` writes it.

    Raises Failure when the text is not a history, or is one of a workflow that this code does not know.
    """
    from temporalio.client import WorkflowHistory

    try:
        history = WorkflowHistory.from_json(workflow_id, json.loads(json_text))
        _ = history.run_id
    except Exception as error:  # the parser raises whatever the text makes it stumble over
        raise Failure(
            f"This is not a workflow's history in JSON ({type(error).__name__}: {error})."
        ) from None
    return await replay(history, history.run_id)


async def replay(history: "WorkflowHistory", run_id: str) -> Replay:
    """Replay one history. Raises Failure when it is one of a workflow that this code does not know."""
    from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
    from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
    from temporalio.workflow import NondeterminismError

    from workflows.notification import NotificationWorkflow
    from workflows.reconciliation import ReconciliationWorkflow

    known = {"NotificationWorkflow": NotificationWorkflow, "ReconciliationWorkflow": ReconciliationWorkflow}
    type = history.events[0].workflow_execution_started_event_attributes.workflow_type.name
    if type not in known:
        raise Failure(f"This is a history of {type or 'no workflow'}: there are {', '.join(known)}.")
    # Core says differences on stdout, too; they are told once, below.
    silent = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    runtime = Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=silent)))
    replayer = Replayer(
        workflows=list(known.values()), workflow_runner=UnsandboxedWorkflowRunner(), runtime=runtime
    )
    result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    failure = result.replay_failure
    difference = None if failure is None else str(failure)
    if failure is not None and not isinstance(failure, NondeterminismError):
        difference = f"{failure.__class__.__name__}: {failure}"
    return Replay(history.workflow_id, run_id, len(history.events), difference)


async def download(settings: "TemporalSettings", workflow_id: str) -> "dict[str, WorkflowHistory]":
    """The histories by run of a workflow, as far as Temporal has them, oldest first. Raises Failure."""
    from temporalio.client import Client
    from temporalio.service import RPCError

    try:
        client = await Client.connect(
            settings.address,
            namespace=settings.namespace,
            api_key=settings.api_key.get_secret_value() if settings.api_key else None,
            tls=settings.tls,
        )
    except RuntimeError as error:
        raise Failure(
            f"Temporal at {settings.address} cannot be reached: {error}. "
            "HERALD_TEMPORAL__ADDRESS says where it is."
        ) from None
    try:
        return {
            run_id: await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
            for run_id in await _runs(client, workflow_id)
        }
    except RPCError as error:
        raise Failure(
            f"Temporal has no history of {workflow_id} ({error.message}). It is kept for the namespace's "
            "retention only, and a notification that was never started has none: see `herald show`."
        ) from None


async def _runs(client: "Client", workflow_id: str) -> list[str]:
    # The newest is asked for by name: what is listed may be seconds old.
    newest = await client.get_workflow_handle(workflow_id).describe()
    listed = [run.run_id async for run in client.list_workflows(f'WorkflowId = "{workflow_id}"')]
    return [*reversed([run_id for run_id in listed if run_id != newest.run_id]), newest.run_id]


def command(
    id: Annotated[str | None, typer.Argument(help="The notification's id, or its workflow id.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="Replay this history instead; `-` reads it from stdin.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the downloaded histories into this directory as well.")
    ] = None,
) -> None:
    """Replay a notification's history against today's code. Nothing is sent; exit 1 on a difference."""
    from console import places

    if (id is None) == (file is None):
        raise Failure("Name a notification, or a history with --file: one of the two.")
    if file is not None:
        replays = [asyncio.run(replay_history(_read(file), file.stem))]
    else:
        assert id is not None
        # The reconciliation's own workflow is no notification's, and may be replayed as well.
        workflow_id = id if id.startswith("herald-") else f"ntf-{plain_id(id)}"
        replays = asyncio.run(_replay_all(places.temporal(), workflow_id, save))
    for done in replays:
        typer.echo(_told(done))
    if any(done.difference for done in replays):
        raise typer.Exit(1)


async def _replay_all(settings: "TemporalSettings", workflow_id: str, save: Path | None) -> Sequence[Replay]:
    histories = await download(settings, workflow_id)
    if save is not None:
        _write(save, histories)
    return [await replay(history, run_id) for run_id, history in histories.items()]


def _told(done: Replay) -> str:
    what = f"{done.workflow_id}, run {done.run_id}: replayed {done.events} events"
    return f"{what}: no difference" if done.difference is None else f"{what}: DIFFERENT\n{done.difference}"


def _read(file: Path) -> str:
    try:
        return (sys.stdin if str(file) == "-" else file.open(encoding="utf-8")).read()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{file} cannot be read: {error}") from None


def _write(directory: Path, histories: "Mapping[str, WorkflowHistory]") -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for run_id, history in histories.items():
            path = directory / f"{history.workflow_id}.{run_id}.json"
            path.write_text(history.to_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise Failure(f"The histories cannot be written to {directory}: {error.strerror}") from None
