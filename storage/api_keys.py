"""API keys, stored as a prefix and a digest. domain/key_format.py has their written form."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import asyncpg

from domain.access import ALL_SCOPES, TEST_PREFIX, Caller, Scope, is_tenant
from domain.key_format import ALPHABET, PREFIX_CHARS, SECRET_CHARS, key_of, split
from storage.postgres import Connection, Pool
from storage.statements import statement

DEVELOPMENT = "development"
"""The name of a development stack's key."""
_PAGE = 500


class NoTestKeysYet(ValueError):
    """Workers of 0.1.0 may still run: they would send what a test key submits through real vendors."""

    def __str__(self) -> str:
        return (
            "test keys can be created once `herald migrate --after` has run: workers of the release before "
            "would send what they submit to real vendors"
        )


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret, which is shown only once, when the key is created.

    `tenant`: None for a key of the installation. `created_by`: the prefix of the key that created it; None
    for the command line.
    """

    prefix: str
    tenant: str | None
    name: str
    scopes: frozenset[Scope]
    test: bool
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: Any) -> Self:
        """The key of a row."""
        values: dict[str, Any] = {**row, "scopes": _scopes(row["scopes"])}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What a request's key is compared with. `valid_s`: how long it is still valid, in seconds."""

    caller: Caller
    digest: bytes
    expires_at: datetime | None
    valid_s: float | None


@dataclass(frozen=True, slots=True)
class KeysOf:
    """Which keys someone may see and revoke: all, or a tenant's, or a tenant's test keys only."""

    tenant: str | None = None
    test_only: bool = False


EVERY_KEY = KeysOf()


def generate(*, test: bool = False) -> str:
    """Generate a new key in clear text."""
    prefix = secrets.token_hex(PREFIX_CHARS // 2)
    return key_of(prefix, "".join(secrets.choice(ALPHABET) for _ in range(SECRET_CHARS)), test=test)


async def create(
    connection: Connection | Pool,
    tenant: str | None,
    name: str,
    key: str | None = None,
    *,
    scopes: Collection[Scope] = ALL_SCOPES,
    test: bool = False,
    expires_at: datetime | None = None,
    created_by: str | None = None,
) -> str:
    """Store a new key (or the given one) and return it in clear text. `tenant`: None for the installation.

    Raises ValueError when the key does not have the form of a key, or when another key has its prefix.
    """
    key = key or generate(test=test)
    await store(
        connection, tenant, name, key, scopes, test=test, expires_at=expires_at, created_by=created_by
    )
    return key


async def store(
    connection: Connection | Pool,
    tenant: str | None,
    name: str,
    key: str,
    scopes: Collection[Scope],
    *,
    test: bool,
    expires_at: datetime | None,
    created_by: str | None,
) -> ApiKey:
    """Store a key that was generated before. Raises as `create`, and ValueError for an invalid tenant."""
    if tenant is not None and not is_tenant(tenant):
        raise ValueError(f"{tenant!r} is not the name of a tenant")
    parts = split(key)
    if parts is None:
        raise ValueError("an API key has the form hk_live_<8 characters>_<secret>")
    prefix, digest = parts
    try:
        row = await connection.fetchrow(
            statement("create_api_key"),
            *(prefix, tenant, name, digest, sorted(scopes), test, expires_at, created_by),
        )
    except asyncpg.CheckViolationError:
        raise NoTestKeysYet from None
    if row is None:
        raise ValueError(f"another API key has the prefix {prefix} already: create a new key")
    return ApiKey.of(row)


async def ensure(database_url: str, tenant: str | None, key: str) -> None:
    """Ensure that this key exists, with every scope (the development stack's keys)."""
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        await create(connection, tenant, DEVELOPMENT, key)
    finally:
        await connection.close()


async def revoke(connection: Connection | Pool, prefix: str, of: KeysOf = EVERY_KEY) -> ApiKey | None:
    """Revoke a key by its prefix and return it; None if there is no such valid key among these."""
    row = await connection.fetchrow(statement("revoke_api_key"), prefix, of.tenant, of.test_only)
    return ApiKey.of(row) if row else None


async def hold(connection: Connection, prefix: str) -> bool:
    """Keep a key from being revoked until the transaction ends; False if it is not valid now."""
    return bool(await connection.fetchval(statement("hold_api_key"), prefix))


async def list_page(
    pool: Pool, limit: int, after: tuple[datetime, str] | None = None, of: KeysOf = EVERY_KEY
) -> list[ApiKey]:
    """A page of these keys, newest first. `after`: when the last key of the previous page was created, and
    its prefix.
    """
    place = (*(after or (None, None)), limit)
    if of.tenant is None:
        rows = await pool.fetch(statement("list_api_keys"), *place)
    else:
        rows = await pool.fetch(statement("list_api_keys_of_tenant"), *place, of.tenant, of.test_only)
    return [ApiKey.of(row) for row in rows]


async def every_key(pool: Pool) -> list[ApiKey]:
    """Every key, newest first, read in pages."""
    found: list[ApiKey] = []
    while page := await list_page(pool, _PAGE, (found[-1].created_at, found[-1].prefix) if found else None):
        found += page
    return found


async def lookup(pool: Pool, prefix: str) -> StoredKey | None:
    """The key with this prefix; None if there is none, or it is revoked."""
    row = await pool.fetchrow(statement("find_api_key"), prefix)
    if row is None:
        return None
    tenant, test = row["tenant"], row["test"]
    whose = f"{TEST_PREFIX}{tenant}" if test else tenant
    caller = Caller(prefix, row["name"], whose, _scopes(row["scopes"]), test, row["expires_at"])
    return StoredKey(caller, row["digest"], row["expires_at"], row["valid_s"])


async def note_use(pool: Pool, prefixes: Collection[str]) -> None:
    """Record that these keys are used now."""
    await pool.execute(statement("note_use_of_api_keys"), sorted(prefixes))


def _scopes(stored: Collection[str]) -> frozenset[Scope]:
    """During an upgrade, the table may hold scopes that this version does not know."""
    return frozenset(scope for scope in Scope if scope in stored)
