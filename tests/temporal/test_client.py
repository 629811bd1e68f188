"""A workflow is started once at a time under its id."""

from uuid import uuid4

from temporalio.client import Client

from domain.contracts import NotificationRef
from temporal.client import start
from workflows.notification import NotificationWorkflow


async def test_a_workflow_starts_unless_one_runs_under_its_id(temporal_client: Client) -> None:
    id = str(uuid4())

    async def started() -> bool:
        # No worker polls this queue, so that the workflow stays open.
        return await start(
            temporal_client,
            NotificationWorkflow.run,
            NotificationRef(id),
            id=f"ntf-{id}",
            task_queue=id,
            summary="a test",
        )

    assert await started()
    assert not await started()
    await temporal_client.get_workflow_handle(f"ntf-{id}").terminate()
    assert await started()
    await temporal_client.get_workflow_handle(f"ntf-{id}").terminate()
