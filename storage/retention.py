"""Removes old data from the ledger, oldest first, in steps that block no traffic.

A month's contents, attempts, receipts and timelines are removed by dropping their partitions, never row by
row, once nothing of that month is live. Two tables cannot be partitioned by time, because they hold what must
be unique over all time: the attempt of each provider message, and idempotency. Their rows are removed in
bounded steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import asyncpg

from domain.notification_types import RetentionPolicy
from storage.postgres import Connection, Pool
from storage.statements import statement

ROWS_MAX = 2000
"""The most rows that one statement removes."""
_LOCK_WAIT_S = 2.0
_NOT_NOW = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed: partitions by name, and numbers of rows. `more`: time ran out, more may be left."""

    partitions: tuple[str, ...] = ()
    messages: int = 0
    notifications: int = 0
    more: bool = False


async def retain(
    pool: Pool, policy: RetentionPolicy, *, within_s: float, rows_max: int = ROWS_MAX
) -> Removed:
    """Remove what `policy` no longer keeps, for about `within_s` seconds; the rest waits for the next round.

    Safe to interrupt, to repeat and to run in several processes at once.
    """
    ends = monotonic() + within_s
    partitions = await drop_partitions(pool, policy.keep_months)
    messages, more_messages = await _in_steps(
        pool, statement("remove_old_messages"), policy.keep_months, ends, rows_max=rows_max
    )
    notifications, more = await _in_steps(
        pool, statement("remove_old_notifications"), policy.idempotency_months, ends, rows_max=rows_max
    )
    return Removed(tuple(partitions), messages, notifications, more or more_messages)


async def drop_partitions(pool: Pool, keep_months: int, lock_wait_s: float = _LOCK_WAIT_S) -> list[str]:
    """Drop the partitions of months older than `keep_months` whole ones; returns their names.

    `notifications` and `deliveries` stay, and with them idempotency. A month with live notifications is kept.
    A partition that is in use waits for the next round, and so do those after it. Raises ValueError if
    `keep_months` is less than 1.
    """
    if keep_months < 1:
        raise ValueError(f"keep_months is {keep_months}: last month's partitions are always kept")
    dropped: list[str] = []
    async with pool.acquire() as connection:
        await connection.execute(f"SET lock_timeout = '{round(lock_wait_s * 1000)}ms'")
        try:
            for row in await connection.fetch(statement("list_old_partitions"), keep_months):
                await _drop(connection, row["parent"], row["name"], row["state"])
                dropped.append(row["name"])
        except _NOT_NOW:
            pass
        finally:
            await connection.execute("RESET lock_timeout")
    return dropped


async def _drop(connection: Connection, parent: str, partition: str, state: str) -> None:
    # DROP alone would lock the parent, and block all traffic behind it while it waits for one reader.
    # DETACH CONCURRENTLY waits for the partition's readers while all other traffic goes on.
    if state == "attached":
        await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {partition} CONCURRENTLY")
    if state == "leaving":
        await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {partition} FINALIZE")
    await connection.execute(f"DROP TABLE {partition}")


async def _in_steps(
    pool: Pool, query: str, months: int, ends: float, *, rows_max: int, clock: Callable[[], float] = monotonic
) -> tuple[int, bool]:
    """Repeat a removal until nothing is left or time is up: how many, and whether more may be left."""
    removed = 0
    while clock() < ends:
        count: int = await pool.fetchval(query, months, rows_max)
        removed += count
        if count < rows_max:
            return removed, False
    return removed, True
