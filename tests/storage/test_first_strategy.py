"""`strategy: first`: the next channel starts only when no earlier channel has reached the user."""

import asyncio

import pytest
from ledger_case import Case, Cases, at

from domain.notification import Channel, Strategy
from domain.outcome import Outcome
from domain.status import FINAL, REACHED, SENDABLE, Status
from domain.transition import Transition

CHANNELS = (Channel.PUSH, Channel.SMS, Channel.EMAIL)
NOT_REACHED = sorted(FINAL - REACHED - {Status.CANCELLED})


async def _accept(cases: Cases) -> Case:
    return await cases(strategy=Strategy.FIRST, channels=CHANNELS)


async def _statuses(case: Case) -> list[Status]:
    return [delivery.status for delivery in (await case.load()).deliveries]


@pytest.mark.parametrize("end", NOT_REACHED)
async def test_a_channel_that_fails_starts_only_the_next_one(cases: Cases, end: Status) -> None:
    case = await _accept(cases)
    assert await case.update(Transition(end, None, release=True), Channel.PUSH)
    assert await _statuses(case) == [end, Status.ACCEPTED, Status.WAITING]
    started, due = await case.delivery(Channel.SMS), await case.due()
    assert started.version == 1
    assert due is not None
    assert started.next_pass_at == started.due_at == due["due_at"]
    assert due["due_at"] <= due["now"]
    assert (await case.load()).status is Status.ACCEPTED
    assert await case.timeline() == ["next_channel"]
    assert await case.intend(Channel.SMS) is not None


async def test_an_attempt_that_fails_starts_the_next_channel(cases: Cases) -> None:
    case = await _accept(cases)
    opened = await case.open(Channel.PUSH)
    await case.close(opened, Outcome.REJECTED_RECIPIENT, Transition(Status.UNDELIVERED, None), Channel.PUSH)
    assert await _statuses(case) == [Status.UNDELIVERED, Status.ACCEPTED, Status.WAITING]


@pytest.mark.parametrize(
    "status", sorted(SENDABLE | {Status.OUTCOME_UNKNOWN, Status.DEAD_LETTERED, Status.SENT})
)
async def test_other_channels_wait_while_one_is_under_way(cases: Cases, status: Status) -> None:
    case = await _accept(cases)
    assert await case.update(Transition(status, at((await case.load()).now, 60)), Channel.PUSH)
    assert await _statuses(case) == [status, Status.WAITING, Status.WAITING]


async def test_other_channels_wait_while_an_attempt_is_open(cases: Cases) -> None:
    case = await _accept(cases)
    opened = await case.open(Channel.PUSH)
    await case.close(opened, None, Transition(Status.SENDING, at(opened.send_deadline, 30)), Channel.PUSH)
    assert await _statuses(case) == [Status.SENDING, Status.WAITING, Status.WAITING]


@pytest.mark.parametrize("status", sorted(REACHED))
async def test_other_channels_are_cancelled_once_one_reached_the_user(cases: Cases, status: Status) -> None:
    case = await _accept(cases)
    assert await case.update(Transition(status, None), Channel.PUSH)
    assert await _statuses(case) == [status, Status.CANCELLED, Status.CANCELLED]
    assert (await case.delivery(Channel.SMS)).reason_code == "not_needed"
    assert (await case.load()).status is status
    assert await case.due() is None


async def test_a_late_delivery_stops_a_started_channel_that_has_not_sent(cases: Cases) -> None:
    case = await _accept(cases)
    await case.update(Transition(Status.UNDELIVERED, None), Channel.PUSH)
    sms = await case.intent(Channel.SMS)
    await case.update(Transition(Status.DELIVERED, None), Channel.PUSH)
    assert await _statuses(case) == [Status.DELIVERED, Status.CANCELLED, Status.CANCELLED]
    assert await case.ledger.intend(sms) is None


async def test_a_late_delivery_does_not_stop_a_channel_that_is_sending(cases: Cases) -> None:
    case = await _accept(cases)
    await case.update(Transition(Status.UNDELIVERED, None), Channel.PUSH)
    opened = await case.open(Channel.SMS)
    await case.update(Transition(Status.DELIVERED, None), Channel.PUSH)
    assert await _statuses(case) == [Status.DELIVERED, Status.SENDING, Status.CANCELLED]
    assert await case.close(opened, Outcome.ACCEPTED, Transition(Status.SENT, None), Channel.SMS)
    assert (await case.load()).status is Status.DELIVERED


async def test_a_cancelled_notification_starts_no_channel(cases: Cases) -> None:
    case = await _accept(cases)
    assert await case.update(Transition(Status.CANCELLED, None, "cancelled_by_client"), Channel.PUSH)
    assert await _statuses(case) == [Status.CANCELLED] * 3
    assert (await case.delivery(Channel.EMAIL)).reason_code == "cancelled_by_client"
    assert await case.due() is None


async def test_a_concurrent_cancel_of_every_channel_starts_none(cases: Cases) -> None:
    for _ in range(5):
        case = await _accept(cases)
        changes = [await case.change(Transition(Status.CANCELLED, None), channel) for channel in CHANNELS]
        await asyncio.gather(*map(case.ledger.update, changes))
        assert await _statuses(case) == [Status.CANCELLED] * 3


async def test_the_last_channel_that_fails_ends_the_notification(cases: Cases) -> None:
    case = await _accept(cases)
    for channel in CHANNELS:
        assert await case.update(Transition(Status.UNDELIVERED, None), channel)
    assert await _statuses(case) == [Status.UNDELIVERED] * 3
    assert (await case.load()).status is Status.UNDELIVERED
    assert (await case.shown())["final_at"] is not None
    assert await case.due() is None


async def test_concurrent_ends_of_a_channel_start_the_next_one_once(cases: Cases) -> None:
    case = await _accept(cases)
    end = await case.change(Transition(Status.FAILED, None), Channel.PUSH)
    answers = await asyncio.gather(*(case.ledger.update(end) for _ in range(6)))
    assert sum(answer is not None for answer in answers) == 1
    assert await _statuses(case) == [Status.FAILED, Status.ACCEPTED, Status.WAITING]


async def test_channels_of_strategy_all_are_independent(cases: Cases) -> None:
    case = await cases(channels=CHANNELS)
    await case.update(Transition(Status.DELIVERED, None), Channel.PUSH)
    assert await _statuses(case) == [Status.DELIVERED, Status.ACCEPTED, Status.ACCEPTED]
