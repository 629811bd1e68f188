"""Batches over a real worker, Temporal and the simulated vendors, also after kill -9."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from worker_harness import WorkerHarness, at_work, environment, until

from devstack.process import Part, Process
from devstack.temporal import Temporal
from devstack.valkey import Valkey
from domain.ids import workflow_id
from domain.notification import Channel, Lane
from domain.outcome import Outcome
from domain.status import Status
from simulators.control import Simulators
from wiring.parts import Parts

ROOT = Path(__file__).parents[2]


async def _many(
    harness: WorkerHarness, count: int, lane: Lane = Lane.BULK, type: str = "quick"
) -> list[UUID]:
    return list(await asyncio.gather(*(harness.accept(type, lane) for _ in range(count))))


async def _all_are(harness: WorkerHarness, ids: list[UUID], status: Status, patience_s: float = 60) -> None:
    async def holds() -> bool:
        return len(ids) == await harness.ledger.pool.fetchval(
            "SELECT count(*) FROM notifications WHERE id = ANY($1) AND status = $2", ids, status.value
        )

    await until(holds, patience_s)


async def _all_reached(harness: WorkerHarness, ids: list[UUID]) -> bool:
    """Whether all were sent: some may have been reported as delivered since."""
    return len(ids) == await harness.ledger.pool.fetchval(
        "SELECT count(*) FROM notifications WHERE id = ANY($1) AND status IN ('sent', 'delivered')", ids
    )


async def _sent_once(simulators: Simulators, ids: list[UUID]) -> bool:
    texts = [message["text"] for message in await simulators.messages("twilio")]
    return all(texts.count(f"text of {id}") == 1 for id in ids)


async def _own_runs(client: Client, ids: list[UUID]) -> list[UUID]:
    """The ids that had their own workflow."""

    async def has(id: UUID) -> bool:
        try:
            await client.get_workflow_handle(workflow_id(id)).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    return [id for id in ids if await has(id)]


async def _batch_of(harness: WorkerHarness, ids: list[UUID]) -> str | None:
    return await harness.ledger.pool.fetchval(
        "SELECT batch_id::text FROM due WHERE id = ANY($1) AND batch_id IS NOT NULL LIMIT 1", ids
    )


async def test_the_bulk_lane_runs_in_one_batch_workflow(
    harness: WorkerHarness, parts: Parts, client: Client, simulators: Simulators
) -> None:
    ids = await _many(harness, 30)
    for id in ids:
        number = (await harness.load(id)).recipient.sms
        await simulators.fault("twilio", "latency", number, latency_s=0.5)
    async with at_work(parts, client):
        await until(lambda: _batch_of(harness, ids))
        batch = client.get_workflow_handle(f"batch-{await _batch_of(harness, ids)}")
        await _all_are(harness, ids, Status.SENT)
        progress = await batch.result()
    assert (progress["taken"], progress["settled"], progress["promoted"]) == (30, 30, 0)
    assert await _own_runs(client, ids) == []
    assert await _sent_once(simulators, ids)
    text = (await batch.fetch_history()).to_json()
    assert "text of" not in text
    assert "+234" not in text


async def test_failed_notifications_get_their_own_workflow(
    harness: WorkerHarness, working: Parts, client: Client, simulators: Simulators
) -> None:
    numbers = await _number_of_failing(simulators)
    failing = [await harness.accept("quick", Lane.BULK, to_sms=number) for number in numbers]
    fine = await _many(harness, 20)
    await _all_are(harness, [*failing, *fine], Status.SENT)
    assert await _own_runs(client, [*failing, *fine]) == failing
    assert await _sent_once(simulators, [*failing, *fine])


async def _number_of_failing(simulators: Simulators) -> list[str]:
    """Numbers for which the first call of every vendor fails."""
    numbers = ["+2348190000001", "+2348190000002"]
    for number in numbers:
        for vendor in ("twilio", "termii"):
            await simulators.fault(vendor, "status", number, status=503, times=1)
    return numbers


@pytest.mark.parametrize("first", [True, False], ids=["strategy first", "await_receipt"])
async def test_notifications_that_await_receipts_are_not_batched(
    harness: WorkerHarness, working: Parts, client: Client, first: bool
) -> None:
    more = (
        {"strategy": "first", "channels": (Channel.SMS, Channel.EMAIL)}
        if first
        else {"dedicated_workflow": True}
    )
    id = await harness.accept("quick" if first else "otp", Lane.BULK, **more)
    await harness.becomes(id, Status.SENT)
    assert await _own_runs(client, [id]) == [id]


async def test_a_spike_in_another_lane_is_batched(
    harness: WorkerHarness, parts: Parts, client: Client, simulators: Simulators
) -> None:
    ids = await _many(harness, 150, Lane.NORMAL)
    async with at_work(parts, client):
        await _all_are(harness, ids, Status.SENT)
        alone = await harness.accept("quick", Lane.NORMAL)
        await harness.becomes(alone, Status.SENT)
    assert len(await _own_runs(client, ids)) < 100
    assert await _sent_once(simulators, [*ids, alone])


async def test_a_spike_of_one_tenant_leaves_the_others_their_workflows(
    harness: WorkerHarness, parts: Parts, client: Client, simulators: Simulators
) -> None:
    ids = list(
        await asyncio.gather(*(harness.accept("quick", Lane.NORMAL, tenant="burst") for _ in range(150)))
    )
    for id in ids:
        number = (await harness.load(id)).recipient.sms
        await simulators.fault("twilio", "latency", number, latency_s=0.5)
    async with at_work(parts, client):
        await until(lambda: _batch_of(harness, ids))
        quiet = [await harness.accept("quick", Lane.NORMAL, tenant="quiet") for _ in range(10)]
        await _all_are(harness, [*quiet, *ids], Status.SENT)
    assert await _own_runs(client, quiet) == quiet
    assert len(await _own_runs(client, ids)) < 100
    assert await _sent_once(simulators, [*ids, *quiet])


@pytest_asyncio.fixture
async def process(
    tmp_path: Path, database: str, valkey_server: Valkey, temporal: Temporal, simulators: Simulators
) -> AsyncIterator[Process]:
    """A worker in a separate process, to be killed."""
    variables = environment(
        tmp_path, database, valkey_server.url(15), temporal.address, await simulators.settings()
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HERALD_")}

    async def ready(process: Process) -> bool:
        return "worker_ready" in process.output()

    part = Part(
        name="worker",
        command=(sys.executable, "-m", "cli", "worker", "--lanes", "high,normal,bulk"),
        ready=ready,
        cwd=ROOT,
        env={**inherited, **variables, "HERALD_ROUTES__SMS": "twilio"},
        ready_within_s=60,
    )
    process = Process(part, tmp_path / "logs")
    yield process
    await process.stop()


async def test_kill_9_during_a_batch_sends_each_notification_exactly_once(
    harness: WorkerHarness, process: Process, client: Client, simulators: Simulators
) -> None:
    ids = await _many(harness, 300)
    for id in ids[100:]:
        # The vendor accepts it, and its answer comes too late to be recorded.
        number = (await harness.load(id)).recipient.sms
        await simulators.fault("twilio", "accept_then_stall", number, latency_s=3, times=1)
    await process.start()
    await until(lambda: _has_some_open(harness, ids))
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    open_now = await _open(harness, ids)
    assert open_now, "it was killed during calls"
    await process.start()
    await until(lambda: _all_reached(harness, ids), patience_s=120)
    assert await _sent_once(simulators, ids)
    resolved = await harness.ledger.pool.fetch(
        "SELECT notification_id, outcome FROM notification_attempts WHERE notification_id = ANY($1)"
        " AND resolved_by = 'lookup'",
        open_now,
    )
    assert {row["outcome"] for row in resolved} <= {Outcome.ACCEPTED, Outcome.NOT_SENT}
    assert {row["notification_id"] for row in resolved} == set(open_now)


async def _open(harness: WorkerHarness, ids: list[UUID]) -> list[UUID]:
    rows = await harness.ledger.pool.fetch(
        "SELECT notification_id FROM notification_attempts"
        " WHERE notification_id = ANY($1) AND outcome IS NULL",
        ids,
    )
    return [row["notification_id"] for row in rows]


async def _has_some_open(harness: WorkerHarness, ids: list[UUID]) -> bool:
    return len(await _open(harness, ids)) >= 30
