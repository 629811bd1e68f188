"""Temporal's own limit: workflows that do nothing, in their own process.

One no-op local activity in an eagerly started workflow, by a worker with Herald's settings (worker.py): what
Temporal costs before the application does anything. `awaiting` adds a signal and a second activity, like a
notification that waits for its receipt. Reads a `Baseline` as JSON from standard input.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from uuid import uuid4

import uvloop
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bench.child import output_of_module

QUEUE = "baseline"
TIMEOUT = timedelta(seconds=60)
SIGNAL_AFTER_S = 0.05
"""A real receipt comes after the workflow task that sent; an earlier signal would run that task twice."""
GIVE_UP_S = 300


@dataclass(frozen=True, slots=True)
class Baseline:
    """What to run: `count` workflows, at most `in_flight` of them at a time."""

    address: str
    count: int
    in_flight: int
    awaiting: bool = False


@dataclass(frozen=True, slots=True)
class BaselineResult:
    """Rates and CPU from the first start to the last activity, after a warm-up of a tenth as many.

    `workflow_ids` are a sample.
    """

    per_s: float
    ended_per_s: float
    cpu_ms: float
    workflow_ids: list[str]


def warm_up_count(count: int) -> int:
    """How many workflows warm up a run of `count`."""
    return max(1, count // 10)


async def run(baseline: Baseline) -> BaselineResult:
    """Run it in its own process. Raises RuntimeError when it fails."""
    output = await output_of_module(
        "bench.temporal_baseline", json.dumps(asdict(baseline)), within_s=2 * GIVE_UP_S
    )
    return BaselineResult(**json.loads(output.splitlines()[-1]))


@workflow.defn
class BaselineWorkflow:
    """One activity."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_local_activity("nothing", start_to_close_timeout=TIMEOUT)


@workflow.defn
class AwaitingBaselineWorkflow:
    """An activity, a signal, an activity."""

    def __init__(self) -> None:
        self._signalled = False

    @workflow.signal
    def wake(self) -> None:
        self._signalled = True

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_local_activity("nothing", start_to_close_timeout=TIMEOUT)
        await workflow.wait_condition(lambda: self._signalled, timeout=timedelta(minutes=10))
        await workflow.execute_local_activity("nothing", start_to_close_timeout=TIMEOUT)


class _Run:
    """Starts workflows, a bounded number at a time; a slot is free again after the first activity."""

    def __init__(self, client: Client, baseline: Baseline) -> None:
        self._client = client
        self._baseline = baseline
        self._slots = asyncio.Semaphore(baseline.in_flight)
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
            self._slots.release()
            self._first_ended_at = time.perf_counter()
        if first and self._baseline.awaiting:
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
        """Run `count`; the seconds to the last first activity, to the last of all, and their ids."""
        kind = AwaitingBaselineWorkflow if self._baseline.awaiting else BaselineWorkflow
        self._left = count
        self._ended.clear()
        ids = [f"baseline-{uuid4()}" for _ in range(count)]
        started = time.perf_counter()
        async with asyncio.TaskGroup() as starts:
            for id in ids:
                await self._slots.acquire()
                starts.create_task(
                    self._client.start_workflow(kind.run, id=id, task_queue=QUEUE, request_eager_start=True)
                )
        await self._ended.wait()
        return self._first_ended_at - started, time.perf_counter() - started, ids


async def _main() -> None:
    baseline = Baseline(**json.loads(sys.stdin.read()))
    client = await Client.connect(baseline.address)
    run = _Run(client, baseline)
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[BaselineWorkflow, AwaitingBaselineWorkflow],
        activities=[run.nothing],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_workflow_tasks=baseline.in_flight * 2,
        max_concurrent_local_activities=baseline.in_flight * 4,
    )
    async with asyncio.timeout(GIVE_UP_S), worker:
        await run.many(warm_up_count(baseline.count))
        cpu_s = time.process_time()
        first_s, all_s, ids = await run.many(baseline.count)
        cpu_ms = (time.process_time() - cpu_s) * 1000 / baseline.count
        result = BaselineResult(baseline.count / first_s, baseline.count / all_s, cpu_ms, ids[-20:])
        print(json.dumps(asdict(result)), flush=True)
    os._exit(0)  # Core's threads can crash the interpreter on its way out of a clean shutdown.


if __name__ == "__main__":
    uvloop.run(_main())
