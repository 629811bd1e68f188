"""Serves a small ASGI application in its own process, as Herald's API is served."""

import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from devstack.herald import ROOT, answers
from devstack.ports import free_port
from devstack.process import Part, Process


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str
    pid: int


@asynccontextmanager
async def served(module: str, logs: Path, environment: Mapping[str, str]) -> AsyncGenerator[Server]:
    """Serve `module:app` with uvicorn, in one process, inside the block. Raises DevStackError."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = Process(
        Part(
            name=module,
            command=(
                *(sys.executable, "-m", "uvicorn", f"{module}:app", "--port", str(port)),
                *("--loop", "uvloop", "--no-access-log", "--log-level", "warning"),
            ),
            ready=answers(f"{url}/healthz"),
            cwd=ROOT,
            env={**os.environ, **environment},
        ),
        logs,
    )
    await process.start()
    try:
        yield Server(url, process.pid)
    finally:
        await process.stop()
