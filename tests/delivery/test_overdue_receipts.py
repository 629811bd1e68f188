"""Overdue receipts: the provider is asked, and without an answer the type decides."""

from typing import Any

import pytest
from deliveries import delivery_over
from delivery_case import Case, StubbedProvider, Submitter, Worker
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from waiting import until

from domain.contracts import Action
from domain.notification import Channel, Strategy
from domain.outcome import Receipt, ReceiptStatus
from domain.overdue_receipt import POLL_AGAIN_S
from domain.reasons import Reason
from domain.status import Status
from providers.base import LookupFailed


async def _overdue(
    submitter: Submitter,
    worker: Worker,
    type: str,
    final: tuple[str, int | None] | None = None,
    **changes: Any,
) -> Case:
    """A sent notification with an overdue receipt. `final`: the vendor's status and code by now."""
    case = await submitter.accept(type, **changes)
    if final is None:
        await submitter.simulators.callbacks("twilio", case.to, mode="held")
    else:
        await submitter.simulators.callbacks(
            "twilio", case.to, mode="lost", delay_s=0, final=final[0], code=final[1]
        )
    assert (await worker.run(case)).action is Action.AWAIT_RECEIPT
    if final is not None:
        await until(lambda: _is(case, final[0]))
    await case.elapse()
    return case


async def _is(case: Case, status: str) -> bool:
    [message] = await case.simulators.messages("twilio", case.to)
    return message["status"] == status


async def test_polling_finds_a_lost_receipt(submitter: Submitter, worker: Worker) -> None:
    case = await _overdue(submitter, worker, "must", ("delivered", None))
    result = await worker.poll(case)
    assert (result.action, result.replan) == (Action.NOTHING, True)
    assert (await case.delivery()).status is Status.DELIVERED


async def test_a_polled_failure_fails_over(submitter: Submitter, worker: Worker) -> None:
    case = await _overdue(submitter, worker, "stop", ("undelivered", 30008))
    assert (await worker.poll(case)).replan
    assert (await worker.run(case)).status is Status.SENT
    assert await case.outcomes() == [("twilio", "accepted"), ("termii", "accepted")]


async def test_stop_leaves_it_sent_without_a_receipt(submitter: Submitter, worker: Worker) -> None:
    case = await _overdue(submitter, worker, "stop")
    result = await worker.poll(case)
    assert (result.action, result.status, result.reason) == (Action.NOTHING, Status.SENT, Reason.NO_RECEIPT)
    assert (await case.delivery()).due_at is None


async def test_failover_sends_again_without_a_receipt(submitter: Submitter, worker: Worker) -> None:
    case = await _overdue(submitter, worker, "failover")
    result = await worker.poll(case)
    assert (result.action, result.status) == (Action.SEND, Status.DEFERRED)
    assert (await worker.run(case)).status is Status.SENT
    assert await case.outcomes() == [("twilio", "accepted"), ("termii", "accepted")]


async def test_failover_after_the_expiry_leaves_it_sent(submitter: Submitter, worker: Worker) -> None:
    case = await _overdue(submitter, worker, "failover")
    await case.execute("UPDATE deliveries SET expires_at = now() WHERE notification_id = $1")
    assert (await worker.poll(case)).status is Status.SENT
    assert len(await case.received()) == 1


@pytest.mark.parametrize("polled", ["no news", "no answer"])
async def test_reconcile_polls_until_the_expiry(
    submitter: Submitter, worker: Worker, stubbed: dict[str, StubbedProvider], polled: str
) -> None:
    case = await _overdue(submitter, worker, "reconcile")
    if polled == "no answer":
        stubbed["twilio"].polled = LookupFailed("the vendor does not answer")
    for _ in range(3):
        with pytest.raises(ApplicationError) as asked:
            await worker.poll(case)
        assert asked.value.category is ApplicationErrorCategory.BENIGN
        assert asked.value.next_retry_delay
        assert asked.value.next_retry_delay.total_seconds() == POLL_AGAIN_S
        assert case.to not in str(asked.value)
        loaded = await case.load()
        due_at = delivery_over(loaded, Channel.SMS).due_at
        assert due_at
        assert (due_at - loaded.now).total_seconds() > POLL_AGAIN_S, "it is not claimed before the next poll"
        await case.elapse(POLL_AGAIN_S)
    await case.execute("UPDATE deliveries SET expires_at = now() WHERE notification_id = $1")
    assert (await worker.poll(case)).reason == Reason.NO_RECEIPT
    assert len(await case.received()) == 1


async def test_strategy_first_starts_the_next_channel_without_a_receipt(
    submitter: Submitter, worker: Worker
) -> None:
    channels = (Channel.SMS, Channel.EMAIL)
    case = await _overdue(
        submitter, worker, "stop", channels=channels, strategy=Strategy.FIRST, to_email="first@example.com"
    )
    result = await worker.poll(case)
    assert (result.status, result.reason, result.replan) == (Status.UNDELIVERED, Reason.NO_RECEIPT, True)
    assert (await case.delivery(Channel.EMAIL)).status is Status.ACCEPTED
    plan = await worker.plan(case)
    assert [(step.channel, step.action) for step in plan.steps] == [("email", Action.SEND)]


async def test_a_receipt_that_is_not_overdue_is_awaited(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept("must")
    await worker.run(case)
    await case.execute("UPDATE deliveries SET due_at = now() + interval '2 hours' WHERE notification_id = $1")
    result = await worker.poll(case)
    assert (result.action, result.keeps_workflow) == (Action.AWAIT_RECEIPT, True)


async def test_a_delivered_delivery_is_not_polled(
    submitter: Submitter, worker: Worker, stubbed: dict[str, StubbedProvider]
) -> None:
    case = await _overdue(submitter, worker, "must")
    [attempt] = await case.attempts()
    id = attempt["provider_message_id"]
    stubbed["twilio"].polled = Receipt(f"{id}:x", ReceiptStatus.DELIVERED, provider_message_id=id)
    await worker.poll(case)
    stubbed["twilio"].polled = LookupFailed("must not be asked")
    assert (await worker.poll(case)).status is Status.DELIVERED
