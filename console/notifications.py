"""Submitting notifications, following one, and finding those that are stuck."""

import secrets
import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer

from console.failure import Failure
from console.listing import After, Before, Channel, Limit, Provider, Type, User, show_list
from domain.notification import Channel as KnownChannel

AsJson = Annotated[bool, typer.Option("--json", help="Print the API's own answer.")]
CHANNELS = tuple(KnownChannel)
Id = Annotated[str, typer.Argument(help="The notification's id; its workflow id (ntf-…) does as well.")]


def plain_id(text: str) -> str:
    """The notification's id from what was pasted: itself, or its workflow id. Raises Failure."""
    from uuid import UUID

    id = text.strip().removeprefix("ntf-")
    try:
        return str(UUID(id))
    except ValueError:
        raise Failure(
            f"{text!r} is not a notification's id: expected one such as {'0' * 8}-{'0' * 4}-5{'0' * 3}-…"
        ) from None


def addresses(given: list[str]) -> dict[str, str]:
    """`--to` by channel: `sms=…`, `email=…`, …, or bare, told by its form. Raises Failure."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (equals and name in CHANNELS):
            name, value = ("sms" if text.startswith("+") else "email" if "@" in text else "push"), text
        if name in found:
            raise Failure(f"--to names two addresses for {name}: a notification has one for each channel.")
        found[name] = value
    return found


def send(
    user: Annotated[str, typer.Option(help="The client's own id of the user.")],
    type: Annotated[str, typer.Option(help="A configured type, e.g. otp or debit_alert.")],
    body: Annotated[str, typer.Option(help="What is said; `-` reads it from stdin.")],
    channel: Annotated[
        list[str], typer.Option("--channel", "-c", help=f"{', '.join(CHANNELS)}; repeat it for several.")
    ],
    title: Annotated[str | None, typer.Option(help="A mail's subject, a push message's headline.")] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(help="Another address than the user's own: +234…, a@b.c, push=DEVICE. Repeatable."),
    ] = None,
    key: Annotated[str | None, typer.Option(help="The idempotency key. Default: a random one.")] = None,
    strategy: Annotated[str, typer.Option(help="all: every channel. first: until one reaches.")] = "all",
    lane: Annotated[str | None, typer.Option(help="critical, high, normal or bulk.")] = None,
    send_at: Annotated[str | None, typer.Option(help="Not before: RFC 3339, or from now (10m, 2h).")] = None,
    expires_at: Annotated[str | None, typer.Option(help="Not after: RFC 3339, or from now.")] = None,
    as_json: AsJson = False,
) -> None:
    """Submit one notification.

    Repeating the command with the same --key never sends twice.
    """
    from console import terminal
    from console.client import connected

    now = terminal.now()
    wanted: dict[str, Any] = {
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
        answer = api.post(
            "/notifications", {name: value for name, value in wanted.items() if value is not None}
        )
    if as_json:
        terminal.say_json(answer)
        return
    terminal.say(
        f"{answer['id']}  {answer['status']}  (key {answer['idempotency_key']})",
        f"follow it: herald show {answer['id']}",
    )


def show(id: Id, as_json: AsJson = False) -> None:
    """Tell the story of one notification: every decision, attempt and receipt."""
    from console import terminal
    from console.client import connected
    from console.story import told

    path = f"/notifications/{quote(plain_id(id))}"
    with connected() as api:
        notification, timeline = api.get(path), api.get(f"{path}/timeline")
    if as_json:
        terminal.say_json(timeline)
        return
    terminal.say(*told(notification, timeline))


def list_(
    user: User = None,
    type: Type = None,
    status: Annotated[str | None, typer.Option(help="In this status, e.g. deferred.")] = None,
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
        when_none="none",
        user_id=user,
        type=type,
        status=status,
        channel=channel,
        provider=provider,
    )


def stuck(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Look at so many of each status.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """List what does not move by itself, oldest first: parked, retrying, overdue.

    Each with its reason and since when. A notification that waits for its own time is not stuck.
    """
    from console import terminal
    from console.client import connected
    from console.stuck import find, shown

    with connected() as api:
        found, more = find(api, limit, terminal.now())
    if as_json:
        terminal.say_json([item.as_json() for item in found])
        return
    terminal.say(shown(found, terminal.now()) if found else "nothing is stuck")
    if more:
        terminal.say("there are more: --limit")


def id(
    tenant: Annotated[str, typer.Option(help="The tenant of the API key it was submitted with.")],
    user: Annotated[str, typer.Option(help="Its user_id.")],
    type: Annotated[str, typer.Option(help="Its type.")],
    key: Annotated[str, typer.Option(help="Its idempotency key.")],
) -> None:
    """Compute a notification's id from what a client knows, without asking anybody."""
    from console import places
    from domain.ids import namespace, notification_id

    typer.echo(notification_id(namespace(places.secret_key()), tenant, user, type, key))
