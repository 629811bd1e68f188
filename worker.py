"""The worker process: runs the Temporal workers and the loops of its lanes until it is stopped."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import structlog
import uvloop
from temporalio.client import Client

from dispatcher.loop import run_rounds
from domain.notification import Lane
from runtime.shutdown import ShutdownWatchdog
from settings import Settings, SettingsError
from telemetry import logs
from telemetry.loop_watch import LoopWatch
from temporal.client import connect
from wiring.parts import Parts, opened
from wiring.startup import establish_limits, keep_schedule
from wiring.workers import listener_of, loops_of, signals_of, workers_of

log = structlog.stdlib.get_logger("herald.worker")

_Result = TypeVar("_Result")


async def run(settings: Settings, lanes: Sequence[Lane]) -> None:
    """Run until SIGTERM or SIGINT; calls under way finish, and their outcomes are recorded."""
    logs.configure(settings.log_level, settings.log_format)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with opened(settings, lanes) as parts:
        client = await _unless(stop, ready(parts))
        if client is None:
            return
        stop_serving = (
            parts.metrics.serve(settings.metrics_port, settings.metrics_host)
            if settings.metrics_port
            else None
        )
        watch = LoopWatch(parts.metrics.event_loop_held_seconds.record)
        watch.start()
        await work(parts, client, stop)
        watch.stop()
        if stop_serving:
            stop_serving()
    log.info("worker_stopped")


async def ready(parts: Parts) -> Client:
    """Wait until all stores and Temporal answer; returns the Temporal client."""
    temporal = parts.settings.temporal
    client = await connect(
        temporal.address,
        temporal.namespace,
        api_key=temporal.api_key_in_clear,
        tls=temporal.tls_files,
    )
    if set(parts.lanes) != {Lane.CRITICAL}:
        await keep_schedule(client)
    await establish_limits(parts.ledger, parts.limiter)
    return client


async def work(parts: Parts, client: Client, stop: asyncio.Event) -> None:
    """Run the Temporal workers and the loops until `stop` is set, or until a loop fails."""
    listener = listener_of(parts)
    loops = loops_of(parts, client, listener)
    watchdog = ShutdownWatchdog()
    parts.stopping.clear()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(watchdog.stop)
        for worker in workers_of(parts, client):
            await stack.enter_async_context(worker)
        running = [
            asyncio.create_task(listener.run()),
            asyncio.create_task(signals_of(client, listener).run()),
            *(asyncio.create_task(run_rounds(loop)) for loop in loops),
        ]
        log.info(
            "worker_ready",
            lanes=[lane.value for lane in parts.lanes],
            providers=sorted(name for name, one in parts.providers.items() if not one.capabilities.simulated),
        )
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopping, *running], return_when=asyncio.FIRST_COMPLETED)
        watchdog.start(2 * parts.grace_s)
        parts.stopping.set()
        for task in (*running, stopping):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for task in done - {stopping}:
            task.result()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, _Result]) -> _Result | None:
    """Await the work. None: `stop` was set before it ended."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


def main(settings: Settings, lanes: Sequence[Lane]) -> None:
    """Run a worker process to its end.

    Exits by os._exit: Core's threads can crash the interpreter during a clean shutdown.
    """
    code = 0
    try:
        # Modules are never garbage: scanning them again and again would delay an OTP by 0.1 s.
        gc.freeze()
        # Like the API: a batch costs 5% less on uvloop than on asyncio's own loop.
        uvloop.run(run(settings, lanes))
    except SettingsError as error:
        sys.stderr.write(f"herald: {error}\n")
        code = 1
    except Exception:
        log.exception("worker_failed")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
