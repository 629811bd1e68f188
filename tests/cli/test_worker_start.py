"""A worker that cannot reach anything yet: it says what it waits for, and ends when it is told to."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import worker
from domain.notification import Lane

ROOT = Path(__file__).parents[2]
NOBODY = "127.0.0.1:9"


def _autogroup(pid: int) -> Path:
    return Path(f"/proc/{pid}/autogroup")


@asynccontextmanager
async def waiting_worker(lanes: str, **settings: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A worker that reaches nothing, once it has said so."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HERALD_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "worker", "--lanes", lanes),
        cwd=ROOT,
        env=environment
        | {
            "HERALD_SECRET_KEY": "secret",
            "HERALD_TEMPORAL__ADDRESS": NOBODY,
            "HERALD_DATABASE_URL": f"postgresql://herald@{NOBODY}/herald",
            "HERALD_VALKEY_URL": f"valkey://{NOBODY}/0",
        }
        | settings,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stderr
    try:
        async with asyncio.timeout(30):
            while b"temporal_unreachable" not in (line := await process.stderr.readline()):
                assert line, "it ended before it was told to"
            yield process
            process.send_signal(signal.SIGTERM)
            await process.stderr.read()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_where_an_otp_may_come_nothing_that_is_written_gathers() -> None:
    assert worker.pace_s([Lane.CRITICAL, Lane.BULK]) == 0
    assert worker.pace_s([Lane.HIGH, Lane.NORMAL, Lane.BULK]) > 0


def _nice(process: asyncio.subprocess.Process) -> set[int]:
    """How far each of its threads stands back, beyond this one."""
    threads = [int(thread.name) for thread in Path(f"/proc/{process.pid}/task").iterdir()]
    assert len(threads) > 1
    return {os.getpriority(os.PRIO_PROCESS, thread) - os.nice(0) for thread in threads}


def _session_nice(process: asyncio.subprocess.Process) -> int:
    """How far its session stands back, where the kernel groups processes by sessions: sched(7)."""
    return int(_autogroup(process.pid).read_text().split()[-1])


async def test_a_worker_that_waits_for_temporal_says_so_and_ends_on_sigterm() -> None:
    async with waiting_worker("critical"):
        pass


async def test_other_lanes_stand_back_behind_critical() -> None:
    async with (
        waiting_worker("critical") as critical,
        waiting_worker("critical,bulk") as both,
        waiting_worker("high,normal,bulk", HERALD_WORKER_NICE="3") as others,
    ):
        assert _nice(critical) == _nice(both) == {0}
        assert _nice(others) == {3}
        if _autogroup(others.pid).exists():
            assert (_session_nice(both), _session_nice(others)) == (0, 3)
