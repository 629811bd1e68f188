"""The command that shows limits and spend caps, and what is counted under them."""

from typing import Annotated, Any

import typer

from console.listing import User
from console.notifications import AsJson

app = typer.Typer(no_args_is_help=True, help="Show limits and spend caps, and what is counted under them.")


@app.command()
def show(
    number: Annotated[
        str | None, typer.Option(help="Also the limits of this phone number (or email address).")
    ] = None,
    user: User = None,
    country: Annotated[str | None, typer.Option(help="Only this country, as two letters.")] = None,
    channel: Annotated[str, typer.Option("--channel", "-c", help="The channel.")] = "sms",
    as_json: AsJson = False,
) -> None:
    """Show the limits of the API key's tenant: what is configured, taken, and when a place becomes free."""
    from console import terminal
    from console.client import connected

    with connected() as api:
        found = api.get("/limits", channel=channel, address=number, user_id=user, country=country)
    if as_json:
        terminal.say_json(found)
        return
    if not found["limits"] and not found["spend"]:
        terminal.say(f"No limit on {channel} applies to these. Name a --number or a --user.")
        return
    if found["limits"]:
        terminal.say(_limits(found["limits"]))
    if found["spend"]:
        terminal.say(_caps(found["spend"]))


def _limits(limits: list[dict[str, Any]]) -> Any:
    from console import terminal

    table = terminal.table("limit", "of", "types", "max", "in", "then", "taken", "free")
    now = terminal.now()
    for limit in limits:
        counted = [*(f"lane {lane}" for lane in limit["lanes"]), *limit["types"]]
        free_at = limit["free_at"]
        free = terminal.ago(terminal.parse_time(free_at), now) if free_at else "now"
        cells = (" and ".join(limit["by"]), limit["of"], ", ".join(counted) or "all", limit["max"])
        times = (terminal.duration(limit["per_s"]), limit["then"], limit["taken"], free)
        terminal.row(table, (*cells, *times))
    return table


def _caps(caps: list[dict[str, Any]]) -> Any:
    from console import terminal

    table = terminal.table("spend cap", "of", "max a day", "then", "spent today (UTC)")
    for cap in caps:
        by = " and ".join(cap["by"]) or "installation"
        spent = f"{cap['spent']} ({float(cap['spent']) / float(cap['max']):.0%})"
        terminal.row(table, (by, cap["of"], f"{cap['max']} {cap['currency']}", cap["then"], spent))
    return table
