"""The loop of a worker that removes expired contents, whatever Temporal does."""

import asyncio
from functools import partial
from uuid import UUID

import pytest
from worker_harness import until

from delivery.prefetch import PrefetchCache
from dispatcher import expiring_contents
from dispatcher.expiring_contents import ROWS_MAX, SWEEP_S, ContentSweeper
from dispatcher.loop import run_rounds
from domain.fingerprint import Fingerprint
from domain.ids import notification_id
from domain.notification import Channel, Lane, Strategy
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.records import Submission
from telemetry.metrics import Metrics

NAMESPACE = UUID("6f0c1a52-7d0b-4c1e-9a52-0f6d8c7f1b12")


async def expired(ledger: Ledger, number: int) -> UUID:
    """A notification with a code, whose expiry has passed."""
    user, type = f"user-{number}", "otp"
    submission = Submission(
        id=notification_id(NAMESPACE, "acme", user, type, "key"),
        tenant="acme",
        user_id=user,
        type=type,
        idempotency_key="key",
        fingerprint=Fingerprint(b"digest", "k"),
        lane=Lane.CRITICAL,
        strategy=Strategy.ALL,
        channels=(Channel.SMS,),
        body="Your code is 774411",
        expires_s=0,
        scrub=True,
    )
    await ledger.accept(submission)
    return submission.id


async def codes(pool: Pool) -> int:
    return await pool.fetchval("SELECT count(*) FROM notification_contents WHERE body LIKE '%774411%'")


async def is_clean(pool: Pool) -> bool:
    return not await codes(pool)


async def test_everything_that_has_expired_is_removed(
    ledger: Ledger, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiring_contents, "ROWS_MAX", 3)
    metrics = Metrics()
    await asyncio.gather(*(expired(ledger, number) for number in range(7)))
    assert await codes(pool) == 7
    await ContentSweeper(pool, PrefetchCache(), metrics).round()
    assert await codes(pool) == 0
    assert 'herald_removed_total{kind="expired_contents"} 7.0' in metrics.render().decode()


async def test_the_loop_sweeps_again_and_again(
    ledger: Ledger, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiring_contents, "SWEEP_S", 0.01)
    sweeper = ContentSweeper(pool, PrefetchCache(), Metrics())
    loop = asyncio.create_task(run_rounds(sweeper))
    try:
        for number in (11, 12):
            await expired(ledger, number)
            await until(partial(is_clean, pool))
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


def test_a_code_outlives_its_expiry_by_less_than_a_minute() -> None:
    assert SWEEP_S < 60
    assert ROWS_MAX > 0
