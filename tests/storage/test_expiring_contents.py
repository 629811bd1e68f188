"""What a type with `scrub_when_final` must not keep is gone at its expiry, whatever the status."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from ledger_case import PHONE, Case, Cases

from domain.notification import Channel, Strategy
from domain.outcome import Outcome
from domain.snapshot import Snapshot
from domain.status import FINAL, PARKED, Status
from domain.transition import Transition
from storage import delivery_writes, maintenance
from storage.postgres import Pool
from storage.statements import statement

CODE = "774411"
PRIVATE = {
    "title": f"Code {CODE}",
    "body": f"Your code is {CODE}",
    "metadata": {"code": CODE, "order": "A-17"},
    "private_metadata": ("code",),
    "to_email": f"{CODE}@example.com",
    "to_push": f"device-{CODE}",
    "to_whatsapp": f"+1555{CODE}",
    "scrub": True,
}
ID = "notification_id"
TWO = (Channel.SMS, Channel.EMAIL)


async def make_due(case: Case) -> None:
    """Move the notification's expiry into the past."""
    for table, key in (("notifications", "id"), ("deliveries", ID), ("expiring_contents", ID)):
        await case.execute(f"UPDATE {table} SET expires_at = now() - interval '1 second' WHERE {key} = $1")


async def kept(pool: Pool, case: Case) -> list[str]:
    """The tables that hold the code in one of the notification's rows."""
    names = [
        row["tablename"]
        for row in await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    ]
    return [
        name
        for name in names
        if await pool.fetchval(
            f'SELECT count(*) FROM "{name}" t WHERE t::text LIKE $1 AND t::text LIKE $2',
            f"%{CODE}%",
            f"%{case.id}%",
        )
    ]


async def later(case: Case) -> Any:
    return (await case.load()).now + timedelta(minutes=1)


async def accepted(case: Case) -> None:
    pass


async def sending(case: Case) -> None:
    await case.open()


async def awaiting_a_receipt(case: Case) -> None:
    await case.sent(due_at=await later(case))


def becoming(status: Status) -> Callable[[Case], Awaitable[None]]:
    async def become(case: Case) -> None:
        await case.update(Transition(status, await later(case)))

    return become


def ending(status: Status) -> Callable[[Case], Awaitable[None]]:
    async def end(case: Case) -> None:
        await case.update(Transition(status, None))

    return end


async def scheduled(case: Case) -> None:
    await case.execute("UPDATE deliveries SET status = 'scheduled' WHERE notification_id = $1")
    await case.execute("UPDATE notifications SET status = 'scheduled' WHERE id = $1")


STATES: dict[Status, Callable[[Case], Awaitable[None]]] = {
    Status.ACCEPTED: accepted,
    Status.SCHEDULED: scheduled,
    Status.SENDING: sending,
    Status.SENT: awaiting_a_receipt,
    Status.DEFERRED: becoming(Status.DEFERRED),
    **{status: becoming(status) for status in PARKED},
    **{status: ending(status) for status in FINAL - {Status.SENT}},
}
NOT_REACHED_ALONE = {Status.WAITING}
"""A notification waits for another one's channel only together with a channel that does not."""


def test_every_status_is_here() -> None:
    assert STATES.keys() == set(Status) - NOT_REACHED_ALONE


@pytest.mark.parametrize("status", sorted(STATES))
async def test_it_is_gone_at_its_expiry(cases: Cases, pool: Pool, status: Status) -> None:
    case = await cases(**PRIVATE)
    assert "notification_contents" in " ".join(await kept(pool, case))
    await STATES[status](case)
    row = await case.row("SELECT status FROM notifications WHERE id = $1")
    assert row["status"] == status
    await make_due(case)
    await maintenance.scrub_expired(pool, 1000)
    assert await kept(pool, case) == []
    content = await case.row(
        "SELECT *, metadata ->> 'order' AS o FROM notification_contents WHERE notification_id = $1"
    )
    assert (content["title"], content["body"], content["o"]) == (None, "", "A-17")
    assert content["scrubbed_at"] is not None
    assert await case.row("SELECT count(*) AS left FROM expiring_contents WHERE notification_id = $1") == (0,)


@pytest.mark.parametrize("status", sorted(STATES))
async def test_it_is_hidden_before_it_is_removed(cases: Cases, status: Status) -> None:
    case = await cases(**PRIVATE)
    await STATES[status](case)
    await make_due(case)
    loaded = await case.load()
    assert (loaded.content.title, loaded.content.body, loaded.content_gone) == (None, "", True)


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_the_private_metadata_goes_when_it_is_final(cases: Cases, status: Status) -> None:
    case = await cases(**PRIVATE)
    await case.update(Transition(status, None))
    row = await case.row("SELECT metadata FROM notification_contents WHERE notification_id = $1")
    assert row["metadata"] == {"order": "A-17"}


async def test_a_channel_that_waits_keeps_nothing(cases: Cases, pool: Pool) -> None:
    case = await cases(**PRIVATE, strategy=Strategy.FIRST, channels=TWO)
    assert (await case.delivery(Channel.EMAIL)).status is Status.WAITING
    await make_due(case)
    await maintenance.scrub_expired(pool, 1000)
    assert await kept(pool, case) == []


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.DEAD_LETTERED])
async def test_it_is_kept_until_then(cases: Cases, pool: Pool, status: Status) -> None:
    case = await cases(**PRIVATE)
    await STATES[status](case)
    await maintenance.scrub_expired(pool, 1000)
    loaded = await case.load()
    assert (loaded.content.body, loaded.content_gone) == (PRIVATE["body"], False)


async def test_other_types_keep_theirs(cases: Cases, pool: Pool) -> None:
    case = await cases(**{**PRIVATE, "scrub": False, "private_metadata": ()})
    await STATES[Status.DEAD_LETTERED](case)
    await make_due(case)
    await maintenance.scrub_expired(pool, 1000)
    loaded = await case.load()
    assert (loaded.content.body, loaded.content_gone) == (PRIVATE["body"], False)
    row = await case.row("SELECT metadata FROM notification_contents WHERE notification_id = $1")
    assert row["metadata"] == PRIVATE["metadata"]


async def test_a_removed_address_is_not_replaced_by_the_users(cases: Cases, pool: Pool) -> None:
    """Otherwise a late receipt about the one would suppress the other."""
    case = await cases(**PRIVATE)
    await pool.execute(
        "INSERT INTO users (tenant, user_id, phone, email) VALUES ('acme', $1, '+15550199', 'u@example.com')",
        case.user_id,
    )
    opened = await case.open()
    assert (await case.load()).recipient.sms == PHONE
    await make_due(case)
    await maintenance.scrub_expired(pool, 1000)
    recipient = (await case.load()).recipient
    assert (recipient.sms, recipient.email, recipient.whatsapp) == (None, None, None)
    delivery = await case.delivery()
    found = await pool.fetch(
        "SELECT addresses_v1(c, u) AS addresses FROM notification_contents c, users u"
        " WHERE c.notification_id = $1 AND u.user_id = $2",
        case.id,
        case.user_id,
    )
    assert found[0]["addresses"]["sms"] == ""
    (row,) = await pool.fetch(statement("find_addresses"), [delivery.id], [opened.number])
    assert row["address"] is None


async def test_an_operator_may_give_it_more_time(cases: Cases, pool: Pool) -> None:
    case = await cases(**PRIVATE)
    await case.execute(
        "UPDATE expiring_contents SET expires_at = now() - interval '1 second' WHERE notification_id = $1"
    )
    await maintenance.scrub_expired(pool, 1000)
    assert (await case.load()).content.body == PRIVATE["body"]
    again = await case.row(
        "SELECT expires_at > now() AS waits FROM expiring_contents WHERE notification_id = $1"
    )
    assert again["waits"]
    await make_due(case)
    await maintenance.scrub_expired(pool, 1000)
    assert await kept(pool, case) == []


async def test_a_removed_content_is_not_sent_although_there_is_time(cases: Cases, pool: Pool) -> None:
    """An operator's retry and the removal may cross: the retry prolongs what is already empty."""
    case = await cases(**PRIVATE)
    await STATES[Status.DEAD_LETTERED](case)
    await make_due(case)
    await maintenance.scrub_expired(pool, 1000)
    await case.execute(
        "UPDATE deliveries SET expires_at = now() + interval '1 hour' WHERE notification_id = $1"
    )
    loaded = await case.load()
    assert Snapshot(loaded, loaded.deliveries[0], loaded.now).is_expired


async def test_a_new_address_does_not_outlive_the_content(cases: Cases, pool: Pool) -> None:
    """It may be given at the moment at which the content is removed."""
    case = await cases(**PRIVATE)
    await STATES[Status.DEAD_LETTERED](case)
    await make_due(case)
    await maintenance.scrub_expired(pool, 1000)
    async with pool.acquire() as connection:
        await delivery_writes.readdress(connection, case.id, {Channel.EMAIL: f"{CODE}@example.com"})
    assert await kept(pool, case) == []


async def test_a_content_that_is_being_written_is_left_to_the_next_round(cases: Cases, pool: Pool) -> None:
    blocked, free = await cases(**PRIVATE), await cases(**PRIVATE)
    for case in (blocked, free):
        await make_due(case)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "SELECT FROM notification_contents WHERE notification_id = $1 FOR UPDATE", blocked.id
        )
        async with asyncio.timeout(10):
            await maintenance.scrub_expired(pool, 1000)
        assert await kept(pool, free) == []
        assert await kept(pool, blocked)
    await maintenance.scrub_expired(pool, 1000)
    assert await kept(pool, blocked) == []


async def test_a_round_is_bounded_and_several_share_the_work(cases: Cases, pool: Pool) -> None:
    await maintenance.scrub_expired(pool, 1000)
    made = [await cases(**PRIVATE) for _ in range(6)]
    for case in made:
        await make_due(case)
    assert await maintenance.scrub_expired(pool, 2) == (2, 2)
    rounds = await asyncio.gather(*(maintenance.scrub_expired(pool, 2) for _ in range(3)))
    left = await maintenance.scrub_expired(pool, 100)
    assert sum(taken for taken, _ in (*rounds, left)) == 4
    assert [place for case in made for place in await kept(pool, case)] == []


async def test_a_month_that_retention_has_dropped_is_forgotten(cases: Cases, pool: Pool) -> None:
    case = await cases(**PRIVATE)
    await make_due(case)
    await case.execute("DELETE FROM notification_contents WHERE notification_id = $1")
    taken, removed = await maintenance.scrub_expired(pool, 1000)
    assert (taken, removed) == (1, 0)


@pytest.mark.parametrize("status", sorted(PARKED))
async def test_what_an_earlier_release_accepted_is_found_once_parked(
    cases, pool: Pool, status: Status
) -> None:
    case = await cases(**PRIVATE)
    await STATES[status](case)
    await make_due(case)
    # Release 0.1.0 does not write this table.
    await case.execute("DELETE FROM expiring_contents WHERE notification_id = $1")
    await case.execute("UPDATE notifications SET expires_at = now() - interval '1 hour' WHERE id = $1")
    assert await maintenance.watch_parked_contents(pool, 1000) == 1
    await maintenance.scrub_expired(pool, 1000)
    assert await maintenance.watch_parked_contents(pool, 1000) == 0
    row = await case.row("SELECT body FROM notification_contents WHERE notification_id = $1")
    assert row["body"] == ""


async def test_an_accepted_attempt_stays_as_evidence(cases: Cases, pool: Pool) -> None:
    case = await cases(**PRIVATE)
    opened = await case.open()
    await case.close(opened, Outcome.ACCEPTED, Transition(Status.SENT, await later(case)))
    await make_due(case)
    await maintenance.scrub_expired(pool, 1000)
    (attempt,) = (await case.delivery()).attempts
    assert (attempt.outcome, attempt.provider) == (Outcome.ACCEPTED, "twilio")
