"""API keys, managed directly in the database, so that the first key can be created without one."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from console.errors import CommandError

if TYPE_CHECKING:
    from storage.postgres import Pool

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys, directly in the database.")

# ASCII only: names that look alike must be alike.
_TENANT: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

_Result = TypeVar("_Result")


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(help="The tenant that the key submits and reads for.")],
    name: Annotated[str, typer.Option(help="A label that says what the key is for.")] = "",
) -> None:
    """Create a key for a tenant and print it. It cannot be printed again."""
    from storage import api_keys

    if not re.fullmatch(_TENANT, tenant):
        raise CommandError(
            f"{tenant!r} is not a valid tenant name. Use 1 to 64 letters (A-Z, a-z), digits, `.`, `_` and "
            "`-`, starting with a letter or a digit."
        )
    if not name.isprintable():
        raise CommandError(f"{name!r} is not a valid key name. Use printable characters only.")

    async def create_key(pool: "Pool") -> str:
        try:
            return await api_keys.create(pool, tenant, name)
        except ValueError as error:
            raise CommandError(f"{error}.") from None

    typer.echo(_in_database(create_key))
    typer.echo("Store it now: Herald keeps only a digest. Use it as `Authorization: Bearer <key>`.", err=True)


@app.command("list")
def list_() -> None:
    """List all keys, newest first."""
    from console import terminal
    from storage import api_keys

    table = terminal.table("prefix", "tenant", "created", "status", "name")
    for key in _in_database(api_keys.list_api_keys):
        status = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "active"
        cells = (key.prefix, key.tenant, f"{key.created_at:%Y-%m-%d %H:%M}")
        terminal.row(table, (*cells, terminal.coloured(status), key.name))
    terminal.say(table)


@app.command()
def revoke(
    prefix: Annotated[
        str, typer.Argument(help="The key's prefix as `herald keys list` shows it, or the key itself.")
    ],
) -> None:
    """Revoke a key. Every API process refuses it within two seconds."""
    from storage import api_keys

    prefix = prefix.removeprefix("hk_").partition("_")[0]

    async def revoke_key(pool: "Pool") -> bool:
        return await api_keys.revoke(pool, prefix)

    if not _in_database(revoke_key):
        raise CommandError(f"There is no active key hk_{prefix}_…. `herald keys list` shows all keys.")
    typer.echo(f"Revoked hk_{prefix}_….")


def _in_database(do: "Callable[[Pool], Awaitable[_Result]]") -> _Result:
    """Run `do` on the database. Raises CommandError if the database cannot be used."""
    import asyncpg

    from console import endpoints
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
        raise CommandError("The database has no tables: run `herald migrate` first.") from None
    except (*UNREACHABLE, asyncpg.PostgresError, ValueError) as error:
        raise CommandError(endpoints.database_unusable(url, error)) from None
