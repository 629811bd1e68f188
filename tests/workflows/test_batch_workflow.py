"""The workflow of a batch: one activity, retried if it is lost, and a history that replays."""

from pathlib import Path

import pytest
from batch_script import BATCHES, DONE, draining, start
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowFailureError, WorkflowHistory
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from workflows.batch import RETRY, BatchWorkflow

HISTORIES = sorted((Path(__file__).parent / "histories" / "batches").glob("*.json"))


def _history(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(f"batch-{path.stem}", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", list(BATCHES))
async def test_a_batch_workflow_runs_and_reports_its_batch(
    skipping: Client, sandboxed: SandboxedWorkflowRunner, name: str
) -> None:
    async with draining(skipping, BATCHES[name], sandboxed) as asked:
        handle = await start(skipping)
        assert await handle.result() == DONE
        metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert len(asked) == len(BATCHES[name])
    assert {f"batch-{ref.batch_id}" for ref in asked} == {handle.id}
    assert "30 taken, 27 settled, 1 deferred, 2 promoted" in metadata.current_details


async def test_a_batch_that_keeps_failing_fails_its_workflow(skipping: Client) -> None:
    async with draining(skipping, [ValueError("broken")]) as asked:
        handle = await start(skipping)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert len(asked) == RETRY.maximum_attempts


def test_every_batch_scenario_is_recorded() -> None:
    assert {path.stem for path in HISTORIES} >= set(BATCHES), "run python tests/workflows/record.py"


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_recorded_batch_replays(path: Path) -> None:
    history = _history(path)
    replayer = Replayer(workflows=[BatchWorkflow], workflow_runner=SandboxedWorkflowRunner())
    await replayer.replay_workflow(history)
