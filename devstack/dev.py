"""`herald dev`: run the stack until Ctrl-C or SIGTERM."""

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from devstack import herald
from devstack.errors import DevStackError
from devstack.ports import Ports
from devstack.signals import until_stopped
from devstack.stack import Application, Stack

OVERVIEW_CHARS = 200
"""The width of the overview: a terminal wraps it, and a key can still be copied whole."""


def run(
    data_dir: Path,
    port_offset: int = 0,
    fresh: bool = False,
    simulators: bool = True,
    application: Application = herald.application,
) -> int:
    """Run the stack until Ctrl-C or SIGTERM. Returns the exit code; prints an error and returns 1."""
    console = Console(highlight=False)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    try:
        ports = Ports.shifted(port_offset)
        stack = Stack(
            data_dir,
            ports,
            os.environ,
            simulators=simulators,
            fresh=fresh,
            application=application,
            say=say,
        )
        asyncio.run(until_stopped(_serve(console, stack), say, stack.kill))
    except DevStackError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"herald: {error}", markup=False)
        return 1
    return 0


async def _serve(console: Console, stack: Stack) -> None:
    async with AsyncExitStack() as running:
        with console.status("starting …"):
            await running.enter_async_context(stack)
        console.print(_overview(stack), width=OVERVIEW_CHARS, crop=False)
        await asyncio.Event().wait()


def _overview(stack: Stack) -> Table:
    description = stack.description
    table = Table(title="Herald", show_header=False, title_justify="left", box=None, caption_justify="left")
    table.add_column(style="bold")
    table.add_column(no_wrap=True)
    rows = {
        "API": description["api_url"],
        "API documentation": f"{description['api_url']}/docs",
        "development API key": description["api_key"],
        "key of the installation": description["operator_key"],
        "Temporal Web UI": description["temporal_ui_url"],
        "Temporal": description["temporal_address"],
        "Postgres": description["database_url"],
        "Valkey": description["valkey_url"],
        "simulators": description["simulators_url"],
        "APNs simulator": description["apns_url"],
        "logs": str(stack.logs),
        "description": str(stack.logs.parent / "dev.json"),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    table.caption = "Press Ctrl-C to stop."
    return table
