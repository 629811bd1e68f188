"""Commands for providers: list them with their order and circuits, drain one, activate it again."""

from typing import Annotated
from urllib.parse import quote

import typer

from console.notifications import AsJson
from console.reasons import Why, header

_HELP = "List providers with their order, status and circuit; drain or activate one."

app = typer.Typer(help=_HELP)

Name = Annotated[str, typer.Argument(help="The provider's name, e.g. twilio.")]


@app.callback(invoke_without_command=True, help=_HELP)
def providers(context: typer.Context, as_json: AsJson = False) -> None:
    """Print the providers, unless a subcommand was given."""
    if context.invoked_subcommand is not None:
        return
    from console import terminal
    from console.client import connected

    with connected(installation=True) as api:
        listing = api.get("/providers")
    if as_json:
        terminal.say_json(listing)
        return
    table = terminal.table("channel", "order", "provider", "status", "circuit", "reported")
    for item in listing["providers"]:
        cells = (item["channel"], item["order"], item["name"], terminal.coloured(item["status"]))
        circuit = (terminal.coloured(item["circuit"]), terminal.short_time(item["circuit_at"]))
        terminal.row(table, (*cells, *circuit))
    terminal.say(table)
    for type, routes in listing["type_routes"].items():
        orders = ", ".join(f"{channel}: {' → '.join(names)}" for channel, names in routes.items())
        terminal.say(f"Order for type {type}: {orders}")


@app.command()
def drain(name: Name, reason: Why = None) -> None:
    """Stop sending through a provider. Calls in flight finish."""
    _set_status(name, "drained", reason)


@app.command()
def activate(name: Name, reason: Why = None) -> None:
    """Resume sending through a drained provider."""
    _set_status(name, "active", reason)


def _set_status(name: str, status: str, reason: str | None) -> None:
    from console import terminal
    from console.client import connected

    headers = header(reason)
    with connected(installation=True) as api:
        provider = api.patch(f"/providers/{quote(name, safe='')}", {"status": status}, headers)
    terminal.say(f"{provider['name']} is {provider['status']}; workers apply this within seconds.")
