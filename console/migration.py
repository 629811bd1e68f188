"""Migrate the database and register Temporal's search attributes."""

import asyncio

import asyncpg
import typer

from console import endpoints
from console.errors import CommandError
from settings import StoreSettings
from storage.migrate import MigrationChanged, migrate
from temporal.registration import RegistrationError, register_search_attributes


def run() -> None:
    """Migrate and print what was done. Raises CommandError if the database cannot be migrated.

    Temporal may be unreachable: the API accepts notifications without it, and a later run registers them.
    """
    asyncio.run(_run(endpoints.stores()))


async def _run(stores: StoreSettings) -> None:
    url = stores.database_url.get_secret_value()
    try:
        ran = await migrate(url)
    except MigrationChanged as error:
        raise CommandError(str(error)) from None
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CommandError(endpoints.database_unusable(url, error)) from None
    for name in ran:
        typer.echo(f"ran {name}")
    if not ran:
        typer.echo("The database is up to date.")
    temporal = stores.temporal
    try:
        missing = await register_search_attributes(
            temporal.address,
            temporal.namespace,
            api_key=temporal.api_key.get_secret_value() if temporal.api_key else None,
            tls=temporal.tls,
        )
    except RegistrationError as error:
        typer.echo(
            f"The search attributes were not registered: {error} Run `herald migrate` again once Temporal "
            "is reachable.",
            err=True,
        )
        return
    for name in missing:
        typer.echo(f"registered the search attribute {name}")
