"""What the reconciliation asks of the ledger: what cannot be, and what was lost.

Claiming what is due mends almost everything by itself. These mend what claiming cannot see.
"""

from dataclasses import dataclass

from domain.status import Status
from storage.postgres import Pool
from storage.statements import statement


@dataclass(frozen=True, slots=True)
class Drift:
    """How often the ledger contradicts itself, by kind. All are 0 but `overdue` in a backlog."""

    live_without_due: int
    """Notifications that expect something, older than a minute, without a place in the queue."""
    sending_without_open_attempt: int
    open_attempt_not_sending: int
    overdue: int
    """Places in the queue that nobody claimed for five minutes."""
    orphan_receipts: int
    """Receipts that no attempt could be found for."""
    status_mismatch: int
    """Live notifications whose status is not what their deliveries say."""


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """What waits for an operator, of one tenant, type and status. `oldest_age_s`: since its acceptance."""

    tenant: str
    type: str
    status: Status
    count: int
    oldest_age_s: float


async def drift(pool: Pool, live_max: int = 200_000) -> Drift:
    """Count what cannot be, at one moment; of what is live the oldest `live_max` are looked at."""
    row = await pool.fetchrow(statement("count_drift"), live_max)
    assert row is not None
    return Drift(**dict(row))


async def requeue_live_without_due(pool: Pool, limit: int) -> int:
    """Give live notifications their place in the queue back; returns how many had lost it."""
    return len(await pool.fetch(statement("requeue_lost"), limit))


async def age_dead_letters(pool: Pool) -> list[DeadLetters]:
    """Dead letters and unknown outcomes, counted by tenant, type and status."""
    return [
        DeadLetters(row["tenant"], row["type"], Status(row["status"]), row["count"], row["oldest_age_s"])
        for row in await pool.fetch(statement("count_dead_letters"))
    ]


async def revive_orphans(pool: Pool, limit: int) -> int:
    """Make orphan receipts due again whose message is known by now; returns how many."""
    return len(await pool.fetch(statement("revive_orphans"), limit))


async def drop_orphans(pool: Pool, older_than_s: float, limit: int = 10_000) -> int:
    """Drop up to `limit` receipts that have been orphans for `older_than_s` seconds; returns how many."""
    return len(await pool.fetch(statement("drop_orphans"), older_than_s, limit))


async def ensure_partitions(pool: Pool, months_ahead: int) -> None:
    """Make sure that there are partitions for the coming months."""
    await pool.execute(statement("ensure_partitions"), months_ahead)
