"""The `check_preferences` activity: slots of first passes, and plans that fail."""

from dataclasses import replace

import pytest
from delivery_case import Submitter, Worker
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from domain.contracts import NotificationRef


async def test_only_a_fast_step_keeps_its_slot(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept()
    id = str(case.id)
    worker.slots.take(id)
    [step] = (await worker.plan(case)).steps
    assert step.fast
    assert worker.slots.free() == 9
    for _ in range(60):
        with worker.health.call("twilio"):
            pass
    for latencies in worker.health._latencies.values():  # pyright: ignore[reportPrivateUsage] (no slow vendor is waited for)
        latencies.extend([30.0] * 60)
    [step] = (await worker.plan(case)).steps
    assert not step.fast
    assert worker.slots.free() == 10, "a slow provider's call is not made in the workflow task"


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan reads once: one transition makes it fail, as if the notification kept changing."""
    monkeypatch.setattr("delivery.planner.READS_MAX", 1)


@pytest.mark.usefixtures("changing")
async def test_a_regular_activity_that_cannot_plan_is_retried(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept(contact=False)
    with pytest.raises(ApplicationError) as failed:
        await worker.plan(case)
    assert failed.value.next_retry_delay
    assert (await worker.plan(case)).steps == []


@pytest.mark.usefixtures("changing")
async def test_a_local_activity_that_cannot_plan_reports_it(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept(contact=False)
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, is_local=True)
    plan = await environment.run(worker.check_preferences, NotificationRef(str(case.id)))
    assert plan.failed
