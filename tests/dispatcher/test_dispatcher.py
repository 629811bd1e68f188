"""Due notifications are started, woken, or returned: over a real worker, Temporal and simulated vendors."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from deliveries import delivery_over
from temporalio.client import Client
from worker_harness import ORDINARY, WorkerHarness, at_work, event_types, settings_for, until

from devstack.ports import free_port
from devstack.process import Process
from devstack.temporal import Temporal
from devstack.valkey import Valkey
from dispatcher.listener import RECONNECT_S, Listener
from domain.ids import attempt_ref, workflow_id
from domain.notification import Channel, Lane
from domain.outcome import Receipt, ReceiptStatus
from domain.status import Status
from simulators.control import Simulators
from storage.receipts import Receipts
from temporal.task_queues import task_queue
from wiring.parts import Parts, opened
from workflows.reconciliation import ReconciliationWorkflow


async def _open(client: Client, id: UUID, event: str) -> bool:
    described = await client.get_workflow_handle(workflow_id(id)).describe()
    return described.close_time is None and event in await event_types(client, id)


async def test_an_accepted_notification_is_started_eagerly_and_sent(
    harness: WorkerHarness, working: Parts, client: Client, simulators: Simulators
) -> None:
    id = await harness.accept()
    await harness.becomes(id, Status.SENT)
    assert len(await simulators.messages("twilio", contains=f"text of {id}")) == 1
    handle = client.get_workflow_handle(workflow_id(id))
    assert await handle.result() == Status.SENT
    history = await handle.fetch_history()
    started = history.events[0].workflow_execution_started_event_attributes
    assert started.eager_execution_accepted
    assert "activity_task_scheduled" not in await event_types(client, id)
    described = await handle.describe()
    summary = await described.static_summary()
    assert summary
    assert summary.startswith("news → sms (+234•••••")
    text = history.to_json()
    loaded = await harness.load(id)
    assert loaded.recipient.sms
    assert loaded.recipient.sms not in text
    assert "text of" not in text


async def test_a_running_workflow_is_woken(harness: WorkerHarness, working: Parts, client: Client) -> None:
    id = await harness.accept("otp", Lane.CRITICAL)
    await harness.becomes(id, Status.SENT)
    await until(lambda: _open(client, id, "timer_started"))
    await harness.execute("UPDATE due SET due_at = now(), lease_until = NULL WHERE id = $1", id)
    await harness.execute("SELECT pg_notify('herald_due', '')")
    await until(lambda: _open(client, id, "workflow_execution_signaled"))


async def test_a_receipt_wakes_the_waiting_workflow(
    harness: WorkerHarness, working: Parts, client: Client
) -> None:
    id = await harness.accept("otp", Lane.CRITICAL)
    await harness.becomes(id, Status.SENT)
    delivery = delivery_over((await harness.load(id)), Channel.SMS)
    inbox = Receipts(harness.ledger.pool)
    ref = attempt_ref(delivery.id, 1)
    await inbox.store("twilio", [Receipt(f"{id}:delivered", ReceiptStatus.DELIVERED, attempt_ref=ref)])
    await harness.becomes(id, Status.DELIVERED)
    async with asyncio.timeout(60):
        assert await client.get_workflow_handle(workflow_id(id)).result() == Status.DELIVERED
    await inbox.close(5)


async def test_claims_of_a_dead_dispatcher_return_when_their_lease_ends(
    harness: WorkerHarness, parts: Parts, client: Client
) -> None:
    id = await harness.accept()
    lease_s = parts.settings.catalog.dispatch.lease_s
    assert id in {claim.id for claim in await harness.ledger.claim(Lane.NORMAL, 100, lease_s)}
    async with at_work(parts, client):
        await harness.becomes(id, Status.SENT)


async def test_a_workflow_whose_worker_died_is_continued(
    harness: WorkerHarness, parts: Parts, client: Client, simulators: Simulators
) -> None:
    id = await harness.accept()
    # Started, but no worker runs it: its worker died with the first task.
    await client.start_workflow(
        "NotificationWorkflow",
        {"notification_id": str(id)},
        id=workflow_id(id),
        task_queue=task_queue(Lane.NORMAL),
        execution_timeout=timedelta(minutes=5),
    )
    async with at_work(parts, client):
        await harness.becomes(id, Status.SENT)
    assert len(await simulators.messages("twilio", contains=f"text of {id}")) == 1


async def test_a_temporal_outage_loses_no_notification(
    tmp_path: Path, database: str, valkey_server: Valkey, harness: WorkerHarness, simulators: Simulators
) -> None:
    server = Temporal(tmp_path / "temporal", free_port(), free_port())
    process = Process(server.part(), tmp_path / "logs")
    await process.start()
    vendors = await simulators.settings()
    settings = settings_for(tmp_path, database, valkey_server.url(15), server.address, vendors)
    try:
        async with opened(settings, ORDINARY) as parts:
            client = await Client.connect(server.address)
            async with at_work(parts, client):
                before = await harness.accept()
                await harness.becomes(before, Status.SENT)
                await process.stop()
                ids = [await harness.accept() for _ in range(10)]
                await until(lambda: _given_back(harness, ids[0]))
                await process.start()
                for id in ids:
                    await harness.becomes(id, Status.SENT, patience_s=60)
        for id in ids:
            assert len(await simulators.messages("twilio", contains=f"text of {id}")) == 1
    finally:
        await process.stop()


async def _given_back(harness: WorkerHarness, id: UUID) -> bool:
    return await harness.ledger.pool.fetchval(
        "SELECT claim IS NOT NULL AND lease_until IS NULL FROM due WHERE id = $1", id
    )


async def test_reconciliation_requeues_lost_notifications(
    harness: WorkerHarness, working: Parts, client: Client
) -> None:
    later = await harness.load(await harness.accept(send_at=(await _now(harness)) + timedelta(hours=1)))
    for table, column in (
        ("notifications", "id"),
        ("deliveries", "notification_id"),
        ("notification_contents", "notification_id"),
    ):
        await harness.execute(
            f"UPDATE {table} SET accepted_at = accepted_at - interval '5 minutes' WHERE {column} = $1",
            later.id,
        )
    await harness.execute(
        "UPDATE deliveries SET next_pass_at = now(), due_at = now() WHERE id = $1", later.deliveries[0].id
    )
    await harness.execute("DELETE FROM due WHERE id = $1", later.id)
    await client.execute_workflow(
        ReconciliationWorkflow.run, id="reconcile-now", task_queue=task_queue(Lane.NORMAL)
    )
    await harness.becomes(later.id, Status.SENT)


async def _now(harness: WorkerHarness) -> datetime:
    return await harness.ledger.pool.fetchval("SELECT now()")


async def test_a_listener_reconnects(database: str, harness: WorkerHarness) -> None:
    listener = Listener(database, ("tests_heard",))
    running = asyncio.create_task(listener.run())
    try:
        async with asyncio.timeout(60):
            await listener.wait("tests_heard", 20)
        before = asyncio.get_running_loop().time()
        connection = await asyncpg.connect(database)
        killed = await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE query LIKE 'LISTEN%tests_heard%' AND pid <> pg_backend_pid()"
        )
        assert killed == 1
        # It wakes its waiters once it listens again: notifications may have been missed.
        await listener.wait("tests_heard", 20)
        assert asyncio.get_running_loop().time() - before < RECONNECT_S + 10
        await connection.execute("NOTIFY tests_heard")
        await listener.wait("tests_heard", 20)
        assert asyncio.get_running_loop().time() - before < 20
        await connection.close()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("lane", [Lane.CRITICAL, Lane.BULK])
async def test_every_lane_is_served(harness: WorkerHarness, working: Parts, lane: Lane) -> None:
    id = await harness.accept(lane=lane)
    await harness.becomes(id, Status.SENT)
