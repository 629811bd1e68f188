"""Limiters over the session's Valkey."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from redis.asyncio import Redis

from ratelimit.limiter import Limiter


@pytest_asyncio.fixture
async def limiter(valkey: str) -> AsyncIterator[Limiter]:
    """A limiter with an empty, established store. Its timeout is long because the machine may be busy."""
    limiter = Limiter.connect(valkey, timeout_s=10)
    await limiter.establish()
    yield limiter
    await limiter.aclose()


@pytest_asyncio.fixture
async def store(valkey: str) -> AsyncIterator[Any]:
    """A plain client of the same store."""
    async with Redis.from_url(valkey, decode_responses=True) as client:
        yield client
