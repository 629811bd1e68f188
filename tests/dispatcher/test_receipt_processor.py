"""Which worker applies receipts: one for `critical` only leaves them to others while they are new."""

import dataclasses
import time

import pytest
from temporalio.client import Client
from worker_harness import WorkerHarness, at_work, until

from dispatcher import receipts as processor
from dispatcher.receipts import LOW_PRIORITY_DELAY_S, ROWS_MAX
from domain.notification import Lane
from domain.outcome import Receipt, ReceiptStatus
from storage.receipts import Receipts
from wiring.parts import Parts


async def _taken_after_s(harness: WorkerHarness) -> float:
    """Store a receipt that matches nothing. Returns the seconds until a processor has tried it."""
    pool = harness.ledger.pool
    await pool.execute("DELETE FROM receipt_inbox")
    receipts = Receipts(pool)
    began = time.monotonic()
    await receipts.store("twilio", [Receipt("e", ReceiptStatus.DELIVERED, provider_message_id="SM-nobody")])

    async def tried() -> bool:
        return await pool.fetchval("SELECT tries > 0 FROM receipt_inbox")

    await until(tried)
    await receipts.close(5)
    return time.monotonic() - began


async def test_a_critical_only_worker_applies_only_old_receipts(
    parts: Parts, client: Client, harness: WorkerHarness
) -> None:
    async with at_work(parts, client):
        assert await _taken_after_s(harness) < LOW_PRIORITY_DELAY_S
    async with at_work(dataclasses.replace(parts, lanes=(Lane.CRITICAL,)), client):
        assert await _taken_after_s(harness) >= LOW_PRIORITY_DELAY_S


async def test_a_critical_only_worker_does_not_pause_between_full_batches(
    parts: Parts, client: Client, harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = harness.ledger.pool
    await pool.execute("DELETE FROM receipt_inbox")
    receipts = Receipts(pool)
    many = [
        Receipt(f"e{number}", ReceiptStatus.DELIVERED, provider_message_id="SM-nobody")
        for number in range(3 * ROWS_MAX)
    ]
    await receipts.store("twilio", many)
    await receipts.close(5)
    await pool.execute("UPDATE receipt_inbox SET due_at = now() - interval '1 hour'")
    # A single pause would be longer than the test.
    monkeypatch.setattr(processor, "SWEEP_S", 3600.0)

    async def tried() -> bool:
        return await pool.fetchval("SELECT count(*) FROM receipt_inbox WHERE tries = 0") == 0

    async with at_work(dataclasses.replace(parts, lanes=(Lane.CRITICAL,)), client):
        await until(tried)
