"""Commands that submit, show and list notifications, and find those that are stuck."""

import secrets
import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer

from console.errors import CommandError
from console.listing import After, Before, Channel, Limit, Provider, Type, User, show_list
from domain.notification import Channel as KnownChannel

AsJson = Annotated[bool, typer.Option("--json", help="Print the API's response as JSON.")]
CHANNELS = tuple(KnownChannel)
Id = Annotated[str, typer.Argument(help="The notification's id, or its workflow id (ntf-…).")]


def plain_id(text: str) -> str:
    """Parse a notification's id or workflow id. Raises CommandError if it is neither."""
    from uuid import UUID

    id = text.strip().removeprefix("ntf-")
    try:
        return str(UUID(id))
    except ValueError:
        raise CommandError(
            f"{text!r} is not a notification id: expected a UUID, as `herald list` shows them."
        ) from None


def addresses(given: list[str]) -> dict[str, str]:
    """Parse `--to` by channel: `sms=…`, `email=…`, …, or a bare address, whose channel follows from its form.

    Raises CommandError for two addresses of one channel.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (equals and name in CHANNELS):
            name, value = ("sms" if text.startswith("+") else "email" if "@" in text else "push"), text
        if name in found:
            raise CommandError(f"--to gives two addresses for {name}. Give at most one for each channel.")
        found[name] = value
    return found


def send(
    user: Annotated[str, typer.Option(help="The user's id, as your application knows it.")],
    type: Annotated[str, typer.Option(help="A configured type, e.g. otp or debit_alert.")],
    body: Annotated[str, typer.Option(help="The text; `-` reads it from stdin.")],
    channel: Annotated[
        list[str],
        typer.Option("--channel", "-c", help=f"{', '.join(CHANNELS)}. Repeatable, or separate by commas."),
    ],
    title: Annotated[
        str | None, typer.Option(help="The subject of an email or the title of a push message.")
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            help="Use this address, not the user's stored one: +234…, a@b.c, or CHANNEL=ADDRESS. Repeatable."
        ),
    ] = None,
    key: Annotated[str | None, typer.Option(help="The idempotency key. Default: a random one.")] = None,
    strategy: Annotated[
        str, typer.Option(help="all: send over every channel. first: stop at the first that delivers.")
    ] = "all",
    lane: Annotated[
        str | None, typer.Option(help="critical, high, normal or bulk. Default: the type's.")
    ] = None,
    send_at: Annotated[
        str | None,
        typer.Option(help="Do not send before: an RFC 3339 time, or a duration from now (10m, 2h)."),
    ] = None,
    expires_at: Annotated[
        str | None,
        typer.Option(help="Do not send after: an RFC 3339 time, or a duration from now (10m, 2h)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Submit one notification.

    Repeating the command with the same --key does not send it again.
    """
    from console import terminal
    from console.client import connected

    now = terminal.now()
    fields: dict[str, Any] = {
        "user_id": user,
        "type": type,
        "channels": [part.strip() for given in channel for part in given.split(",")],
        "strategy": strategy,
        "content": {"body": sys.stdin.read() if body == "-" else body} | ({"title": title} if title else {}),
        "to": addresses(to or []) or None,
        "lane": lane,
        "send_at": terminal.later(send_at, now),
        "expires_at": terminal.later(expires_at, now),
        "idempotency_key": key or f"cli-{secrets.token_hex(8)}",
    }
    with connected() as api:
        accepted = api.post(
            "/notifications", {name: value for name, value in fields.items() if value is not None}
        )
    if as_json:
        terminal.say_json(accepted)
        return
    terminal.say(
        f"{accepted['id']}  {accepted['status']}  (key {accepted['idempotency_key']})",
        f"Follow it: herald show {accepted['id']}",
    )


def show(id: Id, as_json: AsJson = False) -> None:
    """Show one notification's timeline: every decision, attempt and receipt."""
    from console import terminal
    from console.client import connected
    from console.timeline_view import timeline_view

    path = f"/notifications/{quote(plain_id(id))}"
    with connected() as api:
        notification, timeline = api.get(path), api.get(f"{path}/timeline")
    if as_json:
        terminal.say_json(timeline)
        return
    terminal.say(*timeline_view(notification, timeline))


def list_(
    user: User = None,
    type: Type = None,
    status: Annotated[str | None, typer.Option(help="Only with this status, e.g. deferred.")] = None,
    channel: Channel = None,
    provider: Provider = None,
    after: After = None,
    before: Before = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List notifications, newest first."""
    show_list(
        "/notifications",
        limit,
        after=after,
        before=before,
        as_json=as_json,
        when_empty="no notifications",
        user_id=user,
        type=type,
        status=status,
        channel=channel,
        provider=provider,
    )


def stuck(
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="Maximum number of notifications to check per status.")
    ] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> None:
    """List deliveries that make no progress: parked, retrying or overdue, oldest first.

    Shows for each one why it is stuck and since when. One that waits for its scheduled time is not stuck.
    """
    from console import terminal
    from console.client import connected
    from console.stuck import find_stuck, stuck_table

    with connected() as api:
        found, more = find_stuck(api, limit, terminal.now())
    if as_json:
        terminal.say_json([item.as_json() for item in found])
        return
    terminal.say(stuck_table(found, terminal.now()) if found else "nothing is stuck")
    if more:
        terminal.say("Not all were checked: raise --limit.")


def id(
    tenant: Annotated[str, typer.Option(help="The tenant of the API key that submitted it.")],
    user: Annotated[str, typer.Option(help="The notification's user_id.")],
    type: Annotated[str, typer.Option(help="The notification's type.")],
    key: Annotated[str, typer.Option(help="The notification's idempotency key.")],
) -> None:
    """Compute a notification's id from what its client knows, without calling the API."""
    from console import endpoints
    from domain.ids import namespace, notification_id

    typer.echo(notification_id(namespace(endpoints.secret_key()), tenant, user, type, key))
