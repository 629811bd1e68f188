"""Intents: a sender may call a provider only for a current, due, unexpired and wanted delivery."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest
from ledger_case import PHONE, Case, Cases, at, submission
from proxy import Loss, proxied
from waiting import until_blocked

from domain.notification import Channel
from domain.outcome import Outcome
from domain.status import Status
from domain.transition import Transition
from storage.group import CommitUnknown
from storage.ledger import Ledger
from storage.postgres import Pool, open_pool

OTHER_TYPE_OFF = ("price_alert", False)


async def test_an_intent_opens_one_attempt_and_blocks_the_delivery(case: Case) -> None:
    opened = await case.open(budget_s=10.0, visibility_delay_s=30.0)
    delivery, due = await case.delivery(), await case.due()
    assert (opened.number, opened.version, delivery.version) == (1, 1, 1)
    assert delivery.status is Status.SENDING
    assert delivery.open_attempt is not None
    assert delivery.open_attempt.send_deadline == opened.send_deadline == at(opened.intended_at, 10)
    assert delivery.due_at == at(opened.intended_at, 40)
    assert due is not None
    assert due["due_at"] == delivery.due_at


async def test_one_of_concurrent_passes_may_send(cases: Cases, ledger: Ledger, other_ledger: Ledger) -> None:
    for _ in range(20):
        intent = await (await cases()).intent()
        answers = await asyncio.gather(
            ledger.intend(intent),
            other_ledger.intend(intent),
            ledger.intend(intent),
            other_ledger.intend(intent),
        )
        assert sum(answer is not None for answer in answers) == 1


async def test_an_intent_of_an_older_version_is_refused(case: Case) -> None:
    stale = await case.intent()
    loaded = await case.load()
    assert await case.update(Transition(Status.DEFERRED, loaded.now, next_pass_at=loaded.now))
    assert await case.ledger.intend(stale) is None
    assert await case.attempts() == []


async def test_a_stale_intent_does_not_fail_a_current_one_in_its_group(case: Case) -> None:
    stale = await case.intent()
    loaded = await case.load()
    await case.update(Transition(Status.DEFERRED, loaded.now, next_pass_at=loaded.now))
    fresh = await case.intent()
    answers = await asyncio.gather(case.ledger.intend(stale), case.ledger.intend(fresh))
    assert answers[0] is None
    assert answers[1] is not None


async def test_there_is_no_second_attempt_beside_an_open_one(case: Case) -> None:
    await case.open()
    assert await case.intend() is None
    with pytest.raises(asyncpg.UniqueViolationError, match="delivery_id_accepted_at_idx"):
        await case.execute(
            "INSERT INTO notification_attempts SELECT (jsonb_populate_record(a, '{\"number\": 2}')).*"
            " FROM notification_attempts a WHERE notification_id = $1"
        )


async def test_an_intent_before_the_due_time_is_refused(case: Case) -> None:
    now = (await case.load()).now
    assert await case.update(Transition(Status.DEFERRED, at(now, 60), next_pass_at=at(now, 60)))
    assert await case.intend() is None
    assert await case.update(Transition(Status.DEFERRED, now, next_pass_at=now))
    assert await case.intend() is not None


async def test_an_intent_after_the_expiry_is_refused(case: Case) -> None:
    await case.execute(
        "UPDATE deliveries SET expires_at = now() - interval '1 ms' WHERE notification_id = $1"
    )
    assert await case.intend() is None


async def test_an_expiry_while_waiting_for_the_lock_counts(case: Case, pool: Pool) -> None:
    intent = await case.intent()
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT FROM notifications WHERE id = $1 FOR NO KEY UPDATE", case.id)
        waiting = asyncio.create_task(case.ledger.intend(intent))
        await until_blocked(pool, holder)
        # The intent began before the expiry, and runs after it.
        await holder.execute(
            "UPDATE deliveries SET expires_at = clock_timestamp() WHERE notification_id = $1", case.id
        )
    assert await waiting is None


async def test_the_send_deadline_counts_from_when_the_lock_is_granted(case: Case, pool: Pool) -> None:
    intent = await case.intent()
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT FROM notifications WHERE id = $1 FOR NO KEY UPDATE", case.id)
        waiting = asyncio.create_task(case.ledger.intend(intent))
        await until_blocked(pool, holder)
        granted_at = await holder.fetchval("SELECT clock_timestamp()")
    opened = await waiting
    assert opened is not None
    assert opened.intended_at >= granted_at
    assert opened.send_deadline == opened.intended_at + timedelta(seconds=intent.budget_s)


@pytest.mark.parametrize(
    "status", [status for status in Status if status not in ("accepted", "scheduled", "deferred")]
)
async def test_an_intent_in_any_other_status_is_refused(case: Case, status: Status) -> None:
    await case.execute("UPDATE deliveries SET status = $2::status WHERE notification_id = $1", status.value)
    assert await case.intend() is None


async def _setting(case: Case, type: str, enabled: bool) -> None:
    await case.execute(
        "INSERT INTO user_notification_settings (tenant, user_id, type, channel, enabled)"
        " SELECT tenant, user_id, $2, 'sms', $3 FROM notifications WHERE id = $1",
        type,
        enabled,
    )


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ([], True),
        ([("debit_alert", False)], False),
        ([("*", False)], False),
        ([("debit_alert", True), ("*", False)], True),
        ([("debit_alert", False), ("*", True)], False),
        ([OTHER_TYPE_OFF], True),
    ],
)
async def test_an_opt_out_after_the_load_stops_the_send(
    case: Case, settings: list[tuple[str, bool]], wanted: bool
) -> None:
    intent = await case.intent()
    for type, enabled in settings:
        await _setting(case, type, enabled)
    assert (await case.ledger.intend(intent) is not None) is wanted


async def test_an_opt_out_of_another_channel_has_no_effect(case: Case) -> None:
    await case.execute(
        "INSERT INTO user_notification_settings (tenant, user_id, type, channel, enabled)"
        " SELECT tenant, user_id, '*', 'email', false FROM notifications WHERE id = $1"
    )
    assert await case.intend() is not None


async def test_a_required_type_ignores_opt_outs(case: Case) -> None:
    intent = await case.intent(required=True)
    await _setting(case, "*", False)
    assert await case.ledger.intend(intent) is not None


@pytest.mark.parametrize("required", [False, True])
async def test_a_suppression_after_the_load_stops_every_type(cases: Cases, required: bool) -> None:
    case = await cases(tenant=f"tenant-{required}")
    intent = await case.intent(required=required)
    await case.execute(
        "INSERT INTO suppressions (tenant, channel, address, reason, source)"
        " SELECT tenant, 'sms', $2, 'complaint', 'test' FROM notifications WHERE id = $1",
        PHONE,
    )
    assert await case.ledger.intend(intent) is None


async def test_an_opt_out_while_waiting_for_the_lock_counts(case: Case, pool: Pool) -> None:
    intent = await case.intent()
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT FROM notifications WHERE id = $1 FOR NO KEY UPDATE", case.id)
        waiting = asyncio.create_task(case.ledger.intend(intent))
        await until_blocked(pool, holder)
        await _setting(case, "*", False)
    assert await waiting is None


async def test_exactly_one_of_a_concurrent_cancel_and_intent_wins(
    cases: Cases, ledger: Ledger, other_ledger: Ledger
) -> None:
    sent = 0
    for turn in range(40):
        case = await cases()
        intent, cancel = await case.intent(), await case.change(Transition(Status.CANCELLED, None))
        calls = [ledger.intend(intent), other_ledger.update(cancel)]
        opened, cancelled = await asyncio.gather(*(calls if turn % 2 else calls[::-1]))
        assert (opened is None) != (cancelled is None)
        delivery = await case.delivery()
        is_sending = delivery.open_attempt is not None
        assert delivery.status is (Status.SENDING if is_sending else Status.CANCELLED)
        assert (await case.due() is not None) is is_sending
        sent += is_sending
    assert 0 < sent < 40


async def test_concurrent_intents_of_two_processes_send_no_delivery_twice(
    ledger: Ledger, database: str
) -> None:
    # Postgres looks for a deadlock only after an hour, so one would time this test out.
    pools = [await open_pool(f"{database}?deadlock_timeout=1h") for _ in range(2)]
    here, there = (Ledger(pool) for pool in pools)
    rows = [submission(channels=(Channel.SMS, Channel.EMAIL)) for _ in range(40)]
    await ledger.accept_all(rows)
    loaded = await asyncio.gather(*(ledger.load(row.id) for row in rows))
    intents = [
        await Case(ledger, notification.id, "").intent(delivery.channel)
        for notification in loaded
        if notification
        for delivery in notification.deliveries
    ]
    async with asyncio.timeout(60):
        answers = await asyncio.gather(
            *(here.intend(intent) for intent in intents), *(there.intend(intent) for intent in intents[::-1])
        )
    for pool in pools:
        await pool.close()
    these, those = answers[: len(intents)], answers[len(intents) :][::-1]
    assert all((one is None) != (other is None) for one, other in zip(these, those, strict=True))


async def test_a_group_locks_its_notifications_in_id_order(cases: Cases, pool: Pool) -> None:
    """A group that waits for its first lock holds no other lock, so that two groups cannot deadlock."""
    group = sorted([await cases() for _ in range(8)], key=lambda case: case.id)
    intents = [await case.intent() for case in group]
    async with pool.acquire() as holder, holder.transaction():
        lock = "SELECT FROM notifications WHERE id = ANY($1) FOR NO KEY UPDATE"
        await holder.execute(lock, [group[0].id])
        waiting = asyncio.gather(*map(group[0].ledger.intend, intents[::-1]))
        await until_blocked(pool, holder)
        await holder.execute(f"{lock} NOWAIT", [case.id for case in group])
    assert all(await waiting)


async def test_an_accepted_attempt_does_not_change_other_deliveries(cases: Cases) -> None:
    case = await cases(channels=(Channel.SMS, Channel.EMAIL))
    opened = await case.open(Channel.SMS)
    assert await case.close(opened, Outcome.ACCEPTED, Transition(Status.SENT, None))
    assert (await case.delivery(Channel.EMAIL)).version == 0
    assert (await case.load()).status is Status.ACCEPTED
    assert (await case.due()) is not None


@pytest.mark.parametrize("loss", Loss)
async def test_an_intent_whose_answer_is_lost_is_unknown_and_is_not_sent(
    case: Case, database: str, loss: Loss
) -> None:
    address = f"+234803{uuid4().int % 10**7:07}"
    intent = await case.intent(suppression_key=address)
    async with proxied(database) as (proxy, url):
        pool = await open_pool(url, size_max=1)
        proxy.lose(address.encode(), loss)
        with pytest.raises(CommitUnknown):
            await Ledger(pool).intend(intent)
        pool.terminate()
    assert proxy.lost == 1
    written = (await case.delivery()).open_attempt is not None
    assert written is (loss is Loss.AFTER)
    # A second intent shows what was written: if the first one was, no process may send for it.
    assert (await case.ledger.intend(intent) is None) is written
