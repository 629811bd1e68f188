"""Broadcasts by a whole worker: once for each recipient, paused, cancelled, and never lost."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import pytest_asyncio
from temporalio.client import Client
from worker_harness import at_work, broadcast, until

from domain.broadcasts import Broadcast, BroadcastRecipient, BroadcastStatus, Command
from domain.ids import broadcast_workflow_id
from simulators.control import Simulators
from storage import broadcast_chunks
from storage.broadcasts import Broadcasts, apply_command
from storage.postgres import Pool, open_pool
from wiring.parts import Parts


@pytest_asyncio.fixture(scope="module")
async def broadcasts(database: str) -> AsyncIterator[Broadcasts]:
    """The broadcasts as the API uses them."""
    pool = await open_pool(database, size_max=4)
    yield Broadcasts(pool)
    await pool.close()


def recipients(count: int) -> list[BroadcastRecipient]:
    """`count` users, each with a different number and name."""
    start = random.randrange(10**6)
    return [
        BroadcastRecipient(
            number, f"user-{start}-{number}", {"sms": f"+23481{start:06}{number:02}"}, {"name": f"U{number}"}
        )
        for number in range(1, count + 1)
    ]


def number(recipient: BroadcastRecipient) -> str:
    """The recipient's number."""
    assert recipient.addresses is not None
    return recipient.addresses["sms"]


async def read(broadcasts: Broadcasts, id: UUID) -> Broadcast:
    found = await broadcasts.read(id)
    assert found is not None
    return found


async def over(broadcasts: Broadcasts, id: UUID) -> Broadcast:
    """Wait for the broadcast to end, and read it."""

    async def ended() -> bool:
        return (await read(broadcasts, id)).ended_at is not None

    await until(ended)
    return await read(broadcasts, id)


async def received(simulators: Simulators, to: list[BroadcastRecipient]) -> Counter[str]:
    """The number of messages that each recipient received, by phone number."""
    numbers = set(map(number, to))
    return Counter(
        message["to"] for message in await simulators.messages("twilio") if message["to"] in numbers
    )


async def test_each_recipient_receives_it_once_and_progress_is_exact(
    working: Parts, pool: Pool, broadcasts: Broadcasts, client: Client, simulators: Simulators
) -> None:
    to = recipients(30)
    id = await broadcast(pool, [*to, BroadcastRecipient(99, to[0].user_id, to[0].addresses)])
    done = await over(broadcasts, id)
    assert (done.status, done.total, done.accepted, done.refused) == (BroadcastStatus.COMPLETED, 31, 30, 1)
    assert (done.counts.active, done.counts.sent + done.counts.delivered) == (0, 30)
    assert done.eta_s == 0
    assert [r.code for r in await broadcasts.refused(done, 0, 10)] == ["template_value_missing"]
    assert await received(simulators, to) == Counter(map(number, to))
    assert await working.pool.fetchval("SELECT count(*) FROM broadcast_recipients") == 0
    handle = client.get_workflow_handle(broadcast_workflow_id(id))
    assert await handle.result() == BroadcastStatus.COMPLETED


async def test_a_broadcast_waits_for_a_worker(
    parts: Parts, pool: Pool, broadcasts: Broadcasts, client: Client, simulators: Simulators
) -> None:
    to = recipients(3)
    id = await broadcast(pool, to)
    assert (await read(broadcasts, id)).accepted == 0
    async with at_work(parts, client):
        await over(broadcasts, id)
    assert len(await received(simulators, to)) == 3


async def test_pause_resume_and_cancel(
    working: Parts, pool: Pool, broadcasts: Broadcasts, simulators: Simulators
) -> None:
    to = recipients(40)
    id = await broadcast(pool, to, rate_per_s=10)

    async def begun() -> bool:
        return (await read(broadcasts, id)).accepted > 0

    await until(begun)
    assert await apply_command(pool, "bank", id, Command.PAUSE)
    paused = await read(broadcasts, id)
    assert 0 < paused.accepted < 40

    async def quiet() -> bool:
        return (await read(broadcasts, id)).counts.active == 0

    await until(quiet)
    assert (await read(broadcasts, id)).accepted == paused.accepted
    assert await apply_command(pool, "bank", id, Command.RESUME)

    async def went_on() -> bool:
        return (await read(broadcasts, id)).accepted > paused.accepted

    await until(went_on)
    assert await apply_command(pool, "bank", id, Command.CANCEL)
    done = await over(broadcasts, id)
    assert done.status is BroadcastStatus.CANCELLED
    assert done.accepted < 40
    found = await received(simulators, to)
    assert set(found.values()) == {1}
    assert done.counts.sent + done.counts.delivered == len(found)
    assert done.counts.sent + done.counts.delivered + done.counts.cancelled == done.accepted


async def test_a_lost_workflow_is_started_again(
    working: Parts, pool: Pool, broadcasts: Broadcasts, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast_chunks, "LEASE_S", 1.0)
    monkeypatch.setattr("dispatcher.broadcasts.SWEEP_S", 0.2)
    id = await broadcast(pool, recipients(30), rate_per_s=10)

    async def begun() -> bool:
        return (await read(broadcasts, id)).accepted > 0

    await until(begun)
    await client.get_workflow_handle(broadcast_workflow_id(id)).terminate()
    done = await over(broadcasts, id)
    assert (done.status, done.accepted) == (BroadcastStatus.COMPLETED, 30)
