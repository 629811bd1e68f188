"""API keys: `hk_<prefix>_<secret>`, stored as a prefix and a digest, each belonging to one tenant."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from domain.access import ALL_SCOPES, Caller
from storage.postgres import Connection, Pool
from storage.statements import statement

PREFIX_LENGTH = 8
DEVELOPMENT = "development"
"""The name of a development stack's key."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret, which is shown only once, when the key is created."""

    prefix: str
    tenant: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


def generate() -> str:
    """Generate a new key in clear text."""
    return f"hk_{secrets.token_hex(PREFIX_LENGTH // 2)}_{secrets.token_urlsafe(24)}"


def split(key: str) -> tuple[str, bytes] | None:
    """The prefix and the digest of a key in clear text; None if it does not have the form of a key."""
    head, _, rest = key.partition("_")
    prefix, _, secret = rest.partition("_")
    if head != "hk" or len(prefix) != PREFIX_LENGTH or not secret:
        return None
    # A key has 192 random bits, so a plain digest is enough: it cannot be guessed.
    return prefix, hashlib.sha256(key.encode()).digest()


async def create(connection: Connection | Pool, tenant: str, name: str, key: str | None = None) -> str:
    """Store a new key (or the given one) for a tenant and return it in clear text.

    Raises ValueError when the key does not have the form of a key, or when another key has its prefix.
    """
    key = key or generate()
    parts = split(key)
    if parts is None:
        raise ValueError("an API key has the form hk_<8 characters>_<secret>")
    stored = await connection.fetchval(statement("create_api_key"), parts[0], tenant, name, parts[1])
    if stored is None:
        raise ValueError(f"another API key has the prefix {parts[0]} already: create a new key")
    return key


async def ensure(database_url: str, tenant: str, key: str) -> None:
    """Ensure that this key exists for the tenant (the development stack's key)."""
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        await create(connection, tenant, DEVELOPMENT, key)
    finally:
        await connection.close()


async def revoke(pool: Pool, prefix: str) -> bool:
    """Revoke a key by its prefix; False if there is no valid key with this prefix."""
    return bool(await pool.fetchval(statement("revoke_api_key"), prefix))


async def list_api_keys(pool: Pool) -> list[ApiKey]:
    """Every key, newest first."""
    rows = await pool.fetch(statement("list_api_keys"))
    return [ApiKey(**dict(row)) for row in rows]


async def lookup(pool: Pool, prefix: str) -> tuple[Caller, bytes] | None:
    """The holder and the digest of a valid key; None if there is no such key."""
    row = await pool.fetchrow(statement("find_api_key"), prefix)
    return (Caller(prefix, row["name"], row["tenant"], ALL_SCOPES), row["digest"]) if row else None
