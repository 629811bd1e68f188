"""What test keys submit, through whole workers over every vendor's simulator: no vendor sees any of it."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from temporalio.client import Client
from worker_harness import ORDINARY, WorkerHarness, at_work, broadcast, until

from domain.broadcasts import BroadcastRecipient
from domain.notification import Channel, Lane
from domain.status import Status
from providers import registry
from settings import Settings
from simulators.control import Simulators
from storage.broadcasts import Broadcasts
from wiring.parts import Parts, opened

TEST = "test:bank"
WORD = f"only-a-test-{uuid4().hex[:8]}"
ENDS = {
    "+12025550100": Status.DELIVERED,
    "+12025550101": Status.UNDELIVERED,
    "+12025550104": Status.DELIVERED,
    "+12025550105": Status.DEAD_LETTERED,
}


@pytest_asyncio.fixture
async def parts(settings: Settings) -> AsyncIterator[Parts]:
    """The parts of a worker process that starts with this test and stops after it."""
    async with opened(settings, (Lane.CRITICAL, *ORDINARY)) as parts:
        await parts.limiter.establish()
        yield parts


async def nothing_reached_a_vendor(simulators: Simulators) -> None:
    for vendor in registry.KNOWN:
        assert await simulators.messages(vendor, contains=WORD) == [], vendor


async def submit_everything(harness: WorkerHarness) -> dict[UUID, Status]:
    """Submit over every channel, in every lane, with retries and failover; returns how each will end."""
    own = {"tenant": TEST, "body": WORD}
    made = {await harness.accept("quick", to_sms=number, **own): status for number, status in ENDS.items()}
    for lane, type in ((Lane.CRITICAL, "otp"), (Lane.HIGH, "news")):
        made[await harness.accept(type, lane, **own)] = Status.DELIVERED
    email, whatsapp = (Channel.EMAIL,), (Channel.WHATSAPP,)
    made[await harness.accept(channels=email, to_email="a@example.com", **own)] = Status.DELIVERED
    made[await harness.accept(channels=whatsapp, to_whatsapp="+2348031230100", **own)] = Status.DELIVERED
    user = f"u-{uuid4()}"
    await harness.execute("INSERT INTO users (tenant, user_id) VALUES ($1, $2)", TEST, user)
    await harness.execute(
        "INSERT INTO devices (tenant, user_id, device_id, fcm_token) VALUES ($1, $2, 'd', 'a token')",
        *(TEST, user),
    )
    made[await harness.accept(channels=(Channel.PUSH,), user_id=user, **own)] = Status.SENT
    # More than the threshold of batches.
    many = await asyncio.gather(*(harness.accept("news", Lane.BULK, **own) for _ in range(50)))
    return made | dict.fromkeys(many, Status.DELIVERED)


async def test_no_vendor_sees_what_test_keys_submit_before_and_after_a_restart(
    settings: Settings, client: Client, harness: WorkerHarness, simulators: Simulators
) -> None:
    submitted: dict[UUID, Status] = {}
    for _ in range(2):
        async with opened(settings, (Lane.CRITICAL, *ORDINARY)) as parts:
            await parts.limiter.establish()
            async with at_work(parts, client):
                submitted |= await submit_everything(harness)
                for id, status in submitted.items():
                    await harness.becomes(id, status)
        # The next worker finds these due.
        submitted[await harness.accept("news", tenant=TEST, body=WORD)] = Status.DELIVERED
    await nothing_reached_a_vendor(simulators)
    names = {
        row["provider"]
        for row in await harness.ledger.pool.fetch(
            "SELECT DISTINCT provider FROM notification_attempts a JOIN notifications n"
            " ON n.id = a.notification_id WHERE n.tenant = $1",
            TEST,
        )
    }
    assert {name[:9] for name in names} == {"simulated"}
    assert len(names) >= 5


async def test_no_vendor_sees_a_broadcast_of_a_test_key(
    parts: Parts, client: Client, harness: WorkerHarness, simulators: Simulators
) -> None:
    to = [
        BroadcastRecipient(n, f"u-{uuid4()}", {"sms": f"+120255501{n % 2:02d}"}, {"name": WORD})
        for n in range(1, 31)
    ]
    async with at_work(parts, client):
        id = await broadcast(parts.pool, to, tenant=TEST)

        async def all_ended() -> bool:
            found = await Broadcasts(parts.pool).read(id)
            return found is not None and found.counts.delivered == found.counts.failed == 15

        await until(all_ended)
    await nothing_reached_a_vendor(simulators)


@pytest.mark.parametrize("number", ENDS)
async def test_live_keys_reach_vendors_whatever_the_number(
    parts: Parts, client: Client, harness: WorkerHarness, simulators: Simulators, number: str
) -> None:
    word = f"a-live-one-{uuid4().hex[:8]}"
    async with at_work(parts, client):
        await harness.becomes(await harness.accept(to_sms=number, body=word), Status.SENT)
    assert len(await simulators.messages("twilio", contains=word)) == 1
