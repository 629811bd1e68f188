"""Replay workflow histories against the current code, to find differences in what the code decides."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.errors import CommandError
from console.notifications import plain_id

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowHistory

    from settings import TemporalSettings


@dataclass(frozen=True, slots=True)
class Replay:
    """The result of a replay. `difference` is None if the code made the same decision at every event."""

    workflow_id: str
    run_id: str
    events: int
    difference: str | None


async def replay_history(json_text: str, workflow_id: str = "replayed") -> Replay:
    """Replay one history in JSON, as the Web UI, the `temporal` CLI or `herald replay --save` writes it.

    Raises CommandError if the text is not a history, or not one of Herald's workflows.
    """
    from temporalio.client import WorkflowHistory

    try:
        history = WorkflowHistory.from_json(workflow_id, json.loads(json_text))
        _ = history.run_id
    except Exception as error:  # the parser raises exceptions of many types
        raise CommandError(
            f"This is not a workflow history in JSON ({type(error).__name__}: {error}). "
            "Use a file written by `herald replay --save` or downloaded from the Temporal Web UI."
        ) from None
    return await replay(history, history.run_id)


async def replay(history: "WorkflowHistory", run_id: str) -> Replay:
    """Replay one history. Raises CommandError if it is not one of Herald's workflows."""
    from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
    from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
    from temporalio.workflow import NondeterminismError

    from workflows.batch import BatchWorkflow
    from workflows.broadcast import BroadcastWorkflow
    from workflows.notification import NotificationWorkflow
    from workflows.reconciliation import ReconciliationWorkflow

    workflows = (NotificationWorkflow, BatchWorkflow, BroadcastWorkflow, ReconciliationWorkflow)
    known = {workflow.__name__: workflow for workflow in workflows}
    type = history.events[0].workflow_execution_started_event_attributes.workflow_type.name
    if type not in known:
        raise CommandError(
            f"This is a history of {type or 'no workflow'}. "
            f"Only histories of these workflows can be replayed: {', '.join(known)}."
        )
    # Core prints differences to stdout; they are printed once, by `command`.
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
    """Download the histories of a workflow from Temporal, by run id, oldest first. Raises CommandError."""
    from temporalio.client import Client
    from temporalio.service import RPCError

    from temporal.tls import tls_config

    try:
        client = await Client.connect(
            settings.address,
            namespace=settings.namespace,
            api_key=settings.api_key_in_clear,
            tls=tls_config(settings.tls_files),
        )
    except RuntimeError as error:
        raise CommandError(
            f"Temporal at {settings.address} cannot be reached ({error}). "
            "Start it, or correct HERALD_TEMPORAL__ADDRESS."
        ) from None
    try:
        return {
            run_id: await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
            for run_id in await _runs(client, workflow_id)
        }
    except RPCError as error:
        raise CommandError(
            f"Temporal has no history of {workflow_id} in namespace {settings.namespace} ({error.message}). "
            "A history is deleted after the namespace's retention period, and a notification that no worker "
            "has started has none. `herald show` prints what the ledger knows."
        ) from None


async def _runs(client: "Client", workflow_id: str) -> list[str]:
    # Temporal's list may lag by seconds, so the newest run is looked up directly.
    newest = await client.get_workflow_handle(workflow_id).describe()
    listed = [run.run_id async for run in client.list_workflows(f'WorkflowId = "{workflow_id}"')]
    return [*reversed([run_id for run_id in listed if run_id != newest.run_id]), newest.run_id]


def command(
    id: Annotated[
        str | None, typer.Argument(help="The notification's id, or a workflow id (ntf-…, batch-…, brd-…).")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Replay the history in this file instead; `-` reads stdin.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Also save the downloaded histories to this directory.")
    ] = None,
) -> None:
    """Replay a notification's workflow history against the current code.

    Nothing is sent. Exits 1 if the code would decide differently.
    """
    from console import endpoints

    if (id is None) == (file is None):
        raise CommandError("Give either a notification id or --file.")
    if file is not None:
        replays = [_replay_file(file)]
    else:
        assert id is not None
        # The other workflows can be replayed too: batches, broadcasts and the reconciliation.
        workflow_id = id if id.startswith(("batch-", "brd-", "herald-")) else f"ntf-{plain_id(id)}"
        replays = asyncio.run(_replay_all(endpoints.temporal(), workflow_id, save))
    for result in replays:
        typer.echo(_summary(result))
    if any(result.difference for result in replays):
        raise typer.Exit(1)


def _replay_file(file: Path) -> Replay:
    text = _read(file)
    try:
        return asyncio.run(replay_history(text, file.stem))
    except CommandError as error:
        raise CommandError(f"{file}: {error}") from None


async def _replay_all(settings: "TemporalSettings", workflow_id: str, save: Path | None) -> Sequence[Replay]:
    histories = await download(settings, workflow_id)
    if save is not None:
        _write(save, histories)
    return [await replay(history, run_id) for run_id, history in histories.items()]


def _summary(result: Replay) -> str:
    what = f"{result.workflow_id}, run {result.run_id}: replayed {result.events} events"
    if result.difference is None:
        return f"{what}: no difference"
    return f"{what}: DIFFERENT\n{result.difference}"


def _read(file: Path) -> str:
    try:
        return (sys.stdin if str(file) == "-" else file.open(encoding="utf-8")).read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CommandError(
            f"The history {file} cannot be read: {reason}. Give --file a readable JSON file."
        ) from None


def _write(directory: Path, histories: "Mapping[str, WorkflowHistory]") -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for run_id, history in histories.items():
            path = directory / f"{history.workflow_id}.{run_id}.json"
            path.write_text(history.to_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"The histories cannot be written to {directory}: {error.strerror}. "
            "Give --save a directory that you can write to."
        ) from None
