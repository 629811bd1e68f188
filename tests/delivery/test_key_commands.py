"""Keys are created and revoked together with entries that name them without anybody's address."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from delivery.key_commands import CreatorNotValid, create_key, revoke_key
from domain.access import Scope
from domain.audit import Origin, chain_key
from storage import api_keys
from storage.audit import AuditLog
from storage.postgres import Pool

ORIGIN = Origin("cli:ada", "", None, "a new till")
NAMES = {
    "till": "till",
    "": "",
    "INC-4711 of 2026-11-30": "INC-4711 of 2026-11-30",
    "ada@example.com": "[private]",
    "till of +2348031230077": "till of [private]",
    "till of 0803 123 0077, (0803) 123-0077": "till of [private], [private]",
    "2348031230077": "[private]",
    "was hk_live_0a1b2c3d_abcdef": "was [private]",
}


@pytest.mark.parametrize("tenant", ["bank", None])
@pytest.mark.parametrize("name", NAMES)
async def test_the_entries_of_a_key(pool: Pool, name: str, tenant: str | None) -> None:
    audit = AuditLog(pool, chain_key("secret"))
    before = await pool.fetchval("SELECT COALESCE(max(sequence), 0) FROM audit_log")
    key, clear = await create_key(
        *(audit, tenant, name, [Scope.SEND, Scope.READ]),
        test=False,
        expires_at=None,
        created_by=None,
        origin=ORIGIN,
    )
    assert (key.name, key.tenant, clear.split("_")[2]) == (name, tenant, key.prefix)
    assert await revoke_key(audit, key.prefix, ORIGIN)
    assert not await revoke_key(audit, key.prefix, ORIGIN)
    created, revoked = await pool.fetch(
        "SELECT * FROM audit_log WHERE sequence > $1 ORDER BY sequence", before
    )
    for entry in (created, revoked):
        assert (entry["actor"], entry["tenant"], entry["subject"]) == ("cli:ada", tenant, key.prefix)
        assert entry["reason"] == "a new till"
    shown = {"name": NAMES[name], "scopes": ["read", "send"], "test": False, "expires_at": None}
    assert (created["action"], created["before"], created["after"]) == ("key.create", None, shown)
    assert (revoked["action"], revoked["before"], revoked["after"]) == (
        "key.revoke",
        {"name": NAMES[name]},
        None,
    )


@pytest.mark.parametrize("lifetime", [timedelta(seconds=30), timedelta(days=90), timedelta(days=20_000)])
async def test_the_entry_of_a_key_says_when_it_expires(pool: Pool, lifetime: timedelta) -> None:
    audit = AuditLog(pool, chain_key("secret"))
    expires_at = datetime.now(UTC) + lifetime
    key, _ = await create_key(
        audit, "bank", "till", [Scope.SEND], test=True, expires_at=expires_at, created_by=None, origin=ORIGIN
    )
    entry = await pool.fetchrow("SELECT after FROM audit_log WHERE subject = $1", key.prefix)
    assert entry is not None
    assert datetime.fromisoformat(entry["after"]["expires_at"]) == key.expires_at == expires_at


@pytest.mark.parametrize("revoked", [True, False])
async def test_a_key_waits_for_the_revocation_of_its_creator(pool: Pool, revoked: bool) -> None:
    audit = AuditLog(pool, chain_key("secret"))
    creator = (await api_keys.create(pool, "bank", "admin")).split("_")[2]
    async with pool.acquire() as revoking:
        transaction = revoking.transaction()
        await transaction.start()
        await api_keys.revoke(revoking, creator)
        creating = asyncio.create_task(
            create_key(
                *(audit, "bank", "till", [Scope.SEND]),
                test=False,
                expires_at=None,
                created_by=creator,
                origin=ORIGIN,
            )
        )
        async with asyncio.timeout(30):
            while not await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                assert not creating.done()
        await (transaction.commit() if revoked else transaction.rollback())
    if revoked:
        with pytest.raises(CreatorNotValid):
            await creating
    else:
        key, _ = await creating
        assert key.created_by == creator
