"""What test keys send is exempt from the rules that protect money and numbers; live keys are not."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from delivery_case import StubbedProvider, Submitter, Worker, catalog
from watched_ledger import WatchedLedger

from delivery.limit_counts import Asked, LimitCounts
from domain.limit_policy import By, Limit, SharedLimit, SpendCap
from domain.notification import Channel, Lane
from domain.notification_types import Catalog, NotificationType, Prices, ProviderPolicy
from domain.number_types import REFUSED_BY_DEFAULT
from domain.reasons import Reason
from domain.sms_policy import SmsPolicy
from domain.status import Status
from providers import registry, simulated
from ratelimit.limiter import Limiter
from storage.postgres import Pool
from storage.receipts import Receipts

LIVE, TEST = "exempt", "test:exempt"
MAGIC_NUMBER = "+12025550109"
"""Accepted; no receipt comes."""
PREMIUM = "+449098790109"
SENT = (Status.SENT, None)
PRICED = ("twilio", "termii", "simulated_sms_1", "simulated_sms_2")


def strict() -> Catalog:
    """Only Nigeria is open, every limit and cap has one place, and every provider has a price."""
    types = {
        "otp": NotificationType(lane=Lane.CRITICAL, required=True),
        "few": NotificationType(limits=(Limit(channel=Channel.SMS, max=1, per_s=3600),)),
    }
    made = catalog(types)
    prices = Prices.model_validate({"currency": "USD", "per_segment": "0.05"})
    policies = {name: ProviderPolicy(timeout_s=5, prices=prices) for name in PRICED}
    caps = [*([by] for by in By if by not in (By.ADDRESS, By.PREFIX)), [By.TENANT, By.COUNTRY], []]
    limits = [[by] for by in By] + [[By.TENANT, By.ADDRESS]]
    return made.model_copy(
        update={
            "providers": {**made.providers, **policies},
            "limits": tuple(SharedLimit.model_validate({"by": by, "max": 1, "per_s": 3600}) for by in limits),
            "sms": SmsPolicy(
                countries=("NG",),
                refuse_number_types=REFUSED_BY_DEFAULT,
                spend=tuple(
                    SpendCap.model_validate({"by": by, "max": "0.05", "currency": "USD"}) for by in caps
                ),
            ),
        }
    )


@pytest_asyncio.fixture
async def worker(
    pool: Pool, receipts: Receipts, limiter: Limiter, stubbed: dict[str, StubbedProvider]
) -> AsyncIterator[Worker]:
    built = simulated.build(receipts.store)
    yield Worker(WatchedLedger(pool), receipts, limiter, {**stubbed, **built}, strict())  # pyright: ignore[reportArgumentType] (stubbed as providers)
    for provider in built.values():
        await provider.aclose()


async def spent(limiter: Limiter) -> set[str]:
    """What is counted today under every cap that a live key of the tenant has."""
    counts = LimitCounts(limiter, strict(), "secret")
    shown: set[str] = set()
    for tenant, country in itertools.product((LIVE, TEST), ("NG", "US", "GB")):
        _, spend = await counts.of(Asked(tenant, Channel.SMS, country=country))
        shown |= {each.spent for each in spend}
    return shown


async def test_30_otps_to_one_magic_number_are_all_sent_and_cost_nothing(
    submitter: Submitter, worker: Worker, limiter: Limiter
) -> None:
    before = await spent(limiter)
    cases = [
        await submitter.accept("otp", tenant=TEST, to=MAGIC_NUMBER, lane=Lane.CRITICAL) for _ in range(30)
    ]
    ended = await asyncio.gather(*(worker.carry(case) for case in cases))
    assert ended == [SENT] * 30
    assert await spent(limiter) == before
    for case in cases:
        assert {name for name, _ in await case.outcomes()} == {"simulated_sms_1"}
        assert await case.received(*registry.KNOWN) == []


@pytest.mark.parametrize("number", [MAGIC_NUMBER, PREMIUM, "+881612340109"])
async def test_no_number_is_refused(submitter: Submitter, worker: Worker, number: str) -> None:
    assert await worker.carry(await submitter.accept("otp", tenant=TEST, to=number)) == SENT
    live = await submitter.accept("otp", tenant=LIVE, to=number)
    assert (await worker.carry(live))[1] in (Reason.COUNTRY_NOT_ALLOWED, Reason.NUMBER_TYPE_REFUSED)


async def test_test_messages_take_no_place_of_live_ones(submitter: Submitter, worker: Worker) -> None:
    number = "+2348031230109"
    for _ in range(3):
        assert await worker.carry(await submitter.accept("otp", tenant=TEST, to=number)) == SENT
    live = [await submitter.accept("otp", tenant=LIVE, to=number) for _ in range(2)]
    status, reason = [await worker.carry(case) for case in live][1]
    assert (status, reason) in (
        (Status.RATE_LIMITED, Reason.VELOCITY_LIMITED),
        (Status.RATE_LIMITED, Reason.SPEND_CAP),
    )
    assert (await live[0].load()).status is Status.SENT


async def test_limits_of_one_user_apply_to_test_keys_too(submitter: Submitter, worker: Worker) -> None:
    cases = [await submitter.accept("few", tenant=TEST, user_id="one", to=MAGIC_NUMBER) for _ in range(2)]
    ended = [await worker.carry(case) for case in cases]
    assert ended == [SENT, (Status.RATE_LIMITED, Reason.RATE_LIMITED)]
