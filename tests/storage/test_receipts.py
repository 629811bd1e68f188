"""The inbox and the receipt processor: repeated, unmatched and bad receipts, and concurrent processors."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest
from receipt_case import LedgerHarness, deadline, receipt

from domain.ids import attempt_ref
from domain.outcome import Receipt, ReceiptStatus
from domain.receipt_policy import UNMATCHED_WAITS_S
from domain.status import Status
from storage.group import LedgerUnavailable, QueueFull
from storage.postgres import open_pool
from storage.receipts import Receipts
from storage.statements import statement


async def _make_due(harness: LedgerHarness) -> None:
    await harness.pool.execute("UPDATE receipt_inbox SET due_at = now() WHERE orphaned_at IS NULL")


async def _versions(harness: LedgerHarness, ids: list[UUID]) -> list[int]:
    return [(await harness.load(id)).deliveries[0].version for id in ids]


async def test_a_repeated_callback_is_stored_once(harness: LedgerHarness) -> None:
    _, ref = await harness.sent()
    report = receipt(ref, "delivered")
    assert await harness.report_receipts(report, report) == 1
    assert await harness.report_receipts(report) == 0
    assert await harness.inbox() == 1


async def test_a_callback_repeated_after_it_was_applied_has_no_effect(harness: LedgerHarness) -> None:
    id, ref = await harness.sent()
    report = receipt(ref, "undelivered")
    await harness.report_receipts(report)
    assert len((await harness.receipts.apply_due(100)).changed) == 1
    # The fallback was sent, and an operator even marked it as not sent.
    await harness.attempt(id, provider="termii")
    await harness.pool.execute(
        "UPDATE notification_attempts SET outcome = 'not_sent' WHERE delivery_id"
        " IN (SELECT id FROM deliveries WHERE notification_id = $1) AND number = 2",
        id,
    )
    [before] = await _versions(harness, [id])
    await harness.report_receipts(report)
    applied = await harness.receipts.apply_due(100)
    assert (applied.taken, applied.changed) == (1, ())
    assert await _versions(harness, [id]) == [before]
    assert await harness.inbox() == 0
    assert (
        await harness.pool.fetchval("SELECT count(*) FROM receipts WHERE event_key = $1", report.event_key)
        == 1
    )


async def test_only_receipts_due_for_older_than_s_are_applied(harness: LedgerHarness) -> None:
    _, ref = await harness.sent()
    await harness.report_receipts(receipt(ref, "delivered"))
    assert (await harness.receipts.apply_due(100, older_than_s=60)).taken == 0
    await harness.pool.execute("UPDATE receipt_inbox SET due_at = now() - interval '61 seconds'")
    assert len((await harness.receipts.apply_due(100, older_than_s=60)).changed) == 1


async def test_applying_receipts_does_not_wait_for_the_disk(harness: LedgerHarness) -> None:
    _, ref = await harness.sent()
    await harness.report_receipts(receipt(ref, "delivered"))
    async with harness.pool.acquire() as connection:
        await connection.execute("SET synchronous_commit = on")
        async with connection.transaction():
            assert len(await connection.fetch(statement("claim_receipts"), 10, None, None, 0.0)) == 1
            assert await connection.fetchval("SHOW synchronous_commit") == "off"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"


async def test_storing_a_receipt_notifies_the_processor(harness: LedgerHarness) -> None:
    notified = asyncio.Event()
    async with harness.pool.acquire() as connection:
        listener = lambda *_: notified.set()  # noqa: E731 (removed again by identity)
        await connection.add_listener("herald_receipts", listener)
        await harness.report_receipts(receipt(None, "sent", provider_message_id="SM-unknown"))
        async with asyncio.timeout(60):
            await notified.wait()
        await connection.remove_listener("herald_receipts", listener)


async def test_a_receipt_of_an_unknown_message_waits_for_the_message(harness: LedgerHarness) -> None:
    id = await harness.accept()
    await harness.report_receipts(receipt(None, "delivered", provider_message_id="SM-soon"))
    applied = await harness.receipts.apply_due(100)
    assert (applied.taken, applied.changed, applied.orphans) == (1, (), ())
    row = await harness.pool.fetchrow(
        "SELECT tries, extract(epoch FROM due_at - now())::float8 AS wait_s FROM receipt_inbox"
    )
    assert row is not None
    assert row["tries"] == 1
    assert 0 < row["wait_s"] <= 1
    # It is not applied before its time.
    assert (await harness.receipts.apply_due(100)).taken == 0
    await harness.attempt(id, message_id="SM-soon")
    await _make_due(harness)
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.DELIVERED
    assert await harness.inbox() == 0


async def test_a_receipt_of_an_unknown_message_finally_becomes_an_orphan(harness: LedgerHarness) -> None:
    report = receipt(attempt_ref(uuid4(), 1), "delivered", provider_message_id="SM-none")
    await harness.report_receipts(report)
    for wait_s in UNMATCHED_WAITS_S:
        assert (await harness.receipts.apply_due(100)).orphans == ()
        left_s = await harness.pool.fetchval(
            "SELECT extract(epoch FROM due_at - now())::float8 FROM receipt_inbox"
        )
        assert wait_s - 5 < left_s <= wait_s
        await _make_due(harness)
    applied = await harness.receipts.apply_due(100)
    [orphan] = applied.orphans
    assert (applied.taken, orphan.provider, orphan.status) == (1, "twilio", "delivered")
    assert await harness.orphans() == [report.event_key]
    assert (await harness.receipts.apply_due(100)).taken == 0


@pytest.mark.parametrize("ref", ["nonsense", *(f"{UUID(int=1)}.{number}" for number in ("0", "99999", "-1"))])
async def test_a_malformed_reference_is_ignored(harness: LedgerHarness, ref: str) -> None:
    _, good = await harness.sent(message_id=f"SM-{ref}")
    assert await harness.report_receipts(receipt(ref, "sent"), receipt(good, "delivered")) == 2
    assert len((await harness.receipts.apply_due(100)).changed) == 1
    assert await harness.inbox() == 1


async def test_receipts_beyond_the_limit_stay_due(harness: LedgerHarness) -> None:
    refs = [(await harness.sent())[1] for _ in range(5)]
    await harness.report_receipts(*(receipt(ref, "delivered") for ref in refs))
    taken = [(await harness.receipts.apply_due(2)).taken for _ in range(4)]
    assert taken == [2, 2, 1, 0]


async def test_concurrent_processors_apply_each_receipt_once(harness: LedgerHarness) -> None:
    ids: list[UUID] = []
    reports: list[Receipt] = []
    for _ in range(40):
        id, ref = await harness.sent()
        ids.append(id)
        reports += [receipt(ref, status) for status in ("queued", "sent", "undelivered", "undelivered")]
    await harness.report_receipts(*reports)
    before = await _versions(harness, ids)
    others = [Receipts(harness.pool, receipt_deadline=deadline) for _ in range(4)]

    async def process(receipts: Receipts) -> list[UUID]:
        updated: list[UUID] = []
        while (applied := await receipts.apply_due(7)).taken:
            updated += [changed.notification_id for changed in applied.changed]
        return updated

    updated = [id for ids in await asyncio.gather(*(process(receipts) for receipts in others)) for id in ids]
    assert sorted(updated) == sorted(ids)
    assert await _versions(harness, ids) == [version + 1 for version in before]
    assert [await harness.events(id) for id in ids] == [["fallback_after_undelivered"]] * len(ids)
    assert await harness.inbox() == 0
    kept = await harness.pool.fetchval(
        "SELECT count(*) FROM receipts r JOIN deliveries d ON d.id = r.delivery_id"
        " WHERE d.notification_id = ANY($1::uuid[])",
        ids,
    )
    assert kept == len(reports)


async def test_processors_and_senders_of_one_notification_take_turns(harness: LedgerHarness) -> None:
    """A processor that waits for a writer sees what that writer wrote, not the state before it."""
    id, ref = await harness.sent()
    await harness.report_receipts(receipt(ref, "undelivered"))
    async with harness.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM notifications WHERE id = $1 FOR NO KEY UPDATE", id)
        applying = asyncio.create_task(harness.receipts.apply_due(100))
        for _ in range(500):
            if await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                break
            await asyncio.sleep(0.01)
        assert not applying.done()
        await connection.execute(
            "UPDATE deliveries SET status = 'cancelled', version = version + 1, due_at = NULL"
            " WHERE notification_id = $1",
            id,
        )
    assert (await applying).changed == ()
    assert (await harness.load(id)).deliveries[0].status is Status.CANCELLED


async def test_a_receipt_that_cannot_be_applied_blocks_no_other(harness: LedgerHarness) -> None:
    good, ref = await harness.sent()
    _, bad_ref = await harness.sent()
    bad = receipt(bad_ref, "delivered")
    await harness.report_receipts(receipt(ref, "delivered"), bad)
    await harness.pool.execute(
        "UPDATE receipt_inbox SET status = 'teleported' WHERE event_key = $1", bad.event_key
    )
    applied = await harness.receipts.apply_due(100)
    assert [changed.notification_id for changed in applied.changed] == [good]
    assert applied.taken == 2
    assert (
        await harness.pool.fetchval("SELECT tries FROM receipt_inbox WHERE event_key = $1", bad.event_key)
        == 1
    )
    for _ in UNMATCHED_WAITS_S:
        await _make_due(harness)
        await harness.receipts.apply_due(100)
    assert await harness.orphans() == [bad.event_key]


async def test_a_receipt_that_cannot_be_stored_as_evidence_blocks_no_other(harness: LedgerHarness) -> None:
    good, ref = await harness.sent()
    bad, bad_ref = await harness.sent()
    # It was accepted last month, and there is no partition for its receipts.
    for table in ("deliveries", "notification_attempts"):
        await harness.pool.execute(
            f"UPDATE {table} SET accepted_at = date_trunc('month', now()) - interval '1 day'"
            " WHERE notification_id = $1",
            bad,
        )
    month = await harness.pool.fetchval("SELECT to_char(now() - interval '1 month', 'YYYY_MM')")
    await harness.pool.execute(f"DROP TABLE receipts_{month}")
    await harness.report_receipts(receipt(ref, "delivered"), receipt(bad_ref, "delivered"))
    applied = await harness.receipts.apply_due(100)
    assert [changed.notification_id for changed in applied.changed] == [good]
    assert await harness.inbox() == 1
    await harness.pool.execute("SELECT ensure_partitions_v1(3)")


async def test_a_bad_receipt_does_not_affect_others_of_its_callback(harness: LedgerHarness) -> None:
    _, ref = await harness.sent()
    with pytest.raises(asyncpg.DataError):
        await harness.report_receipts(receipt(ref, "sent", code="\0"), receipt(ref, "delivered"))
    assert len((await harness.receipts.apply_due(100)).changed) == 1


async def test_receipts_are_refused_after_closing(harness: LedgerHarness) -> None:
    await harness.receipts.close(1)
    with pytest.raises(QueueFull):
        await harness.report_receipts(receipt(None, "sent"))


async def test_an_unreachable_database_is_reported_as_unavailable() -> None:
    pool = await open_pool("postgresql://herald@127.0.0.1:1/none")
    with pytest.raises(LedgerUnavailable, match="stay due"):
        await Receipts(pool).apply_due(1)
    await pool.close()


async def test_the_best_status_of_several_receipts_is_kept_with_its_code(harness: LedgerHarness) -> None:
    id, ref = await harness.sent()
    await harness.report_receipts(
        receipt(ref, "undelivered", code="late"), receipt(ref, "sent", code="early")
    )
    await harness.receipts.apply_due(100)
    [attempt] = await harness.attempt_rows(id)
    assert (attempt["receipt_status"], attempt["receipt_code"]) == (ReceiptStatus.UNDELIVERED, "late")
