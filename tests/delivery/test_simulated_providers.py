"""What test keys send reaches simulated providers only, over every channel; nothing else reaches those."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio
from delivery_case import TENANT, Case, Submitter, Worker, catalog
from phone_numbers import unused_number
from watched_ledger import WatchedLedger

from delivery.modes import WrongMode
from delivery.operator_commands import OperatorCommands
from domain.audit import Origin, chain_key
from domain.notification import Channel
from domain.operator_decisions import Retry
from domain.routing import Route
from domain.status import Status
from providers import registry, simulated
from providers.base import Provider
from providers.simulated import MAGIC, Behaviour
from ratelimit.limiter import Limiter
from storage.audit import AuditLog
from storage.postgres import Pool
from storage.queries import Queries
from storage.receipts import Receipts

TEST = f"test:{TENANT}"
VENDORS = tuple(registry.KNOWN)
CODES = {behaviour: digits for digits, behaviour in MAGIC.items()}
MakeWorker = Callable[..., Worker]


@pytest_asyncio.fixture
async def providers(
    vendors: Mapping[str, Provider], receipts: Receipts
) -> AsyncIterator[dict[str, Provider]]:
    """Every real adapter, with its vendor's simulator behind it, and the simulated ones."""
    built = simulated.build(receipts.store)
    yield {**vendors, **built}
    for provider in built.values():
        await provider.aclose()


@pytest.fixture
def worker(pool: Pool, receipts: Receipts, limiter: Limiter, providers: dict[str, Provider]) -> Worker:
    return Worker(WatchedLedger(pool), receipts, limiter, providers, catalog())


async def accept(
    submitter: Submitter, channel: Channel, behaviour: Behaviour, type: str = "must", **more: Any
) -> Case:
    """Submit with a test key to a magic address of the channel."""
    number = f"{unused_number()[:-4]}{CODES[behaviour]}"
    to: dict[str, Any] = {
        Channel.SMS: {"to": number},
        Channel.WHATSAPP: {"to_whatsapp": number},
        Channel.EMAIL: {"to_email": f"{behaviour}+{number[1:]}@example.com"},
        Channel.PUSH: {},
    }[channel]
    case = await submitter.accept(type, tenant=TEST, channels=(channel,), **to, **more)
    if channel is Channel.PUSH:
        pool = submitter.ledger.pool
        await pool.execute("INSERT INTO users (tenant, user_id) VALUES ($1, $2)", TEST, case.user_id)
        await pool.execute(
            "INSERT INTO devices (tenant, user_id, device_id, fcm_token) VALUES ($1, $2, 'd', $3)",
            *(TEST, case.user_id, f"{behaviour}-{case.id}"),
        )
    return case


async def settled(worker: Worker, case: Case, channel: Channel, receipts: Receipts) -> Status:
    """Carry it to its end, with the receipts that come."""
    taken = 1
    while taken:
        await worker.settle(case, channel)
        for name, provider in worker.providers.items():
            if name.startswith("simulated_"):
                # Reports at once what it would report in a second.
                await provider.aclose()
        taken = (await receipts.apply_due(100)).taken
    delivery = await case.delivery(channel)
    if delivery.status is Status.SENT and delivery.due_at is not None:
        await case.elapse()
        await worker.poll(case, channel)
    return (await case.delivery(channel)).status


async def nothing_reached_a_vendor(case: Case) -> None:
    assert await case.received(*VENDORS) == []
    assert {name[:9] for name, _ in await case.outcomes()} == {"simulated"}


ENDS: dict[Behaviour, tuple[Status, Status]] = {
    Behaviour.DELIVERED: (Status.DELIVERED, Status.SENT),
    Behaviour.INVALID: (Status.UNDELIVERED, Status.UNDELIVERED),
    Behaviour.UNDELIVERED: (Status.UNDELIVERED, Status.SENT),
    Behaviour.BOUNCED: (Status.UNDELIVERED, Status.SENT),
    Behaviour.FALLBACK: (Status.DELIVERED, Status.SENT),
    Behaviour.UNAVAILABLE: (Status.DEAD_LETTERED, Status.DEAD_LETTERED),
    Behaviour.LOST: (Status.DELIVERED, Status.SENT),
    Behaviour.UNKNOWN: (Status.OUTCOME_UNKNOWN, Status.OUTCOME_UNKNOWN),
    Behaviour.SLOW: (Status.DELIVERED, Status.SENT),
    Behaviour.SILENT: (Status.SENT, Status.SENT),
}
"""How each ends: with receipts, and over push, which has none."""


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("behaviour", Behaviour)
async def test_every_magic_address_does_what_it_says(
    submitter: Submitter,
    worker: Worker,
    receipts: Receipts,
    monkeypatch: pytest.MonkeyPatch,
    channel: Channel,
    behaviour: Behaviour,
) -> None:
    monkeypatch.setattr(simulated, "SLOW_S", 0.01)
    case = await accept(submitter, channel, behaviour, "stop")
    status = await settled(worker, case, channel, receipts)
    expected = ENDS[behaviour][channel is Channel.PUSH]
    if behaviour is Behaviour.UNDELIVERED and channel is not Channel.PUSH:
        # Another provider is tried after a temporary failure, and reports the same.
        assert len(await case.attempts()) == 2
    assert status is expected
    await nothing_reached_a_vendor(case)


async def test_a_bounce_suppresses_the_address_for_the_test_tenant_only(
    submitter: Submitter, worker: Worker, receipts: Receipts
) -> None:
    case = await accept(submitter, Channel.EMAIL, Behaviour.BOUNCED)
    await settled(worker, case, Channel.EMAIL, receipts)
    rows = await submitter.ledger.pool.fetch(
        "SELECT tenant FROM suppressions WHERE address = $1",
        (await case.load()).recipient.email,
    )
    assert [row["tenant"] for row in rows] == [TEST]


async def test_a_lost_answer_is_looked_up_and_not_sent_again(
    submitter: Submitter, worker: Worker, receipts: Receipts
) -> None:
    case = await accept(submitter, Channel.SMS, Behaviour.LOST)
    await settled(worker, case, Channel.SMS, receipts)
    assert await case.outcomes() == [("simulated_sms_1", "accepted")]
    assert "message_matched" in await case.timeline()


async def test_the_type_decides_about_an_unknown_outcome(
    submitter: Submitter, worker: Worker, receipts: Receipts
) -> None:
    case = await accept(submitter, Channel.SMS, Behaviour.UNKNOWN, "failover")
    assert await settled(worker, case, Channel.SMS, receipts) is Status.DELIVERED
    assert await case.outcomes() == [("simulated_sms_1", "unknown"), ("simulated_sms_2", "accepted")]


async def test_a_missing_receipt_is_polled(submitter: Submitter, worker: Worker) -> None:
    """As after a restart: no receipt was stored, and the process that sent it is gone."""
    case = await accept(submitter, Channel.SMS, Behaviour.DELIVERED)
    await worker.settle(case)
    await case.elapse()
    await worker.poll(case)
    assert (await case.delivery()).status is Status.DELIVERED


async def test_failures_of_one_test_stop_no_other_and_alert_nobody(
    submitter: Submitter, worker: Worker, receipts: Receipts, alerts: Callable[[], list[str]]
) -> None:
    failures = worker.providers["simulated_sms_1"] and catalog().provider("simulated_sms_1").circuit_failures
    for _ in range(failures + 1):
        case = await accept(submitter, Channel.SMS, Behaviour.UNAVAILABLE, "alone")
        await worker.run(case)
    assert await settled(worker, case, Channel.SMS, receipts) is Status.DEAD_LETTERED
    other = await accept(submitter, Channel.SMS, Behaviour.DELIVERED)
    assert await settled(worker, other, Channel.SMS, receipts) is Status.DELIVERED
    assert alerts() == []


async def test_a_dead_letter_is_retried_to_another_magic_address(
    submitter: Submitter, worker: Worker, receipts: Receipts, pool: Pool
) -> None:
    case = await accept(submitter, Channel.SMS, Behaviour.UNAVAILABLE)
    assert await settled(worker, case, Channel.SMS, receipts) is Status.DEAD_LETTERED
    queries = Queries(pool)
    commands = OperatorCommands(worker.ledger, queries, AuditLog(pool, chain_key("secret")))
    retry = Retry(to={Channel.SMS: "+12025550100"})
    await commands.retry(TEST, case.id, retry, Origin("key:tests", "", TEST))
    assert await settled(worker, case, Channel.SMS, receipts) is Status.DELIVERED
    await nothing_reached_a_vendor(case)
    await queries.close(5)


async def test_the_routes_of_types_and_countries_do_not_apply(
    submitter: Submitter, pool: Pool, receipts: Receipts, limiter: Limiter, providers: dict[str, Provider]
) -> None:
    routes = {"NG": ("termii",), "1": ("twilio",)}
    worker = Worker(WatchedLedger(pool), receipts, limiter, providers, catalog(), sms_routes=routes)
    worker.health.drain(frozenset(VENDORS))
    for type in ("alone", "news"):
        case = await accept(submitter, Channel.SMS, Behaviour.DELIVERED, type)
        await worker.settle(case)
        await nothing_reached_a_vendor(case)
        assert (await case.attempts())[0]["selection"]["route_of"] == "test"


@pytest.mark.parametrize("tenant", ["bank", "tester", "test", "atest:bank", "TEST:bank"])
async def test_nothing_but_a_test_tenant_reaches_a_simulated_provider(
    submitter: Submitter, worker: Worker, tenant: str
) -> None:
    case = await submitter.accept(tenant=tenant, to=f"{unused_number()[:-4]}{CODES[Behaviour.INVALID]}")
    await worker.settle(case)
    assert await case.outcomes() == [("twilio", "accepted")]


@pytest.mark.parametrize(("tenant", "provider"), [(TEST, "twilio"), (TENANT, "simulated_sms_1")])
async def test_the_last_check_refuses_a_provider_of_the_wrong_kind(
    submitter: Submitter,
    worker: Worker,
    alerts: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tenant: str,
    provider: str,
) -> None:
    """Even if a fault elsewhere puts it into the route: neither an intent nor a call is made."""

    def wrong(*_: Any, **__: Any) -> Route:
        return Route([provider], address_of={provider: lambda _: None})

    monkeypatch.setattr(worker.health, "route", wrong)
    case = await submitter.accept(tenant=tenant)
    with pytest.raises(WrongMode):
        await worker.run(case)
    assert await case.attempts() == []
    assert await case.received(*VENDORS) == []
    assert alerts() == ["wrong_mode"]


def test_every_channel_has_two_simulated_providers_which_no_configuration_names() -> None:
    for channel in Channel:
        of_channel = [one.name for one in simulated.PROVIDERS if one.capabilities.channel is channel]
        assert of_channel == [f"simulated_{channel}_1", f"simulated_{channel}_2"]
    assert not {one.name for one in simulated.PROVIDERS} & registry.KNOWN.keys()
    assert not any(vendor.capabilities.simulated for vendor in registry.VENDORS)
