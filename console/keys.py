"""API keys, directly in the database: who may not yet call the API can still make its first key."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from console.failure import Failure

if TYPE_CHECKING:
    from storage.postgres import Pool

app = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke (directly in the database).")

# A name that is typed, listed and compared must not differ from another in what nobody sees.
_TENANT: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

_Result = TypeVar("_Result")


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(help="Whose notifications the key may see and submit.")],
    name: Annotated[str, typer.Option(help="What it is for, to tell it from others.")] = "",
) -> None:
    """Make a key for a tenant. It is shown this once."""
    from storage import api_keys

    if not re.fullmatch(_TENANT, tenant):
        raise Failure(
            f"{tenant!r} cannot be a tenant's name: it has 1 to 64 letters (A-Z, a-z), digits, `.`, `_` and "
            "`-`, and begins with a letter or a digit."
        )
    if not name.isprintable():
        raise Failure(f"{name!r} cannot be a key's name: it must be printable.")

    async def made(pool: "Pool") -> str:
        return await api_keys.create(pool, tenant, name)

    typer.echo(_in_database(made))
    typer.echo("Keep it: only its digest is stored. `Authorization: Bearer <key>`", err=True)


@app.command("list")
def list_() -> None:
    """List every key, newest first."""
    from console import terminal
    from storage import api_keys

    made = terminal.table("prefix", "tenant", "created", "state", "name")
    for key in _in_database(api_keys.listed):
        state = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "active"
        cells = (key.prefix, key.tenant, f"{key.created_at:%Y-%m-%d %H:%M}")
        terminal.row(made, (*cells, terminal.coloured(state), key.name))
    terminal.say(made)


@app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(help="The key's prefix, as listed; or the key itself.")],
) -> None:
    """Revoke a key. It stops working within two seconds, everywhere."""
    from storage import api_keys

    prefix = prefix.removeprefix("hk_").partition("_")[0]

    async def gone(pool: "Pool") -> bool:
        return await api_keys.revoke(pool, prefix)

    if not _in_database(gone):
        raise Failure(f"There is no key hk_{prefix}_… that is still good: see `herald keys list`.")
    typer.echo(f"hk_{prefix}_… is revoked")


def _in_database(do: "Callable[[Pool], Awaitable[_Result]]") -> _Result:
    """Run it on the database. Raises Failure when that cannot be reached."""
    import asyncpg

    from console import places
    from storage.postgres import UNREACHABLE, open_pool

    url = places.database_url()

    async def run() -> _Result:
        pool = await open_pool(url, size_max=2)
        try:
            return await do(pool)
        finally:
            await pool.close()

    try:
        return asyncio.run(run())
    except asyncpg.UndefinedTableError:
        raise Failure("The database has no tables yet: run `herald migrate` first.") from None
    except (*UNREACHABLE, asyncpg.PostgresError, ValueError) as error:
        raise Failure(
            f"The database cannot be used ({type(error).__name__}: {error}). "
            "HERALD_DATABASE_URL says where it is."
        ) from None
