"""The bare limit: workflows that do nothing, in a process of its own: `python -m bench.bare < bare.json`.

One no-op local activity in an eagerly started workflow, by a worker with the settings of Herald's
(worker.py): that much Temporal costs before anybody does anything. With `awaiting`: such an activity, a
signal, and such an activity, as of a notification that awaits its receipt.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import uvloop
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

QUEUE = "bare"
TIMEOUT = timedelta(seconds=60)
SIGNAL_AFTER_S = 0.05
"""A receipt does not overtake the workflow task that sent, or that task would run twice: the best case."""
GIVE_UP_S = 300


@dataclass(frozen=True, slots=True)
class Asked:
    """What to run: so many workflows, of which so many are under way at once."""

    address: str
    count: int
    in_flight: int
    awaiting: bool = False


@dataclass(frozen=True, slots=True)
class Bare:
    """How it went, from the first start to the last activity, after a tenth as many to warm up.

    `workflow_ids` are some of those that were run.
    """

    per_s: float
    ended_per_s: float
    cpu_ms: float
    workflow_ids: list[str]


def warm(count: int) -> int:
    """How many are run before so many are measured."""
    return max(1, count // 10)


async def run(asked: Asked) -> Bare:
    """Run it in a process of its own. Raises RuntimeError when it fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.bare"),
        cwd=Path(__file__).parent.parent,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(2 * GIVE_UP_S):
            output, errors = await process.communicate(json.dumps(asdict(asked)).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"the bare worker ended with {process.returncode}: {errors.decode()[-600:]}")
    return Bare(**json.loads(output.splitlines()[-1]))


@workflow.defn
class BareWorkflow:
    """One activity, and over."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_local_activity("nothing", start_to_close_timeout=TIMEOUT)


@workflow.defn
class BareAwaitingWorkflow:
    """An activity, a signal, an activity."""

    def __init__(self) -> None:
        self._woken = False

    @workflow.signal
    def wake(self) -> None:
        self._woken = True

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_local_activity("nothing", start_to_close_timeout=TIMEOUT)
        await workflow.wait_condition(lambda: self._woken, timeout=timedelta(minutes=10))
        await workflow.execute_local_activity("nothing", start_to_close_timeout=TIMEOUT)


class _Run:
    """Starts workflows, a bounded number at once; a place is free again when the first activity has run."""

    def __init__(self, client: Client, asked: Asked) -> None:
        self._client = client
        self._asked = asked
        self._places = asyncio.Semaphore(asked.in_flight)
        self._begun = set[str]()
        self._left = 0
        self._ended = asyncio.Event()
        self._signals = set[asyncio.Task[None]]()
        self._first_ended_at = 0.0

    @activity.defn
    async def nothing(self) -> None:
        """The activity: it only counts."""
        id = activity.info().workflow_id or ""
        first = id not in self._begun
        if first:
            self._begun.add(id)
            self._places.release()
            self._first_ended_at = time.perf_counter()
        if first and self._asked.awaiting:
            task = asyncio.create_task(self._signal(id))
            self._signals.add(task)
            task.add_done_callback(self._signals.discard)
            return
        self._left -= 1
        if not self._left:
            self._ended.set()

    async def _signal(self, id: str) -> None:
        await asyncio.sleep(SIGNAL_AFTER_S)
        await self._client.get_workflow_handle(id).signal("wake")

    async def many(self, count: int) -> tuple[float, float, list[str]]:
        """Run so many; the seconds to the last first activity, to the last of all, and their ids."""
        kind = BareAwaitingWorkflow if self._asked.awaiting else BareWorkflow
        self._left = count
        self._ended.clear()
        ids = [f"bare-{uuid4()}" for _ in range(count)]
        started = time.perf_counter()
        async with asyncio.TaskGroup() as starts:
            for id in ids:
                await self._places.acquire()
                starts.create_task(
                    self._client.start_workflow(kind.run, id=id, task_queue=QUEUE, request_eager_start=True)
                )
        await self._ended.wait()
        return self._first_ended_at - started, time.perf_counter() - started, ids


async def _main() -> None:
    asked = Asked(**json.loads(sys.stdin.read()))
    client = await Client.connect(asked.address)
    run = _Run(client, asked)
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[BareWorkflow, BareAwaitingWorkflow],
        activities=[run.nothing],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_workflow_tasks=asked.in_flight * 2,
        max_concurrent_local_activities=asked.in_flight * 4,
    )
    async with asyncio.timeout(GIVE_UP_S), worker:
        await run.many(warm(asked.count))
        cpu_s = time.process_time()
        first_s, all_s, ids = await run.many(asked.count)
        cpu_ms = (time.process_time() - cpu_s) * 1000 / asked.count
        print(
            json.dumps(asdict(Bare(asked.count / first_s, asked.count / all_s, cpu_ms, ids[-20:]))),
            flush=True,
        )
    os._exit(0)  # Core's threads can crash the interpreter on its way out of a clean shutdown.


if __name__ == "__main__":
    uvloop.run(_main())
