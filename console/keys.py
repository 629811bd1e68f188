"""API keys, managed directly in the database, so that the first key can be created without one."""

import re
from typing import TYPE_CHECKING, Annotated, Final

import typer

from console.database import audited, in_database, origin
from console.errors import CommandError
from console.reasons import Why, asked

if TYPE_CHECKING:
    from domain.audit import AuditEntry
    from storage.audit import AuditLog
    from storage.postgres import Connection

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys, directly in the database.")

# ASCII only: names that look alike must be alike.
_TENANT: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(help="The tenant that the key submits and reads for.")],
    name: Annotated[str, typer.Option(help="A label that says what the key is for.")] = "",
    reason: Why = None,
) -> None:
    """Create a key for a tenant and print it. It cannot be printed again."""
    from domain.audit import Action
    from storage import api_keys

    if not re.fullmatch(_TENANT, tenant):
        raise CommandError(
            f"{tenant!r} is not a valid tenant name. Use 1 to 64 letters (A-Z, a-z), digits, `.`, `_` and "
            "`-`, starting with a letter or a digit."
        )
    if not name.isprintable():
        raise CommandError(f"{name!r} is not a valid key name. Use printable characters only.")

    who = origin(tenant, asked(reason))

    async def act(connection: "Connection") -> "tuple[str, list[AuditEntry]]":
        try:
            key = await api_keys.create(connection, tenant, name)
        except ValueError as error:
            raise CommandError(f"{error}.") from None
        return key, [who.entry(Action.KEY_CREATE, key.split("_")[1], after={"name": name})]

    async def create_key(audit: "AuditLog") -> str:
        return await audit.perform(act)

    typer.echo(audited(create_key))
    typer.echo("Store it now: Herald keeps only a digest. Use it as `Authorization: Bearer <key>`.", err=True)


@app.command("list")
def list_() -> None:
    """List all keys, newest first."""
    from console import terminal
    from storage import api_keys

    table = terminal.table("prefix", "tenant", "created", "status", "name")
    for key in in_database(api_keys.list_api_keys):
        status = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "active"
        cells = (key.prefix, key.tenant, f"{key.created_at:%Y-%m-%d %H:%M}")
        terminal.row(table, (*cells, terminal.coloured(status), key.name))
    terminal.say(table)


@app.command()
def revoke(
    prefix: Annotated[
        str, typer.Argument(help="The key's prefix as `herald keys list` shows it, or the key itself.")
    ],
    reason: Why = None,
) -> None:
    """Revoke a key. Every API process refuses it within two seconds."""
    from domain.audit import Action
    from storage import api_keys

    prefix = prefix.removeprefix("hk_").partition("_")[0]
    why = asked(reason)

    async def act(connection: "Connection") -> "tuple[bool, list[AuditEntry]]":
        revoked = await api_keys.revoke(connection, prefix)
        if revoked is None:
            return False, []
        entry = origin(revoked.tenant, why).entry(Action.KEY_REVOKE, prefix, before={"name": revoked.name})
        return True, [entry]

    async def revoke_key(audit: "AuditLog") -> bool:
        return await audit.perform(act)

    if not audited(revoke_key):
        raise CommandError(f"There is no active key hk_{prefix}_…. `herald keys list` shows all keys.")
    typer.echo(f"Revoked hk_{prefix}_….")
