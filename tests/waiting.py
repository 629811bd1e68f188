"""Bounded waiting for another connection."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from storage.postgres import Pool

_PATIENCE_S = 60


async def until(holds: Callable[[], Awaitable[Any]]) -> None:
    """Return once the condition holds; fail after 10 s."""
    async with asyncio.timeout(_PATIENCE_S):
        while not await holds():  # noqa: ASYNC110 (another process has no event to wait for)
            await asyncio.sleep(0.005)


async def until_blocked(pool: Pool, holder: Any) -> None:
    """Return once some statement waits for a lock that `holder` has."""
    pid = holder.get_server_pid()
    await until(
        lambda: pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND $1 = ANY(pg_blocking_pids(pid))",
            pid,
        )
    )
