"""What the reconciliation finds and repairs: every kind of drift is created and found."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from uuid import UUID

import pytest
import pytest_asyncio
from receipt_case import LedgerHarness, receipt

from domain.outcome import Outcome
from domain.status import Status
from storage import maintenance
from storage.postgres import Pool

TABLES = "notifications, deliveries, due, notification_attempts, provider_messages, receipts"


@pytest_asyncio.fixture(autouse=True)
async def _empty(pool: Pool) -> AsyncIterator[None]:
    yield
    await pool.execute(f"TRUNCATE {TABLES}, notification_contents, receipt_inbox, timeline")


async def _age(harness: LedgerHarness, id: UUID, minutes: int = 2) -> None:
    """Move a notification back in time, within its partition or the one before."""
    for table, column in (
        ("notifications", "id"),
        ("deliveries", "notification_id"),
        ("notification_attempts", "notification_id"),
    ):
        await harness.pool.execute(
            f"UPDATE {table} SET accepted_at = accepted_at - make_interval(mins => $2) WHERE {column} = $1",
            id,
            minutes,
        )


async def _drift(harness: LedgerHarness) -> dict[str, int]:
    """The kinds of drift whose count is not 0."""
    return {kind: count for kind, count in asdict(await maintenance.drift(harness.pool)).items() if count}


async def test_a_sound_ledger_shows_no_drift(harness: LedgerHarness) -> None:
    for outcome, status in [
        (None, Status.SENDING),
        (Outcome.ACCEPTED, Status.SENT),
        (Outcome.ACCEPTED, Status.DELIVERED),
        (Outcome.UNKNOWN, Status.OUTCOME_UNKNOWN),
        (Outcome.REJECTED, Status.DEAD_LETTERED),
        (Outcome.REJECTED, Status.DEFERRED),
    ]:
        id, _ = await harness.sent(outcome=outcome, status=status, awaits=status is not Status.DELIVERED)
        await _age(harness, id)
    await _age(harness, await harness.accept())
    assert await _drift(harness) == {}


@pytest.mark.parametrize("status", [Status.DEFERRED, Status.DEAD_LETTERED, Status.SENT, Status.SENDING])
async def test_a_lost_queue_entry_is_found_and_restored(harness: LedgerHarness, status: Status) -> None:
    outcome = None if status is Status.SENDING else Outcome.ACCEPTED
    id, _ = await harness.sent(outcome=outcome, status=status)
    await harness.pool.execute("DELETE FROM due WHERE id = $1", id)
    # A recent one may still be in the middle of a write.
    assert await _drift(harness) == {}
    assert await maintenance.requeue_live_without_due(harness.pool, 10) == 0
    await _age(harness, id)
    assert await _drift(harness) == {"live_without_due": 1}
    assert await maintenance.requeue_live_without_due(harness.pool, 10) == 1
    assert await _drift(harness) == {}
    expected = (await harness.load(id)).deliveries[0].due_at
    due = await harness.pool.fetchrow("SELECT due_at, dedicated_workflow FROM due WHERE id = $1", id)
    # No batch takes what was attempted or is parked.
    assert due
    assert tuple(due) == (expected, True)
    assert await maintenance.requeue_live_without_due(harness.pool, 10) == 0


async def test_a_lost_overdue_notification_is_requeued_as_due_now(harness: LedgerHarness) -> None:
    id = await harness.accept()
    await _age(harness, id)
    await harness.pool.execute("DELETE FROM due WHERE id = $1", id)
    await maintenance.requeue_live_without_due(harness.pool, 10)
    assert await harness.due(id) is True


async def test_an_active_delivery_without_due_at_is_found(harness: LedgerHarness) -> None:
    """A write without `due_at` would leave this: the notification has a `final_at` but is not final."""
    id = await harness.accept()
    await _age(harness, id)
    await harness.pool.execute("UPDATE deliveries SET due_at = NULL WHERE notification_id = $1", id)
    await harness.pool.execute("UPDATE notifications SET final_at = now() WHERE id = $1", id)
    await harness.pool.execute("DELETE FROM due WHERE id = $1", id)
    assert await _drift(harness) == {"live_without_due": 1}
    assert await maintenance.requeue_live_without_due(harness.pool, 10) == 1
    assert await harness.due(id) is True


async def test_a_notification_that_is_being_written_is_skipped(harness: LedgerHarness) -> None:
    id = await harness.accept()
    await _age(harness, id)
    await harness.pool.execute("DELETE FROM due WHERE id = $1", id)
    async with harness.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM notifications WHERE id = $1 FOR NO KEY UPDATE", id)
        assert await maintenance.requeue_live_without_due(harness.pool, 10) == 0
    assert await maintenance.requeue_live_without_due(harness.pool, 10) == 1


async def test_sending_without_an_open_attempt_is_drift(harness: LedgerHarness) -> None:
    id, _ = await harness.sent(outcome=None)
    await harness.pool.execute(
        "UPDATE notification_attempts SET outcome = 'not_sent' WHERE notification_id = $1", id
    )
    assert await _drift(harness) == {"sending_without_open_attempt": 1}


async def test_an_open_attempt_of_a_delivery_that_is_not_sending_is_drift(harness: LedgerHarness) -> None:
    id, _ = await harness.sent(outcome=None)
    await harness.pool.execute("UPDATE deliveries SET status = 'cancelled' WHERE notification_id = $1", id)
    await harness.pool.execute("UPDATE notifications SET status = 'cancelled' WHERE id = $1", id)
    assert await _drift(harness) == {"open_attempt_not_sending": 1}


async def test_a_notification_that_is_not_claimed_for_five_minutes_is_overdue(harness: LedgerHarness) -> None:
    id = await harness.accept()
    await harness.pool.execute("UPDATE due SET due_at = now() - interval '4 min' WHERE id = $1", id)
    assert await _drift(harness) == {}
    await harness.pool.execute("UPDATE due SET due_at = now() - interval '6 min' WHERE id = $1", id)
    assert await _drift(harness) == {"overdue": 1}


@pytest.mark.parametrize("status", ["accepted", "sending"])
async def test_a_status_that_contradicts_the_deliveries_is_drift(harness: LedgerHarness, status: str) -> None:
    id, _ = await harness.sent()
    await harness.pool.execute("UPDATE notifications SET status = $2::text::status WHERE id = $1", id, status)
    assert await _drift(harness) == {"status_mismatch": 1}


async def test_a_live_notification_without_deliveries_is_drift(harness: LedgerHarness) -> None:
    id = await harness.accept()
    await harness.pool.execute("DELETE FROM deliveries WHERE notification_id = $1", id)
    assert await _drift(harness) == {"status_mismatch": 1}


async def test_orphans_are_found_revived_and_dropped(harness: LedgerHarness) -> None:
    await harness.report_receipts(
        receipt(None, "delivered", provider_message_id="SM-matched"), receipt(None, "delivered")
    )
    await harness.pool.execute("UPDATE receipt_inbox SET orphaned_at = now() - interval '1 hour', tries = 6")
    assert await _drift(harness) == {"orphan_receipts": 2}
    assert await maintenance.revive_orphans(harness.pool, 10) == 0
    id, _ = await harness.sent(message_id="SM-matched")
    assert await maintenance.revive_orphans(harness.pool, 10) == 1
    [changed] = (await harness.receipts.apply_due(10)).changed
    assert (changed.notification_id, changed.status) == (id, Status.DELIVERED)
    assert await maintenance.drop_orphans(harness.pool, older_than_s=7200) == 0
    assert await maintenance.drop_orphans(harness.pool, older_than_s=1800) == 1
    assert await harness.inbox() == 0


async def test_dead_letters_are_counted_with_their_age(harness: LedgerHarness) -> None:
    for minutes in (1, 5):
        id, _ = await harness.sent(outcome=Outcome.REJECTED, status=Status.DEAD_LETTERED)
        await _age(harness, id, minutes)
    await harness.sent(outcome=Outcome.UNKNOWN, status=Status.OUTCOME_UNKNOWN, type="marketing")
    await harness.accept()
    unknown, dead = sorted(await maintenance.age_dead_letters(harness.pool), key=lambda row: row.count)
    assert (unknown.type, unknown.status) == ("marketing", Status.OUTCOME_UNKNOWN)
    assert (dead.tenant, dead.type, dead.status, dead.count) == ("t1", "debit_alert", Status.DEAD_LETTERED, 2)
    assert 300 <= dead.oldest_age_s < 360


async def _months(pool: Pool) -> set[str]:
    rows = await pool.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'receipts'::regclass"
    )
    return {row["name"] for row in rows}


async def test_partitions_are_created_ahead(harness: LedgerHarness) -> None:
    before = await _months(harness.pool)
    await maintenance.ensure_partitions(harness.pool, 5)
    await maintenance.ensure_partitions(harness.pool, 5)
    assert len(await _months(harness.pool)) == len(before) + 2
