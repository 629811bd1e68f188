"""Repeats transactions that Postgres rolled back in favour of another."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

CONFLICT = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""The transaction was rolled back in favour of another one: it wrote nothing, and may be repeated."""
RETRIES_MAX = 5

Result = TypeVar("Result")


async def retry_conflicts(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run a transaction, and repeat it up to RETRIES_MAX times while it ends in a CONFLICT.

    Raises the CONFLICT of the last repetition.
    """
    for retry in range(RETRIES_MAX):
        try:
            return await work()
        except CONFLICT:
            await asyncio.sleep(random.uniform(0, 0.01 * 2**retry))  # noqa: S311 (spreads retries, no secret)
    return await work()
