"""`herald dev`: the stack, until it is told to stop."""

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


def run(
    data_dir: Path,
    port_offset: int = 0,
    fresh: bool = False,
    simulators: bool = True,
    application: Application = herald.application,
) -> int:
    """Run the stack until Ctrl-C or SIGTERM; the exit code, 1 after one readable message."""
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
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), markup=False)
        return 1
    return 0


async def _serve(console: Console, stack: Stack) -> None:
    async with AsyncExitStack() as running:
        with console.status("starting …"):
            await running.enter_async_context(stack)
        console.print(_overview(stack))
        await asyncio.Event().wait()


def _overview(stack: Stack) -> Table:
    described = stack.description
    table = Table(title="Herald", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "API": described["api_url"],
        "API documentation": f"{described['api_url']}/docs",
        "development API key": described["api_key"],
        "Temporal Web UI": described["temporal_ui_url"],
        "Temporal": described["temporal_address"],
        "Postgres": described["database_url"],
        "Valkey": described["valkey_url"],
        "simulators": described["simulators_url"],
        "APNs simulator": described["apns_url"],
        "logs": str(stack.logs),
        "description": str(stack.logs.parent / "dev.json"),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    table.caption = "Ctrl-C stops everything."
    return table
