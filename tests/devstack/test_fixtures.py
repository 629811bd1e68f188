"""The fixtures of tests/conftest.py give what they say."""

import asyncpg
import redis.asyncio


async def test_database_is_migrated_and_empty(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("SELECT count(*) FROM notifications") == 0
    finally:
        await connection.close()


async def test_valkey_is_empty_one(valkey: str) -> None:
    await _is_empty_then_filled(valkey)


async def test_valkey_is_empty_two(valkey: str) -> None:
    await _is_empty_then_filled(valkey)


async def _is_empty_then_filled(url: str) -> None:
    async with redis.asyncio.from_url(url) as client:
        assert await client.dbsize() == 0
        await client.set("key", "value")
