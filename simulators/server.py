"""All vendors in one process: each below its own prefix, with one control API for all."""

import argparse
import asyncio
import gc
import importlib
import inspect
import pkgutil
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import uvloop
from aiohttp import web

from simulators.base import Simulator, SimulatorContext
from simulators.control import Control


@dataclass(frozen=True, slots=True)
class Running:
    """The running simulators. `url` has no trailing slash."""

    url: str
    simulators: dict[str, Simulator]


@asynccontextmanager
async def serve(context: SimulatorContext, port: int = 0) -> AsyncGenerator[Running]:
    """Serve every vendor on `port` (0: any free one) until the block ends."""
    context.state_dir.mkdir(parents=True, exist_ok=True)
    simulators = {kind.name: kind(context) for kind in vendors()}
    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.add_routes(Control(simulators).routes())
    for name, simulator in simulators.items():
        app.add_routes([_below(f"/{name}", route) for route in simulator.routes()])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        for simulator in simulators.values():
            await simulator.start()
        await web.TCPSite(runner, context.host, port).start()
        yield Running(f"http://{context.host}:{runner.addresses[0][1]}", simulators)
    finally:
        for simulator in simulators.values():
            await simulator.aclose()
        await runner.cleanup()


def vendors() -> list[type[Simulator]]:
    """Every vendor: the simulator that a module of this package defines under the module's own name."""
    found: list[type[Simulator]] = []
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        defined = vars(importlib.import_module(f"simulators.{module.name}")).values()
        found += [kind for kind in defined if _is_simulator(kind) and kind.name == module.name]
    return found


def _is_simulator(value: object) -> TypeGuard[type[Simulator]]:
    return isinstance(value, type) and issubclass(value, Simulator) and not inspect.isabstract(value)


def _below(prefix: str, route: web.RouteDef) -> web.RouteDef:
    return web.RouteDef(route.method, prefix + route.path, route.handler, route.kwargs)


def main() -> None:
    """`python -m simulators`: serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m simulators", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--apns-port", type=int, default=None, help="TLS and HTTP/2; off by default")
    parser.add_argument("--smtp-port", type=int, default=None, help="SMTP; off by default")
    parser.add_argument(
        "--callback-base",
        default="http://127.0.0.1:8000/v1/callbacks",
        help="account-level callbacks go to CALLBACK_BASE/PROVIDER",
    )
    parser.add_argument("--state-dir", type=Path, required=True, help="keys and certificates are made here")
    args = parser.parse_args()
    context = SimulatorContext(
        args.callback_base.rstrip("/"), args.state_dir, args.host, args.apns_port, args.smtp_port
    )
    # A full garbage collection would pause every vendor, and free nothing: messages are kept.
    gc.freeze()
    gc.set_threshold(700, 10, 1_000_000)
    uvloop.run(_run(context, args.port))


async def _run(context: SimulatorContext, port: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with serve(context, port):
        await ended.wait()
