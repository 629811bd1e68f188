"""Creating and revoking API keys, over REST or by a command, with their audit entries."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from domain.access import Scope
from domain.audit import Action, AuditEntry, Details, Origin
from storage import api_keys
from storage.api_keys import EVERY_KEY, ApiKey, KeysOf
from storage.audit import AuditLog
from storage.postgres import Connection
from telemetry.scrub import scrub


class CreatorNotValid(Exception):
    """The key that creates another one was revoked, or has expired, in the meantime."""


async def create_key(
    audit: AuditLog,
    tenant: str | None,
    name: str,
    scopes: Collection[Scope],
    *,
    test: bool,
    expires_at: datetime | None,
    created_by: str | None,
    origin: Origin,
) -> tuple[ApiKey, str]:
    """Create a key; returns it, and its clear text. `tenant`: None for the installation.

    `created_by`: the prefix of the key that creates it; None for the command line. Raises CreatorNotValid,
    as storage.api_keys.store, or LedgerError.
    """
    clear = api_keys.generate(test=test)

    async def act(connection: Connection) -> tuple[ApiKey, list[AuditEntry]]:
        # Processes know a key for a while after it was revoked: what it created then would stay.
        if created_by is not None and not await api_keys.hold(connection, created_by):
            raise CreatorNotValid
        key = await api_keys.store(
            connection, tenant, name, clear, scopes, test=test, expires_at=expires_at, created_by=created_by
        )
        return key, [replace(origin, tenant=tenant).entry(Action.KEY_CREATE, key.prefix, after=_created(key))]

    return await audit.perform(act), clear


async def revoke_key(audit: AuditLog, prefix: str, origin: Origin, of: KeysOf = EVERY_KEY) -> bool:
    """Revoke a key; False if there is no such valid key among these."""

    async def act(connection: Connection) -> tuple[bool, list[AuditEntry]]:
        key = await api_keys.revoke(connection, prefix, of)
        if key is None:
            return False, []
        before = {"name": scrub(key.name)}
        return True, [replace(origin, tenant=key.tenant).entry(Action.KEY_REVOKE, key.prefix, before)]

    return await audit.perform(act)


def _created(key: ApiKey) -> Details:
    """What the entry keeps of a new key. Somebody may have named it after a person's address."""
    expires_at = key.expires_at.isoformat() if key.expires_at else None
    return {
        "name": scrub(key.name),
        "scopes": sorted(key.scopes),
        "test": key.test,
        "expires_at": expires_at,
    }
