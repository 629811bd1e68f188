"""API keys, managed directly in the database, so that the first key can be created without one."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from console.database import acting, audited, in_database
from console.errors import CommandError
from console.reasons import Why, asked
from domain.access import Scope, is_tenant

if TYPE_CHECKING:
    from storage.api_keys import ApiKey
    from storage.audit import AuditLog

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys, directly in the database.")

_DEFAULT: Final = {False: (Scope.SEND, Scope.READ), True: (Scope.READ,)}
"""The scopes without --scope: of a tenant's key, and of one of the installation."""


@app.command()
def create(
    tenant: Annotated[
        str | None, typer.Argument(help="The tenant that the key belongs to.", show_default=False)
    ] = None,
    installation: Annotated[
        bool, typer.Option("--installation", help="A key of the installation: it may name any tenant.")
    ] = False,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What the key allows; repeat it. Default: send and read; --installation: read."),
    ] = None,
    name: Annotated[str, typer.Option(help="A label that says what the key is for.")] = "",
    expires: Annotated[
        str | None, typer.Option(help="When it stops working: a time, or 90d, 12h. Default: never.")
    ] = None,
    test: Annotated[
        bool, typer.Option("--test", help="A test key: what it sends reaches simulated providers only.")
    ] = False,
    reason: Why = None,
) -> None:
    """Create a key for a tenant, or for the installation, and print it. It cannot be printed again."""
    from delivery import key_commands

    _check(tenant, installation, name, test)
    scopes = scope or _DEFAULT[installation]
    expires_at = _expiry(expires) if expires else None

    who = acting(tenant, asked(reason))

    async def act(audit: "AuditLog") -> str:
        try:
            _, clear = await key_commands.create_key(
                audit,
                tenant,
                name,
                scopes,
                test=test,
                expires_at=expires_at,
                created_by=None,
                origin=who,
            )
        except ValueError as error:
            raise CommandError(f"{error}.") from None
        return clear

    typer.echo(audited(act))
    whose = "the installation" if installation else f"the tenant {tenant}"
    allowed = ", ".join(sorted(scopes))
    typer.echo(
        f"A {'test ' if test else ''}key of {whose}, for {allowed}"
        f"{f', until {expires_at:%Y-%m-%d %H:%M} UTC' if expires_at else ''}.\n"
        "Store it now: Herald keeps only a digest. Use it as `Authorization: Bearer <key>`.",
        err=True,
    )


@app.command("list")
def list_() -> None:
    """List all keys, newest first."""
    from console import terminal
    from storage import api_keys

    headings = ("prefix", "tenant", "scopes", "created", "created by", "last used", "expires", "status")
    table = terminal.table(*headings, "name")
    now = datetime.now(UTC)
    for key in in_database(api_keys.every_key):
        whose = f"{key.tenant} (test)" if key.test else key.tenant or "(installation)"
        created = (_day(key.created_at), f"key:{key.created_by}" if key.created_by else "cli")
        ends = (_day(key.last_used_at), _day(key.expires_at))
        cells = (key.prefix, whose, ", ".join(sorted(key.scopes)), *created, *ends)
        terminal.row(table, (*cells, terminal.coloured(_status(key, now)), key.name))
    terminal.say(table)


@app.command()
def revoke(
    prefix: Annotated[
        str, typer.Argument(help="The key's prefix as `herald keys list` shows it, or the key itself.")
    ],
    reason: Why = None,
) -> None:
    """Revoke a key. Every API process refuses it within two seconds."""
    from delivery import key_commands

    for head in ("hk_", "live_", "test_"):
        prefix = prefix.removeprefix(head)
    prefix = prefix.partition("_")[0]
    who = acting(None, asked(reason))

    if not audited(lambda audit: key_commands.revoke_key(audit, prefix, who)):
        raise CommandError(
            f"There is no active key with the prefix {prefix}. `herald keys list` shows all keys."
        )
    typer.echo(f"Revoked the key {prefix}.")


def _check(tenant: str | None, installation: bool, name: str, test: bool) -> None:
    """Refuse a key that would be nobody's or both, or whose names are not valid."""
    if (tenant is None) is not installation:
        raise CommandError(
            "Name the tenant of the key, or use --installation for a key of the installation, and not both."
        )
    if tenant is not None and not is_tenant(tenant):
        raise CommandError(
            f"{tenant!r} is not a valid tenant name. Use 1 to 64 letters (A-Z, a-z), digits, `.`, `_` and "
            "`-`, starting with a letter or a digit."
        )
    if test and installation:
        raise CommandError("A test key belongs to a tenant: name it instead of --installation.")
    if not name.isprintable():
        raise CommandError(f"{name!r} is not a valid key name. Use printable characters only.")


def _expiry(text: str) -> datetime:
    from console import terminal

    now = datetime.now(UTC)
    expires_at = datetime.fromisoformat(terminal.later(text, now) or "")
    if expires_at <= now:
        raise CommandError(f"{text!r} has passed: a key expires in the future.")
    return expires_at


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else ""


def _status(key: "ApiKey", now: datetime) -> str:
    if key.revoked_at:
        return f"revoked {key.revoked_at:%Y-%m-%d %H:%M}"
    return "expired" if key.expires_at and key.expires_at <= now else "active"
