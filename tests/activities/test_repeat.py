"""A provider that takes our key: an open attempt is sent again under the same key, and arrives once."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest_asyncio
from keyed_vendor import KEY_LIFE_S, KeyedVendor, keyed_vendor
from pass_case import Case, Desk, Dressed, Worker

from domain.notification import Channel
from domain.status import Status
from domain.steps import Action, PassResult


@pytest_asyncio.fixture
async def vendor(dressed: dict[str, Dressed]) -> AsyncIterator[KeyedVendor]:
    """The vendor with a key, in Twilio's place."""
    async with keyed_vendor() as (vendor, adapter):
        dressed["twilio"] = Dressed(adapter)
        yield vendor


async def _sent(
    desk: Desk, worker: Worker, vendor: KeyedVendor, *answers: int | str, type: str = "stop"
) -> tuple[Case, PassResult]:
    """A notification whose sends meet these answers, and its first pass."""
    case = await desk.accept(type)
    vendor.answers += answers
    return case, await worker.run(case)


async def test_an_unanswered_send_is_sent_again_and_arrives_once(
    desk: Desk, vendor: KeyedVendor, hire: Callable[..., Worker]
) -> None:
    case, result = await _sent(desk, hire(), vendor, "lost")
    assert result.state is Status.SENT
    assert [request == vendor.requests[0] for request in vendor.requests] == [True, True], "key and body"
    assert len(vendor.sent) == 1
    [attempt] = await case.attempts()
    assert (attempt["outcome"], attempt["resolved_by"]) == ("accepted", "response")
    assert attempt["provider_message_id"] == f"k-{vendor.requests[0][0]}"
    assert (await case.timeline())[-1] == "sent_again"


async def test_one_that_was_never_processed_is_sent_by_the_second_request(
    desk: Desk, vendor: KeyedVendor, hire: Callable[..., Worker]
) -> None:
    case, result = await _sent(desk, hire(), vendor, "reset")
    assert (result.state, len(vendor.sent)) == (Status.SENT, 1)
    assert await case.outcomes() == [("twilio", "accepted")]


async def test_a_refusal_that_is_not_about_the_recipient_says_nothing_of_the_first(
    desk: Desk, vendor: KeyedVendor, hire: Callable[..., Worker]
) -> None:
    """The key may not have been looked at: nobody else is asked, and it is asked again when it may be."""
    worker = hire()
    case, result = await _sent(desk, worker, vendor, "lost", 429, 401, type="reconcile")
    assert (result.action, result.state, result.wait_s) == (Action.RETRY, Status.SENDING, 40)
    assert await case.outcomes() == [("twilio", None)]
    [attempt] = await case.attempts()
    assert attempt["code"] == "http_429"
    loaded = await case.load()
    due_at = loaded.delivery(Channel.SMS).due_at
    assert due_at
    assert (due_at - loaded.now).total_seconds() > 40, "nobody claims it meanwhile"
    assert (await worker.run(case)).action is Action.RETRY
    assert (await worker.settle(case)).state is Status.SENT
    assert await case.outcomes() == [("twilio", "accepted")]
    assert (len(vendor.requests), len(vendor.sent)) == (4, 1)


async def test_a_refusal_of_the_recipient_settles_it(
    desk: Desk, vendor: KeyedVendor, hire: Callable[..., Worker]
) -> None:
    case, result = await _sent(desk, hire(), vendor, "reset", 422)
    assert result.state is Status.UNDELIVERED
    assert await case.outcomes() == [("twilio", "rejected_recipient")]
    assert not vendor.sent


async def test_a_sender_that_is_gone_is_asked_for_only_after_its_hold(
    desk: Desk, vendor: KeyedVendor, hire: Callable[..., Worker]
) -> None:
    first, second = hire(), hire()
    case, _ = await _sent(desk, first, vendor, "lost", 429, type="reconcile")
    # As the renewed call of a sender leaves it that died before it could say what came of it.
    await case.execute("UPDATE notification_attempts SET code = NULL WHERE notification_id = $1")
    before = len(vendor.requests)
    assert (await second.run(case)).action is Action.RETRY
    assert len(vendor.requests) == before
    await case.elapse(3600)
    await case.execute(
        "UPDATE notification_attempts SET intended_at = now() - interval '1 min' WHERE notification_id = $1"
    )
    assert (await second.run(case)).state is Status.SENT
    assert len(vendor.sent) == 1


async def test_once_the_key_may_be_forgotten_it_is_never_sent_again(
    desk: Desk, vendor: KeyedVendor, hire: Callable[..., Worker]
) -> None:
    worker = hire()
    case, _ = await _sent(desk, worker, vendor, "lost", 429)
    await case.execute(
        "UPDATE notification_attempts SET intended_at = intended_at - $2::interval"
        " WHERE notification_id = $1",
        timedelta(seconds=KEY_LIFE_S - 3),
    )
    before = len(vendor.requests)
    result = await worker.settle(case)
    assert (result.action, result.state) == (Action.PARKED, Status.OUTCOME_UNKNOWN)
    assert len(vendor.requests) == before


async def test_another_address_is_never_sent_to_under_the_key(
    desk: Desk, vendor: KeyedVendor, hire: Callable[..., Worker]
) -> None:
    worker = hire()
    case, _ = await _sent(desk, worker, vendor, "lost", 429)
    await case.execute(
        "UPDATE notification_contents SET to_sms = '+2348099999999' WHERE notification_id = $1"
    )
    before = len(vendor.requests)
    assert (await worker.settle(case)).state is Status.OUTCOME_UNKNOWN
    assert len(vendor.requests) == before


async def test_what_is_not_wanted_any_more_is_not_sent_again(
    desk: Desk, vendor: KeyedVendor, hire: Callable[..., Worker]
) -> None:
    for withdraw in (desk.opt_out, lambda case: desk.suppress(case.to)):
        worker = hire()
        case, _ = await _sent(desk, worker, vendor, "reset", 429)
        await withdraw(case)
        before = len(vendor.requests)
        assert (await worker.settle(case)).state is Status.OUTCOME_UNKNOWN
        assert len(vendor.requests) == before
    assert not vendor.sent


async def test_what_is_withdrawn_at_the_last_moment_is_stopped_by_the_ledger(
    desk: Desk, vendor: KeyedVendor, hire: Callable[..., Worker]
) -> None:
    worker = hire()
    case, _ = await _sent(desk, worker, vendor, "reset", 429)
    renew, before = worker.ledger.renew, len(vendor.requests)

    async def after_withdrawal(renewal):
        await desk.suppress(case.to)
        return await renew(renewal)

    worker.ledger.renew = after_withdrawal
    assert (await worker.settle(case)).state is Status.OUTCOME_UNKNOWN
    assert len(vendor.requests) == before
