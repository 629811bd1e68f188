"""Runs a program alongside the benchmark, with a time limit, and returns what it prints."""

import asyncio
import os
import sys
from collections.abc import Mapping

from bench.report import ROOT


async def output_of(
    *command: str, within_s: float, stdin: str = "", environment: Mapping[str, str] | None = None
) -> str:
    """Run a command and return its standard output. It is killed when the caller is cancelled.

    Raises TimeoutError after `within_s`, and RuntimeError when the command fails.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(within_s):
            output, errors = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        message = errors.decode(errors="replace")[-600:]
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {message}")
    return output.decode()


async def output_of_module(module: str, stdin: str, within_s: float) -> str:
    """Run a module of this repository in its own process, as `output_of` does."""
    return await output_of(sys.executable, "-m", module, within_s=within_s, stdin=stdin)
