"""Brings the stores up to date: the database's schema, and the search attributes of Temporal."""

import asyncio
from collections.abc import Sequence

import asyncpg
import typer

from console import places
from console.failure import Failure
from settings import StoreSettings
from storage.migrate import Phase, SchemaError, Step, migrate, pending_steps
from temporal.registration import RegistrationError, register_search_attributes


def run(*, before: bool, after: bool, only_show: bool) -> None:
    """Migrate, and say what was done; or only show what would be. Raises Failure when that is impossible.

    `before`, `after`: only that phase; neither: both. Temporal may be away: notifications are accepted
    without it, and it can be registered with later.
    """
    phases = [phase for phase, asked in ((Phase.BEFORE, before), (Phase.AFTER, after)) if asked]
    asyncio.run(_run(places.stores(), phases or list(Phase), only_show))


async def _run(stores: StoreSettings, phases: Sequence[Phase], only_show: bool) -> None:
    url = stores.database_url.get_secret_value()
    try:
        if only_show:
            _show(await pending_steps(url, phases))
            return
        ran = await migrate(url, phases)
    except SchemaError as error:
        raise Failure(str(error)) from None
    except (OSError, TimeoutError, ValueError, asyncpg.InterfaceError) as error:
        raise Failure(
            f"The database cannot be reached ({type(error).__name__}: {error}). "
            "HERALD_DATABASE_URL says where it is."
        ) from None
    except asyncpg.PostgresError as error:
        raise Failure(f"Postgres refused to migrate ({type(error).__name__}: {error}).") from None
    for name in ran:
        typer.echo(f"ran {name}")
    if not ran:
        typer.echo("the database is up to date")
    if Phase.BEFORE in phases:
        await _register(stores)


def _show(steps: Sequence[Step]) -> None:
    for step in steps:
        typer.echo(f"{step.phase}: {step.name}")
    if not steps:
        typer.echo("the database is up to date")


async def _register(stores: StoreSettings) -> None:
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
