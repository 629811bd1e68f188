"""Listing notifications of any kind: the filters that are typed, and how what is found is shown."""

from typing import Annotated

import typer

User = Annotated[str | None, typer.Option(help="Of this user.")]
Type = Annotated[str | None, typer.Option(help="Of this type.")]
Channel = Annotated[str | None, typer.Option(help="With this channel.")]
Provider = Annotated[str | None, typer.Option(help="With an attempt through this provider.")]
After = Annotated[str | None, typer.Option(help="Created after: RFC 3339, or so long ago (10m, 2h).")]
Before = Annotated[str | None, typer.Option(help="Created before: RFC 3339, or so long ago.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")]


def show_list(
    path: str,
    limit: int,
    *,
    after: str | None,
    before: str | None,
    as_json: bool,
    when_none: str,
    **query: str | None,
) -> None:
    """Print what the API lists at `path`, newest first. `after` and `before` are as typed."""
    from console import terminal
    from console.client import connected
    from console.story import listed

    now = terminal.now()
    with connected() as api:
        found, more = api.pages(
            path,
            limit,
            **query,
            created_after=terminal.earlier(after, now),
            created_before=terminal.earlier(before, now),
        )
    if as_json:
        terminal.say_json(found)
        return
    terminal.say(listed(found) if found else when_none)
    if more:
        terminal.say("there are more: --limit, or narrow it down")
