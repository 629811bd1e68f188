"""`herald replay` and `herald migrate` against a real Temporal server."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from console_case import Herald
from temporalio import activity
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from console.replay import replay_history
from devstack.temporal import Temporal
from domain.contracts import NotificationRef, Plan
from workflows.notification import NotificationWorkflow


@activity.defn(name="check_preferences")
async def plan_on_the_second_try(ref: NotificationRef) -> Plan:
    """Fail in the first workflow task, as if the ledger were unreachable; then there is nothing to do."""
    return Plan(failed=True) if activity.info().is_local else Plan(status="delivered")


async def run_workflow(client: Client, id: str) -> None:
    """Run a notification's workflow once, to its end."""
    queue = str(uuid4())
    async with Worker(
        client,
        task_queue=queue,
        workflows=[NotificationWorkflow],
        activities=[plan_on_the_second_try],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        await client.execute_workflow(
            NotificationWorkflow.run, NotificationRef(id), id=f"ntf-{id}", task_queue=queue
        )


def saved_in(directory: Path) -> list[Path]:
    """The saved histories."""
    return list(directory.iterdir())


async def test_a_history_is_downloaded_replayed_and_compared(
    bare: Mapping[str, str], temporal: Temporal, temporal_client: Client, tmp_path: Path
) -> None:
    run = Herald({**bare, "HERALD_TEMPORAL__ADDRESS": temporal.address})
    id = str(uuid4())
    await run_workflow(temporal_client, id)

    ran = await run("replay", id, "--save", str(tmp_path))
    assert ran.code == 0, ran.err
    assert "no difference" in ran.out
    [saved] = saved_in(tmp_path)
    assert (await run("replay", "--file", str(saved))).code == 0

    changed = saved.read_text().replace('"name": "check_preferences"', '"name": "check_something_else"')
    assert changed != saved.read_text()
    different = await run("replay", "--file", "-", stdin=changed)
    assert different.code == 1
    assert "DIFFERENT" in different.out
    assert "check_something_else" in different.out
    assert (await replay_history(saved.read_text())).difference is None
    assert (await replay_history(changed)).difference is not None


async def test_a_notification_without_a_history_is_reported(
    bare: Mapping[str, str], temporal: Temporal
) -> None:
    run = Herald({**bare, "HERALD_TEMPORAL__ADDRESS": temporal.address})
    ran = await run("replay", str(uuid4()))
    assert ran.code == 1
    assert "has no history" in ran.err


async def test_migrating_registers_the_search_attributes_once(
    bare: Mapping[str, str], database: str, temporal: Temporal, temporal_client: Client
) -> None:
    namespace = f"fresh-{uuid4()}"
    request = RegisterNamespaceRequest(namespace=namespace)
    request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await temporal_client.workflow_service.register_namespace(request)
    run = Herald(
        {
            **bare,
            "HERALD_DATABASE_URL": database,
            "HERALD_TEMPORAL__ADDRESS": temporal.address,
            "HERALD_TEMPORAL__NAMESPACE": namespace,
        }
    )
    first, second = await run("migrate"), await run("migrate")
    assert first.code == 0, first.err
    for name in ("HeraldTenant", "HeraldType", "HeraldStage", "HeraldChannel"):
        assert f"registered the search attribute {name}" in first.out
    assert (second.code, second.out) == (0, "The database is up to date.\n")


async def test_migrating_does_not_need_temporal(bare: Mapping[str, str], database: str) -> None:
    run = Herald({**bare, "HERALD_DATABASE_URL": database, "HERALD_TEMPORAL__ADDRESS": "127.0.0.1:9"})
    ran = await run("migrate")
    assert ran.code == 0
    assert "search attributes were not registered" in ran.err


async def test_a_history_of_another_workflow_is_refused(bare: Mapping[str, str]) -> None:
    started = {"workflowExecutionStartedEventAttributes": {"workflowType": {"name": "SomethingElse"}}}
    event = {"eventId": "1", "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED", **started}
    ran = await Herald(bare)("replay", "--file", "-", stdin=json.dumps({"events": [event]}))
    assert ran.code == 1
    assert "SomethingElse" in ran.err
