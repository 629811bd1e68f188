"""Abuse of SMS: limits that the choice of a user id does not evade, and numbers that are refused."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from delivery_case import (
    TENANT,
    Case,
    Submitter,
    Worker,
    catalog,
    crash_at,
)
from phone_numbers import unused_number

from delivery.operator_commands import OperatorCommands
from domain.audit import Origin, chain_key
from domain.contracts import Action
from domain.limit_policy import By, Limit, OnLimit, SharedLimit
from domain.notification import Channel, Lane, Strategy
from domain.notification_types import Catalog, NotificationType
from domain.operator_decisions import Retry
from domain.reasons import Reason
from domain.status import Status
from ratelimit.limiter import Limiter
from storage.audit import AuditLog
from storage.queries import Queries

MakeWorker = Callable[..., Worker]
OTP = NotificationType(lane=Lane.CRITICAL, required=True, retry_s=(30,))
PREMIUM = "+449098790000"


def guarded(*limits: SharedLimit, **changes: Any) -> Catalog:
    """A catalog with these limits over users; without any, with the default ones."""
    return catalog(
        {"otp": OTP, "news": NotificationType()}, **({"limits": limits} if limits else {}), **changes
    )


def limit(*by: By, **changes: Any) -> SharedLimit:
    return SharedLimit.model_validate({"by": by, "max": 3, "per_s": 3600, **changes})


async def statuses(worker: Worker, cases: list[Case]) -> list[tuple[Status, str | None]]:
    return [await worker.carry(case) for case in cases]


SENT = (Status.SENT, None)
LIMITED = (Status.RATE_LIMITED, Reason.VELOCITY_LIMITED)


async def test_25_otps_to_one_number_under_25_users_end_at_the_numbers_limit(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    workers, number = [make_worker(guarded()), make_worker(guarded())], unused_number()
    cases = [await submitter.accept("otp", to=number, lane=Lane.CRITICAL) for _ in range(25)]
    assert len({case.user_id for case in cases}) == 25
    ended = await asyncio.gather(*(workers[n % 2].carry(case) for n, case in enumerate(cases)))
    assert sorted(ended) == sorted([SENT] * 10 + [LIMITED] * 15)
    assert len(await submitter.simulators.messages("twilio", contains=submitter.text)) == 10
    limited = next(case for case, end in zip(cases, ended, strict=True) if end == LIMITED)
    [entry] = await submitter.ledger.pool.fetch(
        "SELECT data FROM timeline WHERE notification_id = $1 AND kind = 'rate_limited'", limited.id
    )
    assert entry["data"]["limits"] == ["10 in 3600 s per tenant and address"]
    shown = "".join(worker.metrics.render().decode() for worker in workers)
    assert 'herald_limiter_denied_total{channel="sms",limit="tenant and address",type="otp"}' in shown
    # Another number, and another type of this one, are not affected.
    assert await workers[0].carry(await submitter.accept("otp", lane=Lane.CRITICAL)) == SENT
    assert await workers[0].carry(await submitter.accept("news", to=number)) == SENT


async def test_a_crash_at_any_point_counts_the_delivery_once(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    worker, number = make_worker(guarded(limit(By.ADDRESS, max=2))), unused_number()
    first = await submitter.accept("news", to=number)
    for suspension, done in itertools.product(range(12), (False, True)):
        if not await crash_at(worker.limit(first), suspension, done=done):
            break
    assert await worker.carry(first) == SENT
    ended = await statuses(worker, [await submitter.accept("news", to=number) for _ in range(2)])
    assert ended == [SENT, LIMITED]


async def test_retries_after_failed_passes_keep_one_place(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    worker, number = make_worker(guarded(limit(By.ADDRESS, max=2))), unused_number()
    case = await submitter.accept("news", to=number)
    await submitter.fail(case)
    assert (await worker.carry(case))[0] is Status.DEFERRED
    await case.elapse()
    assert (await worker.run(case)).action is Action.RETRY
    await submitter.heal(case)
    await case.elapse()
    assert (await worker.run(case)).status is Status.SENT
    ended = await statuses(worker, [await submitter.accept("news", to=number) for _ in range(2)])
    assert ended == [SENT, LIMITED]


async def test_a_stored_contact_and_a_given_number_count_together(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    worker, number = make_worker(guarded(limit(By.ADDRESS))), unused_number()
    given = [await submitter.accept("news", to=number) for _ in range(2)]
    stored = [await submitter.accept("news", contact=False) for _ in range(2)]
    for case in stored:
        await submitter.ledger.pool.execute(
            "INSERT INTO users (tenant, user_id, phone) VALUES ($1, $2, $3)", TENANT, case.user_id, number
        )
    assert await statuses(worker, [*given, *stored]) == [SENT, SENT, SENT, LIMITED]


async def test_batches_and_broadcasts_count_too(submitter: Submitter, make_worker: MakeWorker) -> None:
    worker, number = make_worker(guarded(limit(By.ADDRESS))), unused_number()
    assert await worker.carry(await submitter.accept("news", to=number)) == SENT
    cases = [await submitter.accept("news", to=number, lane=Lane.BULK) for _ in range(6)]
    progress = await worker.batch().run()
    assert (progress.taken, progress.settled) == (6, 6)
    ended = sorted([(await case.load()).status for case in cases])
    assert ended == sorted([Status.SENT] * 2 + [Status.RATE_LIMITED] * 4)


async def test_a_fallback_to_sms_counts_and_a_limit_starts_the_next_channel(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    worker, number = make_worker(guarded(limit(By.ADDRESS, max=1))), unused_number()

    async def first(channels: tuple[Channel, ...]) -> dict[Channel, Status]:
        case = await submitter.accept(
            "news",
            to=number,
            channels=channels,
            strategy=Strategy.FIRST,
            to_email=f"{unused_number()[1:]}@example.com" if channels[0] is Channel.SMS else None,
        )
        for _ in channels:
            for step in (await worker.plan(case)).steps:
                admitted = not step.limited or (await worker.limit(case, Channel(step.channel))).admitted
                if admitted:
                    await worker.run(case, Channel(step.channel))
        return {delivery.channel: delivery.status for delivery in (await case.load()).deliveries}

    # No email address: SMS takes over.
    assert await first((Channel.EMAIL, Channel.SMS)) == {
        Channel.EMAIL: Status.FAILED,
        Channel.SMS: Status.SENT,
    }
    assert await first((Channel.SMS, Channel.EMAIL)) == {
        Channel.SMS: Status.RATE_LIMITED,
        Channel.EMAIL: Status.SENT,
    }


async def test_a_dead_letter_that_is_sent_to_another_number_counts_there(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    worker, number = make_worker(guarded(limit(By.ADDRESS, max=2))), unused_number()
    dead = await submitter.accept("otp", lane=Lane.CRITICAL)
    await submitter.fail(dead)
    await worker.carry(dead)
    await worker.exhaust(dead)
    pool = submitter.ledger.pool
    queries = Queries(pool)
    commands = OperatorCommands(submitter.ledger, queries, AuditLog(pool, chain_key("secret")))
    retry = Retry(to={Channel.SMS: number})
    await commands.retry(TENANT, dead.id, retry, Origin("key:tests", "", TENANT))
    await queries.close(1)
    assert (await worker.carry(dead))[0] is Status.SENT
    ended = await statuses(worker, [await submitter.accept("news", to=number) for _ in range(2)])
    assert ended == [SENT, LIMITED]


async def test_a_range_of_numbers_counts_together_and_raises_one_alert(
    submitter: Submitter, make_worker: MakeWorker, alerts: Callable[[], list[str]]
) -> None:
    worker = make_worker(guarded(limit(By.TENANT, By.PREFIX)))
    prefix = unused_number()[:-3]
    numbers = [f"{prefix}{n:03}" for n in range(6)]
    ended = await statuses(worker, [await submitter.accept("news", to=number) for number in numbers])
    assert ended == [SENT] * 3 + [LIMITED] * 3
    assert alerts().count("limit_reached") == 1
    assert await worker.carry(await submitter.accept("news")) == SENT


@pytest.mark.parametrize("by", [By.COUNTRY, By.TENANT])
async def test_a_country_and_a_tenant_are_limited(
    submitter: Submitter, make_worker: MakeWorker, by: By
) -> None:
    worker = make_worker(guarded(limit(by)))
    ended = await statuses(worker, [await submitter.accept("news") for _ in range(5)])
    assert ended == [SENT] * 3 + [LIMITED] * 2
    abroad = await submitter.accept("news", to="+447400123456")
    assert await worker.carry(abroad) == (SENT if by is By.COUNTRY else LIMITED)


async def test_a_limit_that_defers_says_which_it_is(submitter: Submitter, make_worker: MakeWorker) -> None:
    worker, number = make_worker(guarded(limit(By.ADDRESS, max=1, then=OnLimit.DEFER))), unused_number()
    cases = [await submitter.accept("news", to=number) for _ in range(2)]
    assert await statuses(worker, cases) == [SENT, (Status.DEFERRED, Reason.VELOCITY_LIMITED)]
    [entry] = await submitter.ledger.pool.fetch(
        "SELECT data FROM timeline WHERE notification_id = $1 AND kind = 'deferred'", cases[1].id
    )
    assert entry["data"]["limits"] == ["1 in 3600 s per address"]


async def test_the_users_limit_and_the_numbers_are_reserved_together(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    own = Limit(channel=Channel.SMS, max=1, per_s=3600)
    worker = make_worker(
        catalog({"one": NotificationType(limits=(own,))}, limits=(limit(By.ADDRESS, max=2),))
    )
    number = unused_number()
    ada, again = [await submitter.accept("one", to=number, user_id=f"ada {number}") for _ in range(2)]
    others = [await submitter.accept("one", to=number) for _ in range(2)]
    assert await worker.carry(ada) == SENT
    # Denied by the user's limit, it takes no place under the number's.
    assert await worker.carry(again) == (Status.RATE_LIMITED, Reason.RATE_LIMITED)
    assert await statuses(worker, others) == [SENT, LIMITED]


async def test_without_the_store_critical_types_are_limited_by_number_in_each_process(
    submitter: Submitter, make_worker: MakeWorker, limiter: Limiter
) -> None:
    connected = make_worker(guarded())
    lost = Limiter.connect("valkey://127.0.0.1:1/0", timeout_s=0.2)
    worker = Worker(connected.ledger, None, lost, connected.providers, guarded())  # pyright: ignore[reportArgumentType] (receipts are not used)
    number = unused_number()
    cases = [await submitter.accept("otp", to=number, lane=Lane.CRITICAL) for _ in range(13)]
    admitted = [(await worker.limit(case)).admitted for case in cases]
    assert admitted == [True] * 10 + [False] * 3
    await lost.aclose()


@pytest.mark.parametrize("contact", [True, False])
async def test_a_number_of_a_refused_type_fails_whoever_gave_it(
    submitter: Submitter, make_worker: MakeWorker, contact: bool
) -> None:
    worker = make_worker(guarded())
    case = await submitter.accept("otp", to=PREMIUM, contact=contact, lane=Lane.CRITICAL)
    if not contact:
        await submitter.ledger.pool.execute(
            "INSERT INTO users (tenant, user_id, phone) VALUES ($1, $2, $3)", TENANT, case.user_id, PREMIUM
        )
    assert await worker.carry(case) == (Status.FAILED, Reason.NUMBER_TYPE_REFUSED)
    assert await case.attempts() == []
