"""Commands that use the database directly, without the API."""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import typer

from console.errors import CommandError

if TYPE_CHECKING:
    from domain.audit import Origin, StoredEntry
    from storage.audit import AuditLog
    from storage.postgres import Pool

_Result = TypeVar("_Result")


def in_database(do: "Callable[[Pool], Awaitable[_Result]]") -> _Result:
    """Run `do` on the database. Raises CommandError if the database cannot be used."""
    import asyncpg

    from console import endpoints
    from storage.group import LedgerError
    from storage.postgres import UNREACHABLE, open_pool

    url = endpoints.database_url()

    async def run() -> _Result:
        pool = await open_pool(url, size_max=2)
        try:
            return await do(pool)
        finally:
            await pool.close()

    try:
        return asyncio.run(run())
    except asyncpg.UndefinedTableError:
        raise CommandError("The database lacks tables: run `herald migrate` first.") from None
    except (LedgerError, *UNREACHABLE, asyncpg.PostgresError, ValueError) as error:
        raise CommandError(endpoints.database_unusable(url, error)) from None


def audited(do: "Callable[[AuditLog], Awaitable[_Result]]") -> _Result:
    """Run `do`, an act that is recorded in the audit log, on the database. Raises CommandError.

    It needs the secret key, from which the key of the audit log's hashes is derived.
    """
    from console import endpoints
    from domain.audit import chain_key
    from storage.audit import AuditLog

    key = chain_key(endpoints.secret_key())

    async def run(pool: "Pool") -> _Result:
        return await do(AuditLog(pool, key, appended=_print_hashes))

    return in_database(run)


def _print_hashes(entries: "Sequence[StoredEntry]") -> None:
    """Print what a process logs of each entry: by its hash it is found later that it was removed."""
    for entry in entries:
        typer.echo(f"Entry {entry.sequence} of the audit log, hash {entry.hash.hex()}", err=True)


def acting(tenant: str | None, reason: str | None) -> "Origin":
    """Who acts with this command, and why, for the audit log.

    Raises CommandError if there is no reason and the settings require one.
    """
    from console import endpoints
    from domain.audit import Origin, ReasonMissing, justified
    from telemetry.scrub import scrub

    origin = Origin(f"cli:{_user()}", "", tenant, scrub(reason) if reason else None)
    try:
        return justified(origin, required=endpoints.stores().audit_reason_required)
    except ReasonMissing:
        raise CommandError(
            "This needs a reason (HERALD_AUDIT_REASON_REQUIRED). Give it with --reason."
        ) from None


def _user() -> str:
    """The name of the operating system's user; their number if they have no name."""
    user = os.getuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
