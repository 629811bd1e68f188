"""Dead letters and unknown outcomes: what waits for an operator, and what the operator decides."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from console.failure import Failure
from console.listing import After, Before, Channel, Limit, Provider, Type, User, show_list
from console.notifications import AsJson, Id, addresses, plain_id

app = typer.Typer(
    no_args_is_help=True, help="Dead letters: list them, send them again, close them.", add_completion=False
)

ReasonCode = Annotated[str | None, typer.Option("--reason", help="With this reason code.")]
ExpiresAt = Annotated[
    str | None, typer.Option(help="A new expiry: RFC 3339, or from now (2h). Expired ones need it.")
]


@app.command("list")
def list_(
    type: Type = None,
    channel: Channel = None,
    provider: Provider = None,
    reason: ReasonCode = None,
    status: Annotated[str | None, typer.Option(help="dead_lettered or outcome_unknown.")] = None,
    user: User = None,
    after: After = None,
    before: Before = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what waits for an operator, newest first."""
    show_list(
        "/dead-letters",
        limit,
        after=after,
        before=before,
        as_json=as_json,
        when_none="no dead letters",
        user_id=user,
        type=type,
        status=status,
        channel=channel,
        provider=provider,
        reason_code=reason,
    )


@app.command()
def retry(
    id: Id,
    expires_at: ExpiresAt = None,
    to: Annotated[
        list[str] | None, typer.Option(help="Another address than the one that failed: +234… or a@b.c.")
    ] = None,
    assume: Annotated[
        str | None,
        typer.Option(help="What an unknown outcome is taken for: sent, or send_again (it may arrive twice)."),
    ] = None,
) -> None:
    """Send one again at once, with its whole schedule before it."""
    from console import terminal
    from console.client import connected

    wanted: dict[str, Any] = {
        "expires_at": terminal.later(expires_at, terminal.now()),
        "to": addresses(to or []) or None,
        "assume": assume,
    }
    body = {name: value for name, value in wanted.items() if value is not None}
    with connected() as api:
        answer = api.post(f"/dead-letters/{quote(plain_id(id))}/retry", body)
    terminal.say(f"{answer['id']}  {answer['status']}", f"follow it: herald show {answer['id']}")


@app.command()
def discard(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The notifications' ids.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Close dead letters without sending them. This cannot be undone."""
    from console import terminal
    from console.client import connected

    chosen = [plain_id(id) for id in ids]
    if not yes and not typer.confirm(f"Close {len(chosen)} without sending?"):
        raise Failure("nothing was discarded")
    with connected() as api:
        for id in chosen:
            answer = api.post(f"/dead-letters/{quote(id)}/discard")
            terminal.say(f"{answer['id']}  {answer['status']} ({answer['reason_code']})")


@app.command()
def replay(
    type: Type = None,
    channel: Channel = None,
    provider: Provider = None,
    reason: ReasonCode = None,
    after: After = None,
    before: Before = None,
    expires_at: ExpiresAt = None,
    rate: Annotated[float, typer.Option(min=0.01, max=1000, help="So many a second.")] = 10,
    send: Annotated[
        bool, typer.Option("--send", help="Really send them; without it, only say what would be sent.")
    ] = False,
) -> None:
    """Send many again, by filter. Only says what it would do, unless --send is given.

    Unknown outcomes are left alone: each needs a decision of its own (`herald dlq retry --assume`).
    """
    from console import terminal
    from console.client import connected

    now = terminal.now()
    filter: dict[str, Any] = {
        "type": type,
        "channel": channel,
        "provider": provider,
        "reason_code": reason,
        "created_after": terminal.earlier(after, now),
        "created_before": terminal.earlier(before, now),
    }
    wanted: dict[str, Any] = {
        "filter": {name: value for name, value in filter.items() if value is not None},
        "dry_run": not send,
        "rate_per_s": rate,
    }
    if expires_at is not None:
        wanted["expires_at"] = terminal.later(expires_at, now)
    with connected() as api:
        done = api.post("/dead-letters/replay", wanted)
    terminal.say(*_told(done))


def _told(done: dict[str, Any]) -> list[str]:
    ready = done["matched"] - done["expired"]
    if done["dry_run"]:
        lines = [f"{done['matched']} match; {ready} would be sent again. Add --send to do it."]
    else:
        lines = [f"{done['replayed']} of {done['matched']} are sent again."]
        if done["moved_meanwhile"]:
            lines.append(f"{done['moved_meanwhile']} were decided on by somebody else meanwhile.")
    if done["expired"]:
        lines.append(f"{done['expired']} have expired by then: they need --expires-at.")
    if done["last_at"]:
        lines.append(f"the last one at {done['last_at']}")
    if done["more"]:
        lines.append("There are more than one replay takes: run it again.")
    return lines
