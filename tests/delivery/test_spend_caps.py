"""Spend caps of a day: every send is counted at its price once, and what was not sent is given back."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from delivery_case import ALONE, ROUTES, TENANT, StubbedProvider, Submitter, Worker, catalog, crash_at
from phone_numbers import unused_number
from structlog.testing import capture_logs

from delivery.limit_counts import Asked, LimitCounts
from delivery.operator_commands import cancel_all
from domain.limit_policy import By, SpendCap
from domain.notification import Channel
from domain.notification_types import Catalog, NotificationType, Prices, ProviderPolicy
from domain.outcome import Outcome, SendResult
from domain.reasons import Reason
from domain.sms_policy import SmsPolicy
from domain.status import Status
from ratelimit.limiter import Limiter

MakeWorker = Callable[..., Worker]
SENT = (Status.SENT, None)
OVER = (Status.RATE_LIMITED, Reason.SPEND_CAP)

PRICES = {"twilio": "0.05", "termii": "0.02"}


def priced(
    *caps: SpendCap,
    rates: Mapping[str, float] | None = None,
    currencies: Mapping[str, str] | None = None,
    **changes: Any,
) -> Catalog:
    """A catalog whose SMS providers have prices, with these caps. `rates`: sends per second of some;
    `currencies`: of those whose prices are not in USD.
    """
    made = catalog({"alone": NotificationType(retry_s=(30,), routes=ALONE)}, **changes)
    policies = dict(made.providers) | {
        name: ProviderPolicy(
            timeout_s=5,
            visibility_delay_s=0.1,
            rate_per_s=(rates or {}).get(name),
            prices=Prices(currency=(currencies or {}).get(name, "USD"), per_segment=Decimal(price)),
        )
        for name, price in PRICES.items()
    }
    return made.model_copy(
        update={"providers": policies, "sms": SmsPolicy(countries="all", spend=caps), "limits": ()}
    )


def cap(*by: By, **changes: Any) -> SpendCap:
    return SpendCap.model_validate({"by": by, "max": "0.1", "currency": "USD", **changes})


async def spent(limiter: Limiter, worker_catalog: Catalog) -> list[str]:
    counts = LimitCounts(limiter, worker_catalog, "secret")
    _, spend = await counts.of(Asked(TENANT, Channel.SMS, country="NG"))
    return [each.spent for each in spend]


async def test_nothing_is_sent_above_the_days_cap(
    submitter: Submitter, make_worker: MakeWorker, limiter: Limiter
) -> None:
    which = priced(cap(By.TENANT))
    workers = [make_worker(which), make_worker(which)]
    cases = [await submitter.accept("alone") for _ in range(12)]
    with capture_logs() as logs:
        ended = await asyncio.gather(*(workers[n % 2].carry(case) for n, case in enumerate(cases)))
    assert sorted(ended) == sorted([SENT] * 2 + [OVER] * 10)
    assert len(await submitter.simulators.messages("twilio", contains=submitter.text)) == 2
    assert await spent(limiter, which) == ["0.1"]
    raised = [log for log in logs if log["event"] == "spend_cap"]
    assert sorted(log["percent"] for log in raised) == [50, 80, 100]
    assert {(log["of"], log["max"], log["currency"]) for log in raised} == {(TENANT, "0.1", "USD")}
    shown = "".join(worker.metrics.render().decode() for worker in workers)
    assert f'herald_sms_spend_ratio{{by="tenant",currency="USD",of="{TENANT}"}} 1.0' in shown
    assert 'herald_limiter_denied_total{channel="sms",limit="spend",type="alone"}' in shown


@pytest.mark.parametrize("limit", ["0.1", "0.2", "0.5"])
async def test_many_at_once_use_up_the_cap_although_a_provider_is_at_its_rate(
    submitter: Submitter, make_worker: MakeWorker, limiter: Limiter, limit: str
) -> None:
    which = priced(cap(By.TENANT, max=limit), rates={"twilio": 0.001})
    workers = [make_worker(which), make_worker(which)]
    cases = [await submitter.accept() for _ in range(30)]
    ended = await asyncio.gather(*(workers[n % 2].carry(case) for n, case in enumerate(cases)))
    assert set(ended) <= {SENT, OVER}
    left = Decimal(limit) - Decimal((await spent(limiter, which))[0])
    assert 0 <= left < Decimal(PRICES["termii"]) or ended.count(SENT) == len(cases)


async def test_what_a_cap_refuses_costs_a_provider_none_of_its_rate(
    submitter: Submitter, make_worker: MakeWorker, limiter: Limiter
) -> None:
    worker = make_worker(priced(cap(By.TENANT, max="0.01"), rates={"twilio": 0.001}))
    for _ in range(5):
        assert await worker.carry(await submitter.accept("alone")) == OVER
    assert await limiter.take("twilio", 0.001, TENANT) == 0


async def test_the_price_of_the_provider_that_sends_is_counted(
    submitter: Submitter, make_worker: MakeWorker, limiter: Limiter
) -> None:
    which = priced(cap(By.TENANT, max="10"), cap(By.COUNTRY, max="10"), cap(By.TENANT, By.COUNTRY, max="10"))
    worker = make_worker(which)
    case = await submitter.accept(body=f"{submitter.text} {'ş' * 140}")
    await submitter.fail(case, "twilio")
    assert await worker.carry(case) == SENT
    # Three segments, and nothing for the provider that refused.
    assert await spent(limiter, which) == ["0.06"] * 3
    abroad = await submitter.accept(to="+447400123456")
    assert await worker.carry(abroad) == SENT
    assert await spent(limiter, which) == ["0.11", "0.06", "0.06"]


async def test_a_retry_that_never_left_costs_nothing_and_a_second_send_does(
    submitter: Submitter, make_worker: MakeWorker, limiter: Limiter, stubbed: dict[str, StubbedProvider]
) -> None:
    which = priced(cap(By.TENANT, max="10"))
    worker, case = make_worker(which), await submitter.accept("alone")
    await submitter.fail(case)
    await worker.carry(case)
    assert await spent(limiter, which) == ["0.05"]
    await submitter.heal(case)
    await case.elapse()
    assert (await worker.run(case)).status is Status.SENT
    assert await spent(limiter, which) == ["0.05"]
    # Reported as undelivered, it is sent again through the next provider: both are paid for.
    again = await submitter.accept()
    await worker.carry(again)
    assert await spent(limiter, which) == ["0.1"]
    await again.execute(
        "UPDATE notification_attempts SET receipt_status = 'undelivered' WHERE notification_id = $1"
    )
    await again.execute(
        "UPDATE deliveries SET status = 'deferred', due_at = now(), next_pass_at = now()"
        " WHERE notification_id = $1"
    )
    assert (await worker.run(again)).status is Status.SENT
    assert await again.outcomes() == [("twilio", "accepted"), ("termii", "accepted")]
    assert await spent(limiter, which) == ["0.12"]


async def test_a_crash_at_any_point_never_counts_a_send_twice_or_not_at_all(
    submitter: Submitter, make_worker: MakeWorker, limiter: Limiter
) -> None:
    which = priced(cap(By.TENANT, max="10"))
    worker, sends = make_worker(which), 0
    for suspension, done in itertools.product(range(0, 30, 2), (False, True)):
        case = await submitter.accept("alone")
        await crash_at(worker.run(case), suspension, done=done)
        await case.elapse()
        await worker.settle(case)
        sends += len(await case.received("twilio"))
        total = await spent(limiter, which)
        assert total == [f"{sends * 0.05:.2f}".rstrip("0").rstrip(".")], (suspension, done)


@pytest.mark.parametrize("ends", ["refused", "dead", "expired", "cancelled"])
async def test_what_is_not_sent_is_given_back(
    submitter: Submitter, make_worker: MakeWorker, limiter: Limiter, ends: str
) -> None:
    which = priced(cap(By.TENANT, max="10"))
    worker, case = make_worker(which), await submitter.accept("alone")
    await submitter.fail(case, **({"status": 400, "code": 21614} if ends == "refused" else {}))
    await worker.carry(case)
    if ends == "dead":
        await worker.exhaust(case)
    elif ends == "expired":
        assert await spent(limiter, which) == ["0.05"]
        await case.elapse()
        await case.execute("UPDATE deliveries SET expires_at = now() WHERE notification_id = $1")
        await worker.run(case)
    elif ends == "cancelled":
        await cancel_all(submitter.ledger, [case.id])
        # Its workflow wakes, and reads the ledger.
        assert (await worker.plan(case)).status is Status.CANCELLED
    assert await spent(limiter, which) == ["0"]


async def test_a_cap_that_defers_waits_for_the_next_day_if_there_is_time(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    worker = make_worker(priced(cap(max="0.01", then="defer")))
    soon, patient = await submitter.accept("alone"), await submitter.accept("alone")
    await soon.execute("UPDATE deliveries SET expires_at = now() + interval '1 s' WHERE notification_id = $1")
    await patient.execute(
        "UPDATE deliveries SET expires_at = now() + interval '3 days' WHERE notification_id = $1"
    )
    assert await worker.carry(soon) == OVER
    assert await worker.carry(patient) == (Status.DEFERRED, Reason.SPEND_CAP)
    at = (await patient.delivery()).next_pass_at
    assert (at.hour, at.minute, at.second) == (0, 0, 0)


async def test_only_sends_in_its_currency_count_under_a_cap(
    submitter: Submitter, make_worker: MakeWorker, limiter: Limiter
) -> None:
    which = priced(cap(By.TENANT, max="10"), cap(By.TENANT, max="10", currency="NGN"))
    worker = make_worker(which)
    assert await worker.carry(await submitter.accept("alone")) == SENT
    assert await spent(limiter, which) == ["0.05", "0"]


async def test_the_next_provider_may_charge_in_another_currency(
    submitter: Submitter, make_worker: MakeWorker, limiter: Limiter
) -> None:
    caps = (cap(By.TENANT, max="10"), cap(By.TENANT, max="10", currency="NGN"))
    which = priced(*caps, currencies={"termii": "NGN"})
    worker, case = make_worker(which), await submitter.accept()
    await submitter.fail(case, "twilio")
    assert await worker.carry(case) == SENT
    assert await case.outcomes() == [("twilio", "unavailable"), ("termii", "accepted")]
    assert await spent(limiter, which) == ["0", "0.02"]


async def test_other_channels_cost_nothing(
    submitter: Submitter, make_worker: MakeWorker, limiter: Limiter
) -> None:
    which = priced(cap(max="0.01"))
    worker = make_worker(which)
    case = await submitter.accept(channels=(Channel.EMAIL,), to_email=f"{unused_number()[1:]}@example.com")
    assert await worker.carry(case) == SENT
    assert ROUTES[Channel.EMAIL][0] == (await case.attempts())[0]["provider"]
    assert await spent(limiter, which) == ["0"]


async def test_an_ambiguous_send_that_fails_over_is_paid_for_twice(
    submitter: Submitter, make_worker: MakeWorker, limiter: Limiter, stubbed: dict[str, StubbedProvider]
) -> None:
    which = priced(cap(By.TENANT, max="10"))
    worker = make_worker(which)
    stubbed["twilio"].answers = SendResult(Outcome.AMBIGUOUS, code="timeout")
    stubbed["twilio"].finds = ()
    case = await submitter.accept("failover")
    await worker.carry(case)
    await case.elapse()
    await worker.settle(case)
    outcomes = await case.outcomes()
    paid = {"not_sent": "0.02", "unknown": "0.07"}[str(outcomes[0][1])]
    assert await spent(limiter, which) == [paid]
