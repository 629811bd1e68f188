"""The fixtures of tests/conftest.py."""

import asyncpg
import httpx
import redis.asyncio

from simulators.control import Simulators


async def test_database_is_migrated_and_empty(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("SELECT count(*) FROM notifications") == 0
    finally:
        await connection.close()


async def test_valkey_is_empty_for_one_test(valkey: str) -> None:
    await _is_empty_then_filled(valkey)


async def test_valkey_is_empty_for_the_next_test(valkey: str) -> None:
    await _is_empty_then_filled(valkey)


async def test_simulators_return_their_addresses(simulators: Simulators) -> None:
    settings = await simulators.settings()
    addresses = {name: value for name, value in settings.items() if name.endswith("BASE_URL")}
    assert addresses
    async with httpx.AsyncClient(trust_env=False) as client:
        for address in addresses.values():
            if address.startswith("http:"):
                assert (await client.get(address)).status_code < 500


async def _is_empty_then_filled(url: str) -> None:
    async with redis.asyncio.from_url(url) as client:
        assert await client.dbsize() == 0
        await client.set("key", "value")
