"""A worker that cannot reach anything yet: it says what it waits for, and ends when it is told to."""

import asyncio
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOBODY = "127.0.0.1:9"


async def test_a_worker_that_waits_for_temporal_says_so_and_ends_on_sigterm() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HERALD_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "worker", "--lanes", "critical"),
        cwd=ROOT,
        env=environment
        | {
            "HERALD_SECRET_KEY": "secret",
            "HERALD_TEMPORAL__ADDRESS": NOBODY,
            "HERALD_DATABASE_URL": f"postgresql://herald@{NOBODY}/herald",
            "HERALD_VALKEY_URL": f"valkey://{NOBODY}/0",
        },
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert process.stderr
    async with asyncio.timeout(30):
        while b"temporal_unreachable" not in (line := await process.stderr.readline()):
            assert line, "it ended before it was told to"
        process.send_signal(signal.SIGTERM)
        await process.stderr.read()
        assert await process.wait() == 0
