"""A worker that starts without its stores: it logs what it waits for, and stops on SIGTERM."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from domain.notification import Lane
from wiring.parts import linger_s

ROOT = Path(__file__).parents[2]
UNREACHABLE = "127.0.0.1:9"


def _autogroup(pid: int) -> Path:
    return Path(f"/proc/{pid}/autogroup")


@asynccontextmanager
async def waiting_worker(lanes: str, **settings: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A worker that cannot reach its stores, after it has logged that."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HERALD_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "worker", "--lanes", lanes),
        cwd=ROOT,
        env=environment
        | {
            "HERALD_SECRET_KEY": "tests-secret-8c1f6be2d40a97e35b12",
            "HERALD_TEMPORAL__ADDRESS": UNREACHABLE,
            "HERALD_DATABASE_URL": f"postgresql://herald@{UNREACHABLE}/herald",
            "HERALD_VALKEY_URL": f"valkey://{UNREACHABLE}/0",
        }
        | settings,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stderr
    try:
        async with asyncio.timeout(60):
            while b"temporal_unreachable" not in (line := await process.stderr.readline()):
                assert line, "the worker ended early"
            yield process
            process.send_signal(signal.SIGTERM)
            await process.stderr.read()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_workers_with_the_critical_lane_do_not_linger_for_group_commits() -> None:
    assert linger_s([Lane.CRITICAL, Lane.BULK]) == 0
    assert linger_s([Lane.HIGH, Lane.NORMAL, Lane.BULK]) > 0


def _nice(process: asyncio.subprocess.Process) -> set[int]:
    """The nice values of its threads, relative to this process."""
    threads = [int(thread.name) for thread in Path(f"/proc/{process.pid}/task").iterdir()]
    assert len(threads) > 1
    return {os.getpriority(os.PRIO_PROCESS, thread) - os.nice(0) for thread in threads}


def _session_nice(process: asyncio.subprocess.Process) -> int:
    """The nice value of its session, where the kernel groups processes by session: sched(7)."""
    return int(_autogroup(process.pid).read_text().split()[-1])


async def test_a_worker_that_waits_for_temporal_logs_it_and_stops_on_sigterm() -> None:
    async with waiting_worker("critical"):
        pass


async def test_workers_without_the_critical_lane_have_lower_cpu_priority() -> None:
    async with (
        waiting_worker("critical") as critical,
        waiting_worker("critical,bulk") as both,
        waiting_worker("high,normal,bulk", HERALD_WORKER_NICE="3") as others,
    ):
        assert _nice(critical) == _nice(both) == {0}
        assert _nice(others) == {3}
        if _autogroup(others.pid).exists():
            assert (_session_nice(both), _session_nice(others)) == (0, 3)
