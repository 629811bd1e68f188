"""Migrate the database and register Temporal's search attributes."""

import asyncio
from collections.abc import Sequence

import asyncpg
import typer

from console import endpoints
from console.errors import CommandError
from settings import StoreSettings
from storage.migrate import Phase, SchemaError, Step, migrate, pending_steps
from temporal.registration import RegistrationError, register_search_attributes


def run(*, before: bool, after: bool, only_show: bool) -> None:
    """Migrate and print what was done, or only show what would be. Raises CommandError.

    `before`, `after`: only that phase; neither: both. Temporal may be unreachable: the API accepts
    notifications without it, and a later run registers the search attributes.
    """
    phases = [phase for phase, asked in ((Phase.BEFORE, before), (Phase.AFTER, after)) if asked]
    asyncio.run(_run(endpoints.stores(), phases or list(Phase), only_show))


async def _run(stores: StoreSettings, phases: Sequence[Phase], only_show: bool) -> None:
    url = stores.database_dsn
    try:
        if only_show:
            _show(await pending_steps(url, phases))
            return
        ran = await migrate(url, phases)
    except SchemaError as error:
        raise CommandError(str(error)) from None
    except (OSError, TimeoutError, ValueError, asyncpg.InterfaceError) as error:
        raise CommandError(endpoints.database_unusable(url, error)) from None
    except asyncpg.PostgresError as error:
        raise CommandError(
            f"Postgres refused to migrate ({type(error).__name__}: {error}). "
            "Fix the cause and run `herald migrate` again."
        ) from None
    for name in ran:
        typer.echo(f"ran {name}")
    if not ran:
        typer.echo("The database is up to date.")
    if Phase.BEFORE in phases:
        await _register(stores)


def _show(steps: Sequence[Step]) -> None:
    for step in steps:
        typer.echo(f"{step.phase}: {step.name}")
    if not steps:
        typer.echo("The database is up to date.")


async def _register(stores: StoreSettings) -> None:
    temporal = stores.temporal
    try:
        missing = await register_search_attributes(
            temporal.address,
            temporal.namespace,
            api_key=temporal.api_key_in_clear,
            tls=temporal.tls_files,
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
