"""The `deliver` activity: benign failures until the delivery needs something else than a pass."""

from datetime import timedelta

import pytest
from delivery_case import Submitter, Worker
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from domain.contracts import Action


async def test_an_open_attempt_is_retried_benignly(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept("stop")
    await submitter.simulators.fault("twilio", "reset", case.to, times=1)
    await worker.run(case)
    [step] = (await worker.plan(case)).steps
    assert step.action is Action.RETRY
    with pytest.raises(ApplicationError) as early:
        await worker.deliver(case)
    assert early.value.category is ApplicationErrorCategory.BENIGN
    assert early.value.next_retry_delay
    assert early.value.next_retry_delay > timedelta(0)
    assert case.to not in str(early.value)
