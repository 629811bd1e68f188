"""The providers: in which order they are asked, whether they may be, and taking one out."""

from typing import Annotated
from urllib.parse import quote

import typer

from console.notifications import AsJson

app = typer.Typer(help="Providers: order, status and circuit; drain one, or let it send again.")

Name = Annotated[str, typer.Argument(help="The provider's name, e.g. twilio.")]


@app.callback(invoke_without_command=True)
def providers(context: typer.Context, as_json: AsJson = False) -> None:
    """Providers: order, status and circuit; drain one, or let it send again."""
    if context.invoked_subcommand is not None:
        return
    from console import terminal
    from console.client import connected

    with connected() as api:
        answer = api.get("/providers")
    if as_json:
        terminal.say_json(answer)
        return
    made = terminal.table("channel", "order", "provider", "status", "circuit", "reported")
    for item in answer["providers"]:
        cells = (item["channel"], item["order"], item["name"], terminal.coloured(item["status"]))
        terminal.row(made, (*cells, terminal.coloured(item["circuit"]), terminal.short(item["circuit_at"])))
    terminal.say(made)
    for type, routes in answer["type_routes"].items():
        ways = ", ".join(f"{channel}: {' → '.join(names)}" for channel, names in routes.items())
        terminal.say(f"{type} differs: {ways}")


@app.command()
def drain(name: Name) -> None:
    """Send nothing new through a provider; what is under way ends."""
    _set(name, "drained")


@app.command()
def activate(name: Name) -> None:
    """Let a drained provider send again."""
    _set(name, "active")


def _set(name: str, status: str) -> None:
    from console import terminal
    from console.client import connected

    with connected() as api:
        answer = api.patch(f"/providers/{quote(name, safe='')}", {"status": status})
    terminal.say(f"{answer['name']} is {answer['status']}; workers follow within seconds")
