"""The audit log: list who did or read what, and verify that nothing was changed or removed."""

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.errors import CommandError
from console.listing import Limit
from console.notifications import AsJson
from domain.audit import Action

if TYPE_CHECKING:
    from domain.audit import ChainCheck
    from storage.postgres import Pool

app = typer.Typer(
    no_args_is_help=True, help="List who did or read what, and verify the audit log.", add_completion=False
)


@app.command("list")
def list_(
    actor: Annotated[str | None, typer.Option(help="Only by this actor: key:PREFIX or cli:USER.")] = None,
    action: Annotated[
        str | None, typer.Option(help=f"Only this action, e.g. {Action.PROVIDER_DRAIN}.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Only about this: a provider, an id or a masked address.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only about this tenant's objects.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only since this: an RFC 3339 time, or a duration ago (10m, 2h).")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only before this: an RFC 3339 time, or a duration ago (10m, 2h).")
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List acts and readings in clear, newest first. A key of the installation lists every tenant's."""
    from console import terminal
    from console.client import connected

    now = terminal.now()
    query = {
        "actor": actor,
        "action": action,
        "subject": subject,
        "tenant": tenant,
        "since": terminal.earlier(since, now),
        "until": terminal.earlier(until, now),
    }
    with connected(installation=True) as api:
        found, more = api.list_all("/audit", "entries", limit, **query)
    if as_json:
        terminal.say_json(found)
        return
    table = terminal.table("entry", "at", "actor", "tenant", "action", "subject", "change", "reason")
    for entry in found:
        actor_name = f" ({entry['actor_name']})" if entry["actor_name"] else ""
        who = (terminal.short_time(entry["at"]), f"{entry['actor']}{actor_name}", entry["tenant"] or "*")
        what = (entry["action"], entry["subject"], _change(entry["before"], entry["after"]))
        terminal.row(table, (entry["sequence"], *who, *what, entry["reason"]))
    terminal.say(table if found else "no entries")
    if more:
        terminal.say("There are more: raise --limit or add filters.")


@app.command()
def verify(
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="A hash that the log had earlier, from `verify` or a process's log: shows whether the end "
            "of the log was removed.",
        ),
    ] = None,
) -> None:
    """Check every entry of the audit log, directly in the database. Exit 1 at the first that is wrong."""
    from console import endpoints, terminal
    from console.database import in_database
    from domain.audit import ChainBroken, ChainCheck, chain_key
    from storage.audit_queries import AuditReader

    if expect is not None and not re.fullmatch(r"[0-9a-f]{64}", expect):
        raise CommandError(
            f"{expect!r} is not a hash: expected 64 hexadecimal digits, as `verify` prints them."
        )
    check = ChainCheck(chain_key(endpoints.secret_key()), bytes.fromhex(expect) if expect else None)

    async def read(pool: "Pool") -> None:
        await AuditReader(pool).read_chain(check.take)
        check.finish()

    try:
        in_database(read)
    except ChainBroken as broken:
        raise CommandError(
            f"The audit log is not as it was written: {broken}. docs/audit.md says what this proves."
        ) from None
    terminal.say(*_verified(check))


def _verified(check: "ChainCheck") -> list[str]:
    last = check.last
    if last is None:
        return ["The audit log is empty."]
    count = "1 entry" if last.sequence == 1 else f"{last.sequence} entries"
    lines = [f"{count}, all as written; the last one at {last.at.isoformat()}."]
    if check.expected_at is not None:
        lines.append(f"Entry {check.expected_at} has the expected hash.")
    return [*lines, f"hash {last.hash.hex()}"]


def _change(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    parts = [_text(side) for side in (before, after) if side]
    return " → ".join(parts) if before else "".join(parts)


def _text(values: dict[str, Any]) -> str:
    shown = (
        f"{name} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in values.items()
    )
    return ", ".join(shown)
