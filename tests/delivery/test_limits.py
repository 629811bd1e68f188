"""Limits per user: exact, counted once from the send, and released if nothing was sent."""

import asyncio
from collections.abc import Callable

import pytest
import redis.asyncio
from deliveries import delivery_over
from delivery_case import Case, Submitter, Worker, catalog

from delivery.operator_commands import cancel_all
from domain.contracts import Action, LimitResult
from domain.limit_policy import Limit, OnLimit
from domain.notification import Channel, Lane
from domain.notification_types import NotificationType
from domain.reasons import Reason
from domain.status import Status
from ratelimit.limiter import Limiter

MakeWorker = Callable[..., Worker]

HOURLY = Limit(channel=Channel.SMS, max=3, per_s=3600)
ONE = Limit(channel=Channel.SMS, max=1, per_s=3600, then=OnLimit.DEFER)
LIMITED = catalog(
    {
        "drops": NotificationType(limits=(HOURLY,)),
        "defers": NotificationType(limits=(HOURLY.model_copy(update={"then": OnLimit.DEFER}),)),
        "one": NotificationType(limits=(ONE,)),
        "urgent": NotificationType(limits=(HOURLY,), lane=Lane.CRITICAL),
    }
)


@pytest.fixture
def limited(make_worker: MakeWorker) -> Worker:
    return make_worker(LIMITED)


async def test_exactly_three_of_a_hundred_concurrent_deliveries_are_sent(
    submitter: Submitter, limited: Worker, make_worker: MakeWorker
) -> None:
    cases = [await submitter.accept("drops", user_id="u-hundred") for _ in range(100)]
    other = make_worker(LIMITED)

    async def deliver(number: int, case: Case) -> LimitResult:
        worker = limited if number % 2 else other
        answer = await worker.limit(case)
        if answer.admitted:
            await worker.run(case)
        return answer

    answers = await asyncio.gather(*(deliver(number, case) for number, case in enumerate(cases)))
    assert sum(answer.admitted for answer in answers) == 3
    messages = await submitter.simulators.messages("twilio", contains=submitter.text)
    assert len(messages) == 3
    statuses = [(await case.delivery()).status for case in cases]
    assert (statuses.count(Status.SENT), statuses.count(Status.RATE_LIMITED)) == (3, 97)


async def test_reserving_again_keeps_the_place_and_counts_once(submitter: Submitter, limited: Worker) -> None:
    cases = [await submitter.accept("drops", user_id="u-again") for _ in range(3)]
    for _ in range(3):
        assert (await limited.limit(cases[0])).admitted
    assert [(await limited.limit(case)).admitted for case in cases[1:]] == [True, True]
    fourth = await submitter.accept("drops", user_id="u-again")
    assert (await limited.limit(fourth)).status is Status.RATE_LIMITED


async def _age(valkey: str, seconds: float) -> None:
    """Let `seconds` pass for every reserved place."""
    async with redis.asyncio.from_url(valkey, decode_responses=True) as store:
        for key in await store.keys("*:sms:*"):
            for member in await store.zrange(key, 0, -1):
                await store.zincrby(key, -seconds * 1000, str(member))


async def _failed_once(submitter: Submitter, limited: Worker) -> Case:
    """A delivery with a place, after a failed first pass."""
    case = await submitter.accept("one", user_id=f"u-{submitter.text}")
    assert (await limited.limit(case)).admitted
    await submitter.fail(case)
    assert (await limited.run(case)).action is Action.RETRY
    await submitter.heal(case)
    await case.elapse()
    return case


async def test_the_limit_window_starts_at_the_send(
    submitter: Submitter, limited: Worker, valkey: str
) -> None:
    case = await _failed_once(submitter, limited)
    await _age(valkey, 3000)
    assert (await limited.run(case)).status is Status.SENT
    await _age(valkey, 3000)
    other = await submitter.accept("one", user_id=case.user_id)
    assert not (await limited.limit(other)).admitted, "fifty minutes after the send"
    await _age(valkey, 700)
    await other.elapse()
    assert (await limited.limit(other)).admitted


async def test_a_later_pass_without_its_place_is_deferred(
    submitter: Submitter, limited: Worker, valkey: str
) -> None:
    case = await _failed_once(submitter, limited)
    await _age(valkey, 3700)
    other = await submitter.accept("one", user_id=case.user_id)
    assert (await limited.limit(other)).admitted
    result = await limited.run(case)
    assert (result.status, result.reason) == (Status.DEFERRED, Reason.RATE_LIMITED)
    assert await case.received() == []
    await _age(valkey, 3700)
    await case.elapse()
    assert (await limited.run(case)).status is Status.SENT


async def test_a_delivery_that_ends_unsent_releases_its_place(submitter: Submitter, limited: Worker) -> None:
    cases = [await submitter.accept("drops", user_id="u-back") for _ in range(4)]
    for case in cases[:3]:
        assert (await limited.limit(case)).admitted
    await submitter.fail(cases[0], status=400, code=21614)
    assert (await limited.run(cases[0])).status is Status.UNDELIVERED
    await cases[1].execute("UPDATE deliveries SET expires_at = now() WHERE notification_id = $1")
    assert (await limited.run(cases[1])).status is Status.EXPIRED
    assert (await limited.run(cases[2])).status is Status.SENT
    fifth, sixth = [await submitter.accept("drops", user_id="u-back") for _ in range(2)]
    assert [(await limited.limit(case)).admitted for case in (cases[3], fifth, sixth)] == [True, True, False]


async def test_a_delivery_above_the_limit_is_deferred_if_the_type_defers(
    submitter: Submitter, limited: Worker
) -> None:
    for _ in range(3):
        assert (await limited.limit(await submitter.accept("defers", user_id="u-defer"))).admitted
    case = await submitter.accept("defers", user_id="u-defer")
    assert (await limited.limit(case)).status is Status.DEFERRED
    loaded = await case.load()
    delivery = delivery_over(loaded, Channel.SMS)
    assert 3500 < (delivery.next_pass_at - loaded.now).total_seconds() <= 3601
    assert (delivery.reason_code, delivery.due_at) == (Reason.RATE_LIMITED, delivery.next_pass_at)


async def test_without_the_limit_store_only_critical_types_are_sent(
    submitter: Submitter, make_worker: MakeWorker, limiter: Limiter
) -> None:
    worker = make_worker(LIMITED)
    await limiter.aclose()
    lost = Limiter.connect("valkey://127.0.0.1:1/0", timeout_s=0.2)
    worker = Worker(worker.ledger, None, lost, worker.providers, LIMITED)  # pyright: ignore[reportArgumentType] (receipts are not used)
    urgent = await submitter.accept("urgent", lane=Lane.CRITICAL)
    assert (await worker.limit(urgent)).admitted
    waiting = await submitter.accept("drops")
    assert (await worker.limit(waiting)).status is Status.DEFERRED
    assert (await waiting.delivery()).reason_code == Reason.LIMIT_STORE_LOST
    await lost.aclose()


async def test_a_delivery_that_is_cancelled_releases_its_place(submitter: Submitter, limited: Worker) -> None:
    case = await submitter.accept("one")
    assert (await limited.limit(case)).admitted
    await cancel_all(submitter.ledger, [case.id])
    # Its workflow wakes, and reads the ledger.
    assert (await limited.plan(case)).status is Status.CANCELLED
    other = await submitter.accept("one", user_id=case.user_id)
    assert (await limited.limit(other)).admitted


async def test_a_delivery_that_the_plan_ends_releases_its_place(
    submitter: Submitter, limited: Worker
) -> None:
    case = await submitter.accept("one")
    assert (await limited.limit(case)).admitted
    await case.execute("UPDATE deliveries SET expires_at = now() WHERE notification_id = $1")
    assert (await limited.plan(case)).status is Status.EXPIRED
    other = await submitter.accept("one", user_id=case.user_id)
    assert (await limited.limit(other)).admitted
