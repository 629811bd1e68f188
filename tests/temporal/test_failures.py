"""What a history keeps of a failure: the names of exceptions, and our own codes."""

from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

from activities.errors import ledger_away
from temporal.client import connect

CODE = "Your code is 774411"
KEPT = "the ledger did not answer (ValueError); again in 5 s"


@activity.defn
async def fails(translated: bool) -> None:
    error = ValueError(f"DETAIL: Failing row contains ({CODE}).")
    error.__cause__ = KeyError(CODE)
    if translated:
        raise ledger_away(error) from error
    raise error


@workflow.defn(sandboxed=False)
class Failing:
    """Fails as its activity does."""

    @workflow.run
    async def run(self, translated: bool) -> None:
        await workflow.execute_activity(
            fails,
            translated,
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


@pytest.mark.parametrize("translated", [False, True])
async def test_a_history_has_no_text_of_an_exception(temporal, translated: bool) -> None:
    client = await connect(temporal.address, "default")
    id = str(uuid4())
    async with Worker(client, task_queue=id, workflows=[Failing], activities=[fails]):
        handle = await client.start_workflow(Failing.run, translated, id=id, task_queue=id)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    history = (await handle.fetch_history()).to_json()
    assert "774411" not in history
    assert '"ValueError"' in history
    assert '"KeyError"' in history
    assert (KEPT in history) == translated
