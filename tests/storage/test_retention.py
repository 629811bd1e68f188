"""What retention removes and keeps, and that it blocks no traffic."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
import structlog
from receipt_case import PHONE, LedgerHarness, receipt

from activities.reconcile import Reconcile
from domain.notification import Lane
from domain.notification_types import RetentionPolicy
from domain.outcome import Outcome
from domain.status import Status
from storage import maintenance
from storage.postgres import Pool
from storage.records import Intent
from storage.retention import drop_partitions, retain
from telemetry.metrics import Metrics
from tests.waiting import until_blocked

PARENTS = ("notification_attempts", "receipts", "timeline", "notification_contents")
POLICY = RetentionPolicy(keep_months=6, idempotency_months=12)
LEDGER = "notifications, deliveries, due, provider_messages, receipt_inbox"


@pytest_asyncio.fixture(autouse=True)
async def _empty(pool: Pool) -> AsyncIterator[None]:
    yield
    await pool.execute(f"TRUNCATE {LEDGER}, {', '.join(PARENTS)}")
    await drop_partitions(pool, 1)


async def _plant_partitions(pool: Pool, months_ago: int) -> str:
    for parent in PARENTS:
        await pool.execute(
            "DO $$ DECLARE m timestamptz :="
            f" date_trunc('month', now()) - interval '{months_ago} months'; BEGIN"
            f" EXECUTE format('CREATE TABLE %I PARTITION OF {parent} FOR VALUES FROM (%L) TO (%L)',"
            f" '{parent}' || to_char(m, '_YYYY_MM'), m, m + interval '1 month'); END $$"
        )
    return await pool.fetchval(
        "SELECT to_char(date_trunc('month', now()) - make_interval(months => $1), 'YYYY_MM')", months_ago
    )


async def test_old_partitions_are_dropped_and_idempotency_is_kept(harness: LedgerHarness) -> None:
    old, recent = await _plant_partitions(harness.pool, 7), await _plant_partitions(harness.pool, 6)
    id, _ = await harness.sent(awaits=False)
    await harness.pool.execute(
        "UPDATE notifications SET accepted_at = now() - interval '7 months' WHERE id = $1", id
    )
    dropped = await drop_partitions(harness.pool, 6)
    assert dropped == [
        f"public.{parent}_{old}"
        for parent in ("notification_attempts", "receipts", "timeline", "notification_contents")
    ]
    left = await harness.pool.fetchval(
        "SELECT array_agg(relname) FROM pg_class WHERE relname ~ '^receipts_2'"
    )
    assert f"receipts_{old}" not in left
    assert f"receipts_{recent}" in left
    assert await harness.ledger.load(id) is not None
    assert await drop_partitions(harness.pool, 6) == []
    assert len(await drop_partitions(harness.pool, 5)) == 4


async def test_the_month_of_a_live_notification_is_kept(harness: LedgerHarness) -> None:
    month = await _plant_partitions(harness.pool, 7)
    id = await harness.accept()
    await harness.pool.execute(
        "UPDATE notifications SET accepted_at = date_trunc('month', now()) - interval '7 months'"
        " WHERE id = $1",
        id,
    )
    assert await drop_partitions(harness.pool, 6) == []
    await harness.pool.execute(
        "UPDATE notifications SET status = 'delivered', final_at = now() WHERE id = $1", id
    )
    assert [name.rsplit("_", 2)[1:] for name in await drop_partitions(harness.pool, 6)] == [
        month.split("_")
    ] * 4


async def test_a_partition_in_use_waits_for_the_next_round(harness: LedgerHarness) -> None:
    month = await _plant_partitions(harness.pool, 7)
    async with harness.pool.acquire() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE receipts_{month} IN ACCESS SHARE MODE")
        assert await drop_partitions(harness.pool, 6, lock_wait_s=0.2) == [
            f"public.notification_attempts_{month}"
        ]
    assert len(await drop_partitions(harness.pool, 6)) == 3


async def test_last_month_is_always_kept(harness: LedgerHarness) -> None:
    with pytest.raises(ValueError, match="last month"):
        await drop_partitions(harness.pool, 0)


async def _months_old(harness: LedgerHarness, months: int, **arguments: object) -> tuple[UUID, str]:
    """A notification that was sent `months` months ago, in the partitions of that month."""
    await _plant_partitions(harness.pool, months)
    id, ref = await harness.sent(**arguments)
    await _age(harness.pool, id, months)
    return id, ref


async def _age(pool: Pool, id: UUID, months: int) -> None:
    """Move a notification's acceptance to `months` months ago. If that month has no partitions, its rows in
    partitioned tables are deleted, as if the partitions had been dropped.
    """
    then = f"date_trunc('month', now()) - interval '{months} months' + interval '3 days'"
    for table, column in (("notifications", "id"), ("deliveries", "notification_id")):
        await pool.execute(f"UPDATE {table} SET accepted_at = {then} WHERE {column} = $1", id)
    deliveries = "(SELECT id FROM deliveries WHERE notification_id = $1)"
    await pool.execute(
        f"UPDATE provider_messages SET accepted_at = {then} WHERE delivery_id IN {deliveries}", id
    )
    kept = await pool.fetchval(f"SELECT to_regclass('timeline' || to_char({then}, '_YYYY_MM'))")
    for table in ("notification_attempts", "timeline", "notification_contents"):
        change = f"UPDATE {table} SET accepted_at = {then}" if kept else f"DELETE FROM {table}"
        await pool.execute(f"{change} WHERE notification_id = $1", id)


async def test_a_whole_month_is_removed_and_its_keys_are_kept(harness: LedgerHarness) -> None:
    id, _ = await _months_old(harness, 7, awaits=False, message_id="SM-old")
    kept, _ = await harness.sent(awaits=False, message_id="SM-new")
    removed = await retain(harness.pool, POLICY, within_s=20)
    assert (len(removed.partitions), removed.messages, removed.notifications) == (4, 1, 0)
    assert await harness.attempt_rows(id) == []
    assert await harness.load(id) is not None
    assert len(await harness.attempt_rows(kept)) == 1
    assert await harness.pool.fetchval("SELECT array_agg(provider_message_id) FROM provider_messages") == [
        "SM-new"
    ]
    again = await retain(harness.pool, POLICY, within_s=20)
    assert (again.partitions, again.messages, again.more) == ((), 0, False)


async def test_a_removed_attempt_leads_to_no_second_send(harness: LedgerHarness) -> None:
    """The delivery's status forbids it, and nothing is due: no decision depends on the removed evidence."""
    over, _ = await _months_old(harness, 7, awaits=False)
    await retain(harness.pool, POLICY, within_s=20)
    under_way, _ = await harness.sent(outcome=None)
    await harness.pool.execute("DELETE FROM notification_attempts WHERE notification_id = $1", under_way)
    for id in (over, under_way):
        delivery = (await harness.load(id)).deliveries[0]
        assert delivery.attempts == ()
        intent = Intent(id, delivery.id, delivery.version, "twilio", 10, 0, PHONE, "+", {}, required=True)
        assert await harness.ledger.intend(intent) is None
    assert await maintenance.requeue_live_without_due(harness.pool, 10) == 0
    assert [claim.id for claim in await harness.ledger.claim(Lane.NORMAL, 10, 60)] == []
    assert await harness.attempt_rows(over) == []


async def test_a_callback_for_a_dropped_month_is_an_orphan(harness: LedgerHarness) -> None:
    id, ref = await _months_old(harness, 7, awaits=False, message_id="SM-late")
    await drop_partitions(harness.pool, 6)
    by_ref, by_message = receipt(ref, "delivered"), receipt(None, "delivered", provider_message_id="SM-late")
    await harness.report_receipts(by_ref, by_message)
    orphans = 0
    for _ in range(10):
        await harness.pool.execute("UPDATE receipt_inbox SET due_at = now() WHERE orphaned_at IS NULL")
        orphans += len((await harness.receipts.apply_due(10)).orphans)
    assert orphans == 2
    assert (await harness.load(id)).deliveries[0].status is Status.SENT
    assert await maintenance.revive_orphans(harness.pool, 10) == 0
    assert await maintenance.drop_orphans(harness.pool, older_than_s=-1) == 2


async def test_notifications_are_removed_in_steps_after_their_window(harness: LedgerHarness) -> None:
    gone = [(await harness.sent(awaits=False))[0] for _ in range(5)]
    for id in gone:
        await _age(harness.pool, id, 13)
    kept, _ = await harness.sent(awaits=False)
    await _age(harness.pool, kept, 12)
    removed = await retain(harness.pool, POLICY, within_s=20, rows_max=2)
    assert removed.notifications == 5
    assert [await harness.ledger.load(id) for id in gone] == [None] * 5
    assert await harness.load(kept) is not None
    assert await harness.pool.fetchval("SELECT count(*) FROM deliveries") == 1


async def test_a_notification_that_is_not_over_is_never_removed(harness: LedgerHarness) -> None:
    parked, _ = await _months_old(harness, 30, outcome=Outcome.REJECTED, status=Status.DEAD_LETTERED)
    waiting = await harness.accept()
    await _age(harness.pool, waiting, 30)
    due, _ = await harness.sent(awaits=False)
    await _age(harness.pool, due, 30)
    await harness.pool.execute("INSERT INTO due (id, lane, due_at) VALUES ($1, 2, now())", due)
    removed = await retain(harness.pool, POLICY, within_s=20)
    assert (removed.partitions, removed.notifications) == ((), 0)
    for id in (parked, waiting, due):
        assert await harness.load(id) is not None


async def test_old_notifications_of_every_tenant_are_removed(harness: LedgerHarness) -> None:
    ids = [(await harness.sent(awaits=False))[0] for _ in range(3)]
    for number, id in enumerate(ids):
        await _age(harness.pool, id, 20)
        tenant = f"tenant-{number}"
        await harness.pool.execute("UPDATE notifications SET tenant = $2 WHERE id = $1", id, tenant)
    assert (await retain(harness.pool, POLICY, within_s=20)).notifications == 3


async def test_a_round_without_time_reports_that_more_is_left(harness: LedgerHarness) -> None:
    id, _ = await harness.sent(awaits=False)
    await _age(harness.pool, id, 20)
    removed = await retain(harness.pool, POLICY, within_s=0)
    assert (removed.notifications, removed.more) == (0, True)


async def test_a_key_is_known_during_its_window_and_new_after_it(harness: LedgerHarness) -> None:
    id, _ = await harness.sent(awaits=False)
    await _age(harness.pool, id, 12)
    await retain(harness.pool, POLICY, within_s=20)
    assert list(await harness.ledger.accepted([id])) == [id]
    await _age(harness.pool, id, 13)
    await retain(harness.pool, POLICY, within_s=20)
    assert await harness.ledger.accepted([id]) == {}


async def test_traffic_continues_while_a_drop_waits(harness: LedgerHarness, database: str) -> None:
    month = await _plant_partitions(harness.pool, 7)
    reader, writer = await asyncpg.connect(database), await asyncpg.connect(database)
    try:
        async with reader.transaction():
            await reader.fetch("SELECT FROM notification_attempts WHERE delivery_id = $1", uuid4())
            dropping = asyncio.create_task(drop_partitions(harness.pool, 6, lock_wait_s=10))
            await until_blocked(harness.pool, reader)
            await writer.execute("SET lock_timeout = '500ms'")
            id, _ = await harness.sent()
            await writer.fetch("SELECT FROM notification_attempts WHERE notification_id = $1", id)
            assert not dropping.done()
        assert f"public.notification_attempts_{month}" in await dropping
    finally:
        await reader.close()
        await writer.close()


@pytest.mark.parametrize("interrupted", ["leaving", "apart"])
async def test_an_interrupted_drop_is_finished(
    harness: LedgerHarness, database: str, interrupted: str
) -> None:
    month = await _plant_partitions(harness.pool, 7)
    detach = f"ALTER TABLE receipts DETACH PARTITION receipts_{month} CONCURRENTLY"
    connection, reader = await asyncpg.connect(database), await asyncpg.connect(database)
    try:
        if interrupted == "apart":
            await connection.execute(detach)
        else:
            await connection.execute("SET lock_timeout = '100ms'")
            async with reader.transaction():
                await reader.fetch("SELECT FROM receipts")
                with pytest.raises(asyncpg.LockNotAvailableError):
                    await connection.execute(detach)
    finally:
        await connection.close()
        await reader.close()
    assert len(await drop_partitions(harness.pool, 6)) == 4
    assert await harness.pool.fetchval("SELECT to_regclass($1) IS NULL", f"receipts_{month}")


async def test_a_round_counts_and_logs_what_it_removed(harness: LedgerHarness) -> None:
    month = await _plant_partitions(harness.pool, 7)
    metrics = Metrics()
    with structlog.testing.capture_logs() as logs:
        done = await Reconcile(harness.pool, metrics, POLICY).maintain()
    assert done.counts["partitions_dropped"] == 4
    assert 'herald_removed_total{kind="partitions"} 4.0' in metrics.render().decode()
    [logged] = [line for line in logs if line["event"] == "retention"]
    assert f"public.receipts_{month}" in logged["partitions"]


def test_attempts_never_outlive_their_notification() -> None:
    with pytest.raises(ValueError, match="outlive"):
        RetentionPolicy(keep_months=6, idempotency_months=5)
