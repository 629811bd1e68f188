"""What follows from the deliveries: a notification's status, its end, its content, its place in the queue."""

import asyncio
import itertools

import asyncpg
import pytest
from ledger_case import Case, Cases, at, held
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
        assert await case.update(Transition(status, None if status in FINAL else later, f"why-{status}"), channel)
    shown = await case.shown()
    assert shown["status"] == derive(statuses)
    assert shown["reason_code"] == f"why-{shown['status']}"
    over = all(status in FINAL for status in statuses)
    assert (shown["final_at"] is not None) is over
    assert (await case.due() is None) is over


async def test_status_and_end_are_derived_from_the_deliveries(cases: Cases) -> None:
    pairs = itertools.permutations(set(Status) - {Status.WAITING, Status.SENDING}, 2)
    await asyncio.gather(*(_ends_in(cases, pair) for pair in pairs))


async def test_channels_that_end_at_once_end_the_notification(cases: Cases, pool: Pool) -> None:
    """Neither write sees the other's delivery, unless they take turns."""
    case = await cases(channels=TWO)
    sms, email = [await case.change(Transition(Status.DELIVERED, None), channel) for channel in TWO]
    async with pool.acquire() as holder, holder.transaction():
        assert await Ledger(held(holder)).update(sms)
        second = asyncio.create_task(case.ledger.update(email))
        await until_blocked(pool, holder)
    assert await second
    shown = await case.shown()
    assert (shown["status"], shown["final_at"] is None) == ("delivered", False)
    assert await case.due() is None


async def test_an_open_attempt_shows_as_sending(cases: Cases) -> None:
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


async def test_what_ended_begins_again_and_ends_again(case: Case) -> None:
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


async def test_the_end_keeps_its_time_when_the_status_changes_after_it(case: Case) -> None:
    await case.update(Transition(Status.SENT, None))
    ended_at = (await case.shown())["final_at"]
    await case.update(Transition(Status.DELIVERED, None))
    shown = await case.shown()
    assert (shown["status"], shown["final_at"]) == ("delivered", ended_at)


async def test_the_queue_says_the_earliest_of_the_deliveries(cases: Cases) -> None:
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
async def test_content_that_must_go_goes_with_the_end(cases: Cases, status: Status) -> None:
    case = await cases(scrub=True, title="Code", body="774411", channels=TWO)
    await case.update(Transition(status, None), Channel.SMS)
    assert (await case.load()).content.body == "774411"
    await case.update(Transition(status, None), Channel.EMAIL)
    loaded = await case.load()
    assert (loaded.content.title, loaded.content.body) == (None, "")
    content = await case.row("SELECT scrubbed_at FROM notification_contents WHERE notification_id = $1")
    assert content["scrubbed_at"] is not None


@pytest.mark.parametrize("status", sorted(PARKED))
async def test_content_stays_while_an_operator_may_send_it_again(cases: Cases, status: Status) -> None:
    case = await cases(scrub=True, body="774411")
    await case.update(Transition(status, at((await case.load()).now, 60)))
    assert (await case.load()).content.body == "774411"


async def test_content_stays_where_it_need_not_go(case: Case) -> None:
    await case.update(Transition(Status.DELIVERED, None))
    assert (await case.load()).content.body == "You were debited"


async def test_whoever_waits_for_work_is_told_when_there_is_some(cases: Cases, database: str) -> None:
    heard: list[str] = []
    listener = await asyncpg.connect(database)
    try:
        await listener.add_listener("herald_due", lambda *told: heard.append(told[2]))
        case = await cases()
        await until(lambda: _has(heard, 1))
        now = (await case.load()).now
        # Nothing to do for a minute: nobody is woken. The next one is due at once.
        await case.update(Transition(Status.DEFERRED, at(now, 60), release=True))
        await case.update(Transition(Status.DEFERRED, now, release=True))
        await until(lambda: _has(heard, 2))
        await listener.execute("SELECT pg_notify('herald_due', '')")
        await until(lambda: _has(heard, 3))
        assert len(heard) == 3
    finally:
        await listener.close()


async def _has(heard: list[str], count: int) -> bool:
    await asyncio.sleep(0)
    return len(heard) >= count


async def test_a_change_of_one_notification_leaves_its_neighbours(cases: Cases) -> None:
    one, other = await cases(), await cases()
    before = await other.shown(), await other.due()
    await one.close(await one.open(), Outcome.ACCEPTED, Transition(Status.SENT, None))
    after = await other.shown(), await other.due()
    assert before[0] == after[0]
    assert before[1] is not None
    assert after[1] is not None
    assert before[1]["due_at"] == after[1]["due_at"]
