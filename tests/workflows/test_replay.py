"""Recorded histories replay against the current code, so that running workflows survive an upgrade."""

import re
from pathlib import Path

import pytest
from nondeterministic_variants import ForgetsTheStage, PlansTwice, WaitsFirst
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError
from workflow_case import SCENARIOS

from workflows.notification import NotificationWorkflow

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))
BATCHES = sorted((Path(__file__).parent / "histories" / "batches").glob("*.json"))


def _history(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(f"ntf-{path.stem}", path.read_text(encoding="utf-8"))


def _named(name: str) -> WorkflowHistory:
    return _history(Path(__file__).parent / "histories" / f"{name}.json")


def test_every_scenario_is_recorded() -> None:
    assert {path.stem for path in HISTORIES} >= set(SCENARIOS), "run python tests/workflows/record.py"


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_recorded_history_replays(path: Path) -> None:
    replayer = Replayer(workflows=[NotificationWorkflow], workflow_runner=SandboxedWorkflowRunner())
    await replayer.replay_workflow(_history(path))


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (PlansTwice, "sent_at_once"),
        (WaitsFirst, "otp_delivered_by_receipt"),
        (ForgetsTheStage, "retried_then_sent"),
    ],
)
async def test_a_changed_order_of_commands_is_detected(variant: type, name: str) -> None:
    with pytest.raises(NondeterminismError):
        await Replayer(workflows=[variant]).replay_workflow(_named(name))


@pytest.mark.parametrize("path", [*HISTORIES, *BATCHES], ids=lambda path: path.stem)
def test_a_history_holds_no_machine_or_personal_data(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r'"identity": "([^"]*)"', text)) <= {"recorder", "history-service"}
    assert "stackTrace" not in text
    assert not re.search(r"\+\d{9,}|@[a-z]+\.(com|org)", text)
