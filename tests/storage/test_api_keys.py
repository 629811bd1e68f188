"""API keys are valid until they are revoked, and stored without their secret."""

import pytest

from domain.access import ALL_SCOPES, Caller
from domain.key_format import split
from storage import api_keys
from storage.postgres import Pool


async def test_a_key_is_found_by_its_prefix_with_its_tenant_and_digest(pool: Pool) -> None:
    key = await api_keys.create(pool, "acme", "backend")
    parts = split(key)
    assert parts is not None
    found = await api_keys.lookup(pool, parts[0])
    assert found is not None
    assert (found.caller, found.digest) == (Caller(parts[0], "backend", "acme", ALL_SCOPES), parts[1])


async def test_the_secret_is_not_stored(pool: Pool) -> None:
    key = await api_keys.create(pool, "acme", "backend")
    secret = key.rpartition("_")[2]
    assert not await pool.fetchval("SELECT bool_or(strpos(k::text, $1) > 0) FROM api_keys k", secret)


async def test_a_revoked_key_is_not_found_and_is_revoked_once(pool: Pool) -> None:
    key = await api_keys.create(pool, "acme", "backend")
    prefix = key.split("_")[2]
    assert await api_keys.revoke(pool, prefix)
    assert await api_keys.lookup(pool, prefix) is None
    assert not await api_keys.revoke(pool, prefix)
    assert not await api_keys.revoke(pool, "00000000")


async def test_ensure_may_be_repeated_for_a_key(pool: Pool, database: str) -> None:
    key = api_keys.generate()
    for _ in range(2):
        await api_keys.ensure(database, "acme", key)
    assert await api_keys.lookup(pool, key.split("_")[2]) is not None


async def test_keys_are_listed_newest_first(pool: Pool) -> None:
    for name in ("older", "newer"):
        await api_keys.create(pool, "list", name)
    assert [key.name for key in await api_keys.list_page(pool, 100) if key.tenant == "list"] == [
        "newer",
        "older",
    ]


@pytest.mark.parametrize(
    "key", ["", "hk", "hk_", "hk_12345678", "hk_12345678_", "hk_1234_x", "xx_12345678_y"]
)
async def test_a_malformed_key_is_refused(pool: Pool, key: str) -> None:
    assert split(key) is None
    if key:
        with pytest.raises(ValueError, match="hk_"):
            await api_keys.create(pool, "acme", "backend", key)


async def test_a_key_never_replaces_another_with_the_same_prefix(pool: Pool) -> None:
    key = await api_keys.create(pool, "bank", "first")
    prefix, _ = split(key) or ("", b"")
    with pytest.raises(ValueError, match=prefix):
        await api_keys.create(pool, "shop", "other", f"hk_{prefix}_another-secret")
    found = await api_keys.lookup(pool, prefix)
    assert found is not None
    assert found.caller.tenant == "bank"
