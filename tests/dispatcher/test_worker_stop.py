"""A worker stops in time, in any situation."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.client import Client
from worker_harness import WorkerHarness, at_work

from delivery.slots import InFlightSlots
from dispatcher.listener import Listener
from domain.notification import Lane
from wiring.parts import Parts

STOPS = 6
STOP_S_MAX = 12.0
"""Less than the time after which the watchdog ends a worker (runtime/shutdown.py)."""


def _listener() -> tuple[Callable[[], Awaitable[Any]], Callable[[], Any]]:
    listener = Listener("postgresql://nobody@127.0.0.1:9/none", ("herald_due",))
    return lambda: listener.wait("herald_due", 60), lambda: listener._notified(None, 0, "herald_due", "")  # pyright: ignore[reportPrivateUsage] (what asyncpg calls)


def _slots() -> tuple[Callable[[], Awaitable[Any]], Callable[[], Any]]:
    slots = InFlightSlots(1)
    slots.take("one")

    def pass_on() -> None:
        # The slot is taken again before the loop sees it free.
        slots.release("one")
        slots.take("one")

    return lambda: slots.wait_for(1, 60), pass_on


@pytest.mark.parametrize("kind", [_listener, _slots])
@pytest.mark.parametrize("turns", range(4))
async def test_a_loop_woken_while_it_is_cancelled_ends(
    kind: Callable[[], tuple[Callable[[], Awaitable[Any]], Callable[[], Any]]], turns: int
) -> None:
    wait, wake = kind()

    async def loop() -> None:
        while True:
            await wait()

    task = asyncio.create_task(loop())
    for _ in range(3):
        await asyncio.sleep(0)
    wake()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=2)
    forgot = not done
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not forgot, "it continued although it was cancelled"


async def test_a_worker_stops_in_time_while_batches_and_workflows_start(
    harness: WorkerHarness, parts: Parts, client: Client
) -> None:
    random.seed(20261127)
    for _ in range(STOPS):
        lanes = [Lane.BULK, Lane.NORMAL, Lane.HIGH] * 10
        await asyncio.gather(*(harness.accept("quick", lane) for lane in lanes))
        async with asyncio.timeout(STOP_S_MAX):
            async with at_work(parts, client):
                await asyncio.sleep(random.uniform(0, 0.5))
