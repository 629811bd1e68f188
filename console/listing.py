"""Commands that list notifications: their filter options, and printing the result."""

from typing import Annotated

import typer

User = Annotated[str | None, typer.Option(help="Only for this user.")]
Type = Annotated[str | None, typer.Option(help="Only of this type.")]
Channel = Annotated[str | None, typer.Option(help="Only with this channel.")]
Provider = Annotated[str | None, typer.Option(help="Only with an attempt through this provider.")]
After = Annotated[
    str | None,
    typer.Option(help="Only created after this: an RFC 3339 time, or a duration ago (10m, 2h)."),
]
Before = Annotated[
    str | None,
    typer.Option(help="Only created before this: an RFC 3339 time, or a duration ago (10m, 2h)."),
]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number to list.")]


def show_list(
    path: str,
    limit: int,
    *,
    after: str | None,
    before: str | None,
    as_json: bool,
    when_empty: str,
    **query: str | None,
) -> None:
    """Print what the API lists at `path`, newest first. `after` and `before` are the typed texts."""
    from console import terminal
    from console.client import connected
    from console.timeline_view import notification_table

    now = terminal.now()
    with connected() as api:
        found, more = api.list_all(
            path,
            "notifications",
            limit,
            **query,
            created_after=terminal.earlier(after, now),
            created_before=terminal.earlier(before, now),
        )
    if as_json:
        terminal.say_json(found)
        return
    terminal.say(notification_table(found) if found else when_empty)
    if more:
        terminal.say("There are more: raise --limit or add filters.")
