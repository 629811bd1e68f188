"""What is derived from the deliveries: a notification's status, end, content and queue entry."""

import asyncio
import itertools

import asyncpg
import pytest
from ledger_case import Case, Cases, at, pool_of
from waiting import until, until_blocked

from domain.notification import Channel
from domain.outcome import Outcome
from domain.status import FINAL, PARKED, Status, derive
from domain.transition import Transition
from storage.ledger import Ledger
from storage.postgres import Pool

TWO = (Channel.SMS, Channel.EMAIL)


async def _ends_in(cases: Cases, statuses: tuple[Status, Status]) -> None:
    case = await cases(channels=TWO)
    later = at((await case.load()).now, 60)
    for channel, status in zip(TWO, statuses, strict=True):
        due_at = None if status in FINAL else later
        assert await case.update(Transition(status, due_at, f"why-{status}"), channel)
    shown = await case.shown()
    assert shown["status"] == derive(statuses)
    assert shown["reason_code"] == f"why-{shown['status']}"
    over = all(status in FINAL for status in statuses)
    assert (shown["final_at"] is not None) is over
    assert (await case.due() is None) is over


async def test_status_and_end_are_derived_from_the_deliveries(cases: Cases) -> None:
    pairs = itertools.permutations(set(Status) - {Status.WAITING, Status.SENDING}, 2)
    await asyncio.gather(*(_ends_in(cases, pair) for pair in pairs))


async def test_channels_that_end_concurrently_end_the_notification(cases: Cases, pool: Pool) -> None:
    """Without the lock, neither write would see the other's delivery."""
    case = await cases(channels=TWO)
    sms, email = [await case.change(Transition(Status.DELIVERED, None), channel) for channel in TWO]
    async with pool.acquire() as holder, holder.transaction():
        assert await Ledger(pool_of(holder)).update(sms)
        second = asyncio.create_task(case.ledger.update(email))
        await until_blocked(pool, holder)
    assert await second
    shown = await case.shown()
    assert (shown["status"], shown["final_at"] is None) == ("delivered", False)
    assert await case.due() is None


async def test_a_notification_with_an_open_attempt_is_sending(cases: Cases) -> None:
    case = await cases(channels=TWO)
    await case.update(Transition(Status.DELIVERED, None), Channel.EMAIL)
    await case.open()
    assert (await case.load()).status is Status.SENDING


async def test_sent_is_final_once_no_receipt_is_awaited(case: Case) -> None:
    await case.sent(due_at=at((await case.load()).now, 600))
    assert (await case.shown())["final_at"] is None
    assert await case.due() is not None
    await case.update(Transition(Status.SENT, None))
    assert (await case.shown())["final_at"] is not None
    assert await case.due() is None


async def test_a_final_notification_may_start_and_end_again(case: Case) -> None:
    await case.update(Transition(Status.SENT, None))
    first_end = (await case.shown())["final_at"]
    now = (await case.load()).now
    await case.update(Transition(Status.DEFERRED, now, next_pass_at=now))
    assert (await case.shown())["final_at"] is None
    due = await case.due()
    assert due is not None
    assert due["due_at"] == now
    await case.update(Transition(Status.FAILED, None))
    assert (await case.shown())["final_at"] > first_end
    assert await case.due() is None


async def test_final_at_stays_when_the_status_changes_after_the_end(case: Case) -> None:
    await case.update(Transition(Status.SENT, None))
    ended_at = (await case.shown())["final_at"]
    await case.update(Transition(Status.DELIVERED, None))
    shown = await case.shown()
    assert (shown["status"], shown["final_at"]) == ("delivered", ended_at)


async def test_a_queue_entry_has_the_earliest_due_at_of_the_deliveries(cases: Cases) -> None:
    case = await cases(channels=TWO)
    now = (await case.load()).now
    await case.update(Transition(Status.DEFERRED, at(now, 300)), Channel.SMS)
    await case.update(Transition(Status.DEFERRED, at(now, 60)), Channel.EMAIL)
    due = await case.due()
    assert due is not None
    assert due["due_at"] == at(now, 60)
    await case.update(Transition(Status.DELIVERED, None), Channel.EMAIL)
    due = await case.due()
    assert due is not None
    assert due["due_at"] == at(now, 300)


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_content_to_be_scrubbed_is_removed_at_the_end(cases: Cases, status: Status) -> None:
    case = await cases(scrub=True, title="Code", body="774411", channels=TWO)
    await case.update(Transition(status, None), Channel.SMS)
    assert (await case.load()).content.body == "774411"
    await case.update(Transition(status, None), Channel.EMAIL)
    loaded = await case.load()
    assert (loaded.content.title, loaded.content.body) == (None, "")
    content = await case.row("SELECT scrubbed_at FROM notification_contents WHERE notification_id = $1")
    assert content["scrubbed_at"] is not None


@pytest.mark.parametrize("status", sorted(PARKED))
async def test_content_is_kept_while_an_operator_may_send_it_again(cases: Cases, status: Status) -> None:
    case = await cases(scrub=True, body="774411")
    await case.update(Transition(status, at((await case.load()).now, 60)))
    assert (await case.load()).content.body == "774411"


async def test_content_is_kept_without_scrub(case: Case) -> None:
    await case.update(Transition(Status.DELIVERED, None))
    assert (await case.load()).content.body == "You were debited"


async def test_listeners_are_notified_when_something_is_due(cases: Cases, database: str) -> None:
    received: list[str] = []
    listener = await asyncpg.connect(database)
    try:
        await listener.add_listener("herald_due", lambda *message: received.append(message[2]))
        case = await cases()
        await until(lambda: _has(received, 1))
        now = (await case.load()).now
        # Nothing is due for a minute, so there is no notice. The next update is due at once.
        await case.update(Transition(Status.DEFERRED, at(now, 60), release=True))
        await case.update(Transition(Status.DEFERRED, now, release=True))
        await until(lambda: _has(received, 2))
        await listener.execute("SELECT pg_notify('herald_due', '')")
        await until(lambda: _has(received, 3))
        assert len(received) == 3
    finally:
        await listener.close()


async def _has(received: list[str], count: int) -> bool:
    await asyncio.sleep(0)
    return len(received) >= count


async def test_a_change_of_one_notification_does_not_change_others(cases: Cases) -> None:
    one, other = await cases(), await cases()
    before = await other.shown(), await other.due()
    await one.close(await one.open(), Outcome.ACCEPTED, Transition(Status.SENT, None))
    after = await other.shown(), await other.due()
    assert before[0] == after[0]
    assert before[1] is not None
    assert after[1] is not None
    assert before[1]["due_at"] == after[1]["due_at"]
