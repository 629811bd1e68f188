"""The reconciliation's queries and repairs of the ledger: inconsistencies, and what was lost.

Claiming what is due repairs almost everything. These functions repair what claiming cannot find.
"""

from dataclasses import dataclass
from datetime import datetime

from domain.status import Status
from storage.postgres import Pool
from storage.statements import statement


@dataclass(frozen=True, slots=True)
class Drift:
    """The number of inconsistencies in the ledger, by kind. All are 0, except `overdue`
    in a backlog, and `orphan_receipts`."""

    live_without_due: int
    """Notifications older than a minute that need processing and have no queue entry."""
    sending_without_open_attempt: int
    open_attempt_not_sending: int
    overdue: int
    """Queue entries that have been due for five minutes without a claim."""
    orphan_receipts: int
    """Receipts for which no attempt was found."""
    status_mismatch: int
    """Live notifications whose status does not follow from their deliveries."""


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """How many notifications of a tenant, type and status wait for an operator.

    `oldest_age_s`: seconds since the oldest was accepted.
    """

    tenant: str
    type: str
    status: Status
    count: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What the database says about itself. `version`: as in server_version_num, such as 180001."""

    version: int
    now: datetime
    encrypted: bool
    is_migrated: bool
    has_next_month: bool


async def inspect(pool: Pool) -> DatabaseState:
    """The server's version and clock, and what is prepared in it."""
    row = await pool.fetchrow(statement("inspect_database"))
    assert row is not None
    return DatabaseState(**dict(row))


async def drift(pool: Pool, live_max: int = 200_000) -> Drift:
    """Count inconsistencies in one snapshot; only the oldest `live_max` live notifications are examined."""
    row = await pool.fetchrow(statement("count_drift"), live_max)
    assert row is not None
    return Drift(**dict(row))


async def requeue_live_without_due(pool: Pool, limit: int) -> int:
    """Requeue at most `limit` live notifications that lost their queue entry; returns how many."""
    return len(await pool.fetch(statement("requeue_lost"), limit))


async def age_dead_letters(pool: Pool) -> list[DeadLetters]:
    """Dead letters and unknown outcomes, counted by tenant, type and status."""
    return [
        DeadLetters(row["tenant"], row["type"], Status(row["status"]), row["count"], row["oldest_age_s"])
        for row in await pool.fetch(statement("count_dead_letters"))
    ]


async def revive_orphans(pool: Pool, limit: int) -> int:
    """Make at most `limit` orphans whose message is now known due again; returns how many."""
    return len(await pool.fetch(statement("revive_orphans"), limit))


async def drop_orphans(pool: Pool, older_than_s: float, limit: int = 10_000) -> int:
    """Drop up to `limit` receipts that have been orphans for `older_than_s` seconds; returns how many."""
    return len(await pool.fetch(statement("drop_orphans"), older_than_s, limit))


async def scrub_expired(pool: Pool, limit: int) -> tuple[int, int]:
    """Remove the contents that expired notifications must not keep. Returns how many of at most `limit`
    notifications were dealt with, and how many contents were removed.
    """
    row = await pool.fetchrow(statement("scrub_expired"), limit)
    assert row is not None
    return row["taken"], row["removed"]


async def watch_parked_contents(pool: Pool, limit: int) -> int:
    """Have the contents of parked notifications removed that were accepted without a time for it."""
    return len(await pool.fetch(statement("watch_parked_contents"), limit))


async def ensure_partitions(pool: Pool, months_ahead: int) -> None:
    """Create the partitions of the coming months, unless they exist."""
    await pool.execute(statement("ensure_partitions"), months_ahead)
