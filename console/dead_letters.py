"""Dead letters and unknown outcomes: list what waits for an operator, send it again or close it."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from console.errors import CommandError
from console.listing import After, Before, Channel, Limit, Provider, Type, User, show_list
from console.notifications import AsJson, Id, addresses, plain_id
from console.reasons import Why, header
from domain.reasons import Reason

app = typer.Typer(
    no_args_is_help=True, help="List dead letters, send them again, or close them.", add_completion=False
)

ReasonCode = Annotated[str | None, typer.Option("--reason-code", help="Only with this reason code.")]
ExpiresAt = Annotated[
    str | None,
    typer.Option(
        help="New expiry: an RFC 3339 time, or a duration from now (2h). Required for expired notifications."
    ),
]


@app.command("list")
def list_(
    type: Type = None,
    channel: Channel = None,
    provider: Provider = None,
    reason_code: Annotated[
        str | None, typer.Option("--reason-code", "--reason", help="Only with this reason code.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(help="Only with this status: dead_lettered or outcome_unknown.")
    ] = None,
    user: User = None,
    after: After = None,
    before: Before = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List notifications that wait for an operator, newest first."""
    show_list(
        "/dead-letters",
        limit,
        after=after,
        before=before,
        as_json=as_json,
        when_empty="no dead letters",
        user_id=user,
        type=type,
        status=status,
        channel=channel,
        provider=provider,
        reason_code=reason_code,
    )


@app.command()
def retry(
    id: Id,
    expires_at: ExpiresAt = None,
    to: Annotated[
        list[str] | None,
        typer.Option(help="Send to this address instead: +234…, a@b.c, or CHANNEL=ADDRESS. Repeatable."),
    ] = None,
    assume: Annotated[
        str | None,
        typer.Option(
            help="How to treat an unknown outcome: sent (close it), or send_again (it may arrive twice)."
        ),
    ] = None,
    reason: Why = None,
) -> None:
    """Send a dead letter again now, with its full retry schedule."""
    from console import terminal
    from console.client import connected

    fields: dict[str, Any] = {
        "expires_at": terminal.later(expires_at, terminal.now()),
        "to": addresses(to or []) or None,
        "assume": assume,
    }
    body = {name: value for name, value in fields.items() if value is not None}
    path, headers = f"/dead-letters/{quote(plain_id(id))}/retry", header(reason)
    with connected() as api:
        shown = api.post(path, body, headers)
    terminal.say(f"{shown['id']}  {shown['status']}", f"Follow it: herald show {shown['id']}")


@app.command()
def discard(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Notification ids.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation.")] = False,
    reason: Why = None,
) -> None:
    """Close dead letters without sending them. This cannot be undone."""
    from console import terminal
    from console.client import connected

    chosen = [plain_id(id) for id in ids]
    if not yes and not typer.confirm(f"Close {_count(len(chosen), 'dead letter')} without sending?"):
        raise CommandError("Not confirmed: nothing was discarded.")
    headers = header(reason)
    with connected() as api:
        for id in chosen:
            shown = api.post(f"/dead-letters/{quote(id)}/discard", headers=headers)
            terminal.say(f"{shown['id']}  {shown['status']} ({shown['reason_code']})")


@app.command()
def replay(
    type: Type = None,
    channel: Channel = None,
    provider: Provider = None,
    reason_code: ReasonCode = None,
    after: After = None,
    before: Before = None,
    expires_at: ExpiresAt = None,
    rate: Annotated[float, typer.Option(min=0.01, max=1000, help="Notifications per second.")] = 10,
    send: Annotated[
        bool, typer.Option("--send", help="Send them. Without this option, only report what would be sent.")
    ] = False,
    reason: Why = None,
) -> None:
    """Send all matching dead letters again. Dry run unless --send is given.

    Unknown outcomes are not included: decide each one with `herald dlq retry --assume`.
    """
    from console import terminal
    from console.client import connected

    if reason in tuple(Reason):
        # It was the name of this filter: sending every dead letter would be worse than an error.
        raise CommandError(
            f"{reason} is a reason code. Filter with --reason-code {reason}; --reason says why."
        )
    now = terminal.now()
    matching: dict[str, Any] = {
        "type": type,
        "channel": channel,
        "provider": provider,
        "reason_code": reason_code,
        "created_after": terminal.earlier(after, now),
        "created_before": terminal.earlier(before, now),
    }
    body: dict[str, Any] = {
        "filter": {name: value for name, value in matching.items() if value is not None},
        "dry_run": not send,
        "rate_per_s": rate,
    }
    if expires_at is not None:
        body["expires_at"] = terminal.later(expires_at, now)
    headers = header(reason) if send else {}
    with connected() as api:
        result = api.post("/dead-letters/replay", body, headers)
    terminal.say(*_replay_summary(result))


def _replay_summary(result: dict[str, Any]) -> list[str]:
    matched, expired = result["matched"], result["expired"]
    if result["dry_run"]:
        lines = [
            f"{_count(matched, 'dead letter')} matched; {matched - expired} would be sent again. "
            "Add --send to send."
        ]
    else:
        lines = [f"{result['replayed']} of {_count(matched, 'dead letter')} will be sent again."]
        if result["already_handled"]:
            lines.append(f"{result['already_handled']} had already been handled.")
    if expired:
        lines.append(f"{expired} would have expired before being sent: set a new expiry with --expires-at.")
    if result["last_at"]:
        lines.append(f"The last one is due at {result['last_at']}.")
    if result["more"]:
        lines.append("More match than one replay can handle; run it again.")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
