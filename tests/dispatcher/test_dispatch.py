"""What is due is started, woken, or given back: over a real worker, Temporal and the simulated vendors."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from office import ORDINARY, Office, at_work, event_types, settings_for, until
from temporalio.client import Client

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


async def test_what_is_accepted_is_started_eagerly_and_sent(
    office: Office, working: Parts, client: Client, simulators: Simulators
) -> None:
    id = await office.accept()
    await office.becomes(id, Status.SENT)
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
    loaded = await office.load(id)
    assert loaded.recipient.sms
    assert loaded.recipient.sms not in text
    assert "text of" not in text


async def test_one_that_runs_already_is_woken(office: Office, working: Parts, client: Client) -> None:
    id = await office.accept("otp", Lane.CRITICAL)
    await office.becomes(id, Status.SENT)
    await until(lambda: _open(client, id, "timer_started"))
    await office.execute("UPDATE due SET due_at = now(), lease_until = NULL WHERE id = $1", id)
    await office.execute("SELECT pg_notify('herald_due', '')")
    await until(lambda: _open(client, id, "workflow_execution_signaled"))


async def test_a_receipt_reaches_the_workflow_that_waits_for_it(
    office: Office, working: Parts, client: Client
) -> None:
    id = await office.accept("otp", Lane.CRITICAL)
    await office.becomes(id, Status.SENT)
    delivery = (await office.load(id)).delivery(Channel.SMS)
    inbox = Receipts(office.ledger.pool)
    ref = attempt_ref(delivery.id, 1)
    await inbox.store("twilio", [Receipt(f"{id}:delivered", ReceiptStatus.DELIVERED, attempt_ref=ref)])
    await office.becomes(id, Status.DELIVERED)
    async with asyncio.timeout(20):
        assert await client.get_workflow_handle(workflow_id(id)).result() == Status.DELIVERED
    await inbox.close(5)


async def test_what_a_dead_dispatcher_claimed_comes_back_with_its_lease(
    office: Office, parts: Parts, client: Client
) -> None:
    id = await office.accept()
    lease_s = parts.settings.catalog.dispatch.lease_s
    assert id in {claim.id for claim in await office.ledger.claim(Lane.NORMAL, 100, lease_s)}
    async with at_work(parts, client):
        await office.becomes(id, Status.SENT)


async def test_a_started_workflow_whose_worker_died_is_carried_on(
    office: Office, parts: Parts, client: Client, simulators: Simulators
) -> None:
    id = await office.accept()
    # Started, and nobody works: its worker has died with the first task.
    await client.start_workflow(
        "NotificationWorkflow",
        {"notification_id": str(id)},
        id=workflow_id(id),
        task_queue=task_queue(Lane.NORMAL),
        execution_timeout=timedelta(minutes=5),
    )
    async with at_work(parts, client):
        await office.becomes(id, Status.SENT)
    assert len(await simulators.messages("twilio", contains=f"text of {id}")) == 1


async def test_a_temporal_that_is_away_costs_no_notification(
    tmp_path: Path, database: str, valkey_server: Valkey, office: Office, simulators: Simulators
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
                before = await office.accept()
                await office.becomes(before, Status.SENT)
                await process.stop()
                ids = [await office.accept() for _ in range(10)]
                await until(lambda: _given_back(office, ids[0]))
                await process.start()
                for id in ids:
                    await office.becomes(id, Status.SENT, patience_s=60)
        for id in ids:
            assert len(await simulators.messages("twilio", contains=f"text of {id}")) == 1
    finally:
        await process.stop()


async def _given_back(office: Office, id: UUID) -> bool:
    return await office.ledger.pool.fetchval(
        "SELECT claim IS NOT NULL AND lease_until IS NULL FROM due WHERE id = $1", id
    )


async def test_the_reconciliation_finds_what_the_queue_lost(
    office: Office, working: Parts, client: Client
) -> None:
    later = await office.load(await office.accept(send_at=(await _now(office)) + timedelta(hours=1)))
    for table, column in (
        ("notifications", "id"),
        ("deliveries", "notification_id"),
        ("notification_contents", "notification_id"),
    ):
        await office.execute(
            f"UPDATE {table} SET accepted_at = accepted_at - interval '5 minutes' WHERE {column} = $1",
            later.id,
        )
    await office.execute(
        "UPDATE deliveries SET next_pass_at = now(), due_at = now() WHERE id = $1", later.deliveries[0].id
    )
    await office.execute("DELETE FROM due WHERE id = $1", later.id)
    counts = await client.execute_workflow(
        ReconciliationWorkflow.run, id="reconcile-now", task_queue=task_queue(Lane.NORMAL)
    )
    assert counts["requeued"] == 1
    await office.becomes(later.id, Status.SENT)
    again = await client.execute_workflow(
        ReconciliationWorkflow.run, id="reconcile-again", task_queue=task_queue(Lane.NORMAL)
    )
    assert again["requeued"] == 0


async def _now(office: Office) -> datetime:
    return await office.ledger.pool.fetchval("SELECT now()")


async def test_a_listener_that_lost_its_connection_listens_again(database: str, office: Office) -> None:
    listener = Listener(database, ("tests_heard",))
    running = asyncio.create_task(listener.run())
    try:
        async with asyncio.timeout(20):
            await listener.wait("tests_heard", 20)
        before = asyncio.get_running_loop().time()
        connection = await asyncpg.connect(database)
        killed = await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE query LIKE 'LISTEN%tests_heard%' AND pid <> pg_backend_pid()"
        )
        assert killed == 1
        # It wakes its waiters once it listens again: what was notified meanwhile is looked for.
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
async def test_every_lane_is_served(office: Office, working: Parts, lane: Lane) -> None:
    id = await office.accept(lane=lane)
    await office.becomes(id, Status.SENT)
