"""Brings the stores up to date: the database's schema, and the search attributes of Temporal."""

import asyncio

import asyncpg
import typer

from console import places
from console.failure import Failure
from settings import StoreSettings
from storage.migrate import MigrationChanged, migrate
from temporal.registration import RegistrationError, register_search_attributes


def run() -> None:
    """Migrate, and say what was done. Raises Failure when the database cannot be migrated.

    Temporal may be away: notifications are accepted without it, and it can be registered with later.
    """
    asyncio.run(_run(places.stores()))


async def _run(stores: StoreSettings) -> None:
    try:
        ran = await migrate(stores.database_url.get_secret_value())
    except MigrationChanged as error:
        raise Failure(str(error)) from None
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Failure(
            f"The database cannot be migrated ({type(error).__name__}: {error}). "
            "HERALD_DATABASE_URL says where it is."
        ) from None
    for name in ran:
        typer.echo(f"ran {name}")
    if not ran:
        typer.echo("the database is up to date")
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
            f"search attributes are not registered: {error} Run `herald migrate` again then.", err=True
        )
        return
    for name in missing:
        typer.echo(f"registered the search attribute {name}")
