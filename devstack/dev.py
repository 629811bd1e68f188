"""`herald dev`: the stack, until it is told to stop."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from devstack import herald
from devstack.errors import DevStackError
from devstack.ports import Ports
from devstack.stack import Application, Stack

_SAME_REQUEST_S = 1
"""Whoever runs this may signal it and its process group at once; only a later signal is impatience."""

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
        return asyncio.run(_until_stopped(console, stack, say))
    except DevStackError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), markup=False)
        return 1


async def _until_stopped(console: Console, stack: Stack, say: Callable[[str], None]) -> int:
    serving = asyncio.create_task(_serve(console, stack))
    loop = asyncio.get_running_loop()
    asked_at: float | None = None

    def stop() -> None:
        nonlocal asked_at
        if asked_at is None:
            asked_at = loop.time()
            say("stopping …")
            serving.cancel()
        elif loop.time() - asked_at > _SAME_REQUEST_S:
            stack.kill()

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        await serving
    except asyncio.CancelledError:
        say("stopped")
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
