"""Batches: many first passes, each sent once, beside other senders and through failures."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from delivery_case import ALONE, TENANT, Case, Submitter, Worker, catalog
from waiting import until
from watched_ledger import WatchedLedger

from delivery.batch import LEASE_LEFT_S, Batch
from delivery.batch_item import BatchItemResult
from domain.batching import PORTION_MIN, UNAVAILABLE_PAUSE_S
from domain.fairness import turn_of
from domain.limit_policy import Limit, OnLimit
from domain.notification import Channel, Lane
from domain.notification_types import NotificationType
from domain.reasons import Reason
from domain.status import Status
from domain.transition import Transition
from storage.records import DeliveryUpdate

MakeWorker = Callable[..., Worker]
DRAINED = "nothing more is due"


@pytest_asyncio.fixture(autouse=True)
async def empty_queue(submitter: Submitter) -> AsyncIterator[None]:
    """Remove what other tests left due."""
    await submitter.ledger.pool.execute("DELETE FROM due")
    yield


async def _bulk(submitter: Submitter, count: int, type: str = "alone", **more: Any) -> list[Case]:
    return list(await asyncio.gather(*(submitter.accept(type, lane=Lane.BULK, **more) for _ in range(count))))


async def _due(case: Case) -> asyncpg.Record | None:
    return await case.ledger.pool.fetchrow("SELECT *, due_at <= now() AS now FROM due WHERE id = $1", case.id)


async def _each_sent_once(cases: list[Case]) -> None:
    for case in cases:
        assert (await case.load()).status is Status.SENT
        assert len(await case.received()) == 1
        assert await case.is_proven()


async def test_a_batch_sends_everything_due(submitter: Submitter, worker: Worker) -> None:
    cases = await _bulk(submitter, 30)
    progress = await worker.batch().run()
    assert (progress.taken, progress.settled, progress.promoted, progress.ended) == (30, 30, 0, DRAINED)
    await _each_sent_once(cases)
    assert await submitter.ledger.pool.fetchval("SELECT count(*) FROM due") == 0
    assert 'herald_batch_items_total{lane="bulk",result="settled"} 30.0' in worker.metrics.render().decode()


async def test_a_batch_of_a_spike_takes_the_turns_with_a_backlog_only(
    submitter: Submitter, worker: Worker
) -> None:
    cases = [await submitter.accept("alone", lane=Lane.NORMAL) for _ in range(3)]
    await cases[0].execute("UPDATE due SET turn = 7 WHERE id = $1")
    worker.turns.spiking[Lane.NORMAL].add(turn_of(TENANT))
    progress = await worker.batch(Lane.NORMAL).run()
    assert (progress.taken, progress.settled) == (2, 2)
    assert (await cases[0].load()).status is Status.ACCEPTED


async def test_a_batch_keeps_the_turns_that_it_began(submitter: Submitter, worker: Worker) -> None:
    cases = [await submitter.accept("alone", lane=Lane.NORMAL) for _ in range(60)]
    worker.turns.spiking[Lane.NORMAL].add(turn_of(TENANT))
    batch = worker.batch(Lane.NORMAL, batch_size=50 + 10)
    running = asyncio.create_task(batch.run())

    async def has_begun() -> bool:
        return bool(batch.progress.taken)

    await until(has_begun)
    worker.turns.spiking[Lane.NORMAL].clear()
    assert (await running).taken == 60
    await _each_sent_once(cases)


async def test_plan_and_pass_share_one_load(submitter: Submitter, worker: Worker) -> None:
    [case] = await _bulk(submitter, 1)
    loads = 0
    load = worker.ledger.load

    async def counted(id: Any) -> Any:
        nonlocal loads
        loads += 1
        return await load(id)

    worker.ledger.load = counted  # pyright: ignore[reportAttributeAccessIssue] (counts, and does the same)
    assert await worker.batch_items.run(case.id) is BatchItemResult.SETTLED
    assert loads == 1


async def test_a_full_batch_ends(submitter: Submitter, worker: Worker) -> None:
    await _bulk(submitter, 12)
    progress = await worker.batch(batch_size=10).run()
    assert (progress.taken, progress.settled, progress.ended) == (10, 10, "full")
    assert await submitter.ledger.pool.fetchval("SELECT count(*) FROM due") == 2


async def test_batches_and_single_passes_together_send_once(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    cases = await _bulk(submitter, 120)
    one, two, own = make_worker(), make_worker(), make_worker()
    [first, second, *_] = await asyncio.gather(
        one.batch().run(), two.batch().run(), *(own.run(case) for case in cases[:40])
    )
    await until(lambda: _none_is_open(cases))
    await _each_sent_once(cases)
    assert first.taken + second.taken == 120


async def _none_is_open(cases: list[Case]) -> bool:
    return all([(await case.delivery()).open_attempt is None for case in cases])


async def test_a_rerun_during_the_lease_sends_nothing_twice(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    cases = await _bulk(submitter, 20)
    batch = asyncio.create_task(make_worker().batch().run())
    again = make_worker()
    await asyncio.gather(*(again.batch_items.run(case.id) for case in cases))
    await batch
    await _each_sent_once(cases)


async def test_a_failed_notification_is_promoted_to_its_own_workflow(
    submitter: Submitter, worker: Worker
) -> None:
    [failing, *fine] = await _bulk(submitter, 5)
    await submitter.fail(failing)
    progress = await worker.batch().run()
    assert (progress.taken, progress.settled, progress.promoted) == (5, 4, 1)
    await _each_sent_once(fine)
    due, delivery = await _due(failing), await failing.delivery()
    assert due
    assert (due["now"], due["dedicated_workflow"], due["batch_id"]) == (True, True, None)
    assert (delivery.status, delivery.reason_code, delivery.pass_number) == (Status.DEFERRED, Reason.RETRY, 1)
    assert delivery.next_pass_at > (await failing.load()).now, "no retry before its time"
    assert (await worker.batch().run()).taken == 0


async def test_failover_happens_within_the_batch(submitter: Submitter, worker: Worker) -> None:
    [case] = await _bulk(submitter, 1, "news")
    await submitter.fail(case, "twilio")
    assert (await worker.batch().run()).settled == 1
    assert await case.outcomes() == [("twilio", "unavailable"), ("termii", "accepted")]


async def test_an_ambiguous_send_is_looked_up_and_not_sent_again(
    submitter: Submitter, worker: Worker
) -> None:
    [case] = await _bulk(submitter, 1, "reconcile", body="ambiguous, and there")
    await submitter.simulators.fault("twilio", "accept_then_close", case.to, times=1)
    progress = await worker.batch().run()
    assert progress.taken == 1
    await case.elapse()
    await worker.settle(case)
    await _each_sent_once([case])


@pytest.mark.parametrize("why", ["opt_out", "cancel"])
async def test_a_change_between_claim_and_send_stops_the_send(
    submitter: Submitter, worker: Worker, watched: WatchedLedger, why: str
) -> None:
    [case] = await _bulk(submitter, 1)

    async def cancel() -> None:
        delivery = await case.delivery()
        over = Transition(Status.CANCELLED, None, Reason.CANCELLED_BY_CLIENT, event="cancelled", release=True)
        assert await submitter.ledger.update(DeliveryUpdate(case.id, delivery.id, delivery.version, over))

    watched.before_intent = cancel if why == "cancel" else lambda: submitter.opt_out(case)
    progress = await worker.batch().run()
    assert (progress.taken, progress.settled) == (1, 1)
    expected = Status.CANCELLED if why == "cancel" else Status.SUPPRESSED
    assert (await case.load()).status is expected
    assert await case.received() == []


async def test_a_broken_notification_is_promoted_and_delays_no_other(
    submitter: Submitter, worker: Worker
) -> None:
    cases = await _bulk(submitter, 9)
    poison = (await _bulk(submitter, 1))[0]
    await poison.execute("UPDATE notifications SET type = 'gone' WHERE id = $1")
    progress = await worker.batch().run()
    assert (progress.settled, progress.promoted) == (9, 1)
    await _each_sent_once(cases)
    due = await _due(poison)
    assert due
    assert (due["dedicated_workflow"], due["now"]) == (True, True)


@pytest.mark.parametrize(
    "changed",
    [
        NotificationType(await_receipt=True, receipt_deadline_s=60, routes=ALONE),
        NotificationType(retry_s=(30,), routes=ALONE),
    ],
    ids=["now awaits its receipt", "was tried before"],
)
async def test_a_notification_that_needs_a_workflow_is_promoted_unsent(
    submitter: Submitter, make_worker: MakeWorker, changed: NotificationType
) -> None:
    worker = make_worker(catalog({"alone": changed}))
    [case] = await _bulk(submitter, 1)
    if not changed.await_receipt:
        await submitter.fail(case)
        await worker.run(case)
        # As if the queue had lost it, and reconciliation had requeued it.
        await case.execute("UPDATE due SET dedicated_workflow = false, due_at = now() WHERE id = $1")
        await submitter.heal(case)
    assert (await worker.batch().run()).promoted == 1
    assert await case.received() == []
    due = await _due(case)
    assert due
    assert due["dedicated_workflow"]


async def test_user_limits_hold_in_batches(submitter: Submitter, make_worker: MakeWorker) -> None:
    limit = Limit(channel=Channel.SMS, max=2, per_s=3600, then=OnLimit.DEFER)
    worker = make_worker(catalog({"alone": NotificationType(limits=(limit,), routes=ALONE)}))
    cases = await _bulk(submitter, 5, user_id="one-user")
    progress = await worker.batch().run()
    assert (progress.taken, progress.settled, progress.promoted) == (5, 5, 0)
    statuses = sorted([(await case.load()).status for case in cases])
    assert statuses == [Status.DEFERRED] * 3 + [Status.SENT] * 2
    waiting = [due for case in cases if (due := await _due(case))]
    assert [(due["dedicated_workflow"], due["now"]) for due in waiting] == [(False, False)] * 3


async def test_batches_slow_down_while_every_provider_is_blocked(
    submitter: Submitter, worker: Worker
) -> None:
    worker.health.drain(frozenset({"twilio"}))
    cases = await _bulk(submitter, 1000)
    batch = worker.batch()
    began = time.monotonic()
    running = asyncio.create_task(batch.run())
    await until(lambda: _has_taken(batch, 4 * PORTION_MIN))
    assert time.monotonic() - began >= 3 * UNAVAILABLE_PAUSE_S, (
        "small portions, with a longer rest after each"
    )
    batch.stop("the test ends")
    progress = await running
    assert progress.waiting + progress.left == progress.taken
    assert progress.promoted == 0
    put_off = [case for case in cases if (await case.load()).status is Status.DEFERRED][:3]
    for case in put_off:
        assert (await case.delivery()).reason_code == Reason.PROVIDER_DOWN


@pytest.mark.parametrize("lane", [Lane.BULK, Lane.NORMAL])
async def test_a_batch_holds_a_burst_back_while_another_tenant_is_active(
    submitter: Submitter, worker: Worker, lane: Lane
) -> None:
    burst = [await submitter.accept("alone", lane=lane) for _ in range(40)]
    quiet = [await submitter.accept("alone", lane=lane) for _ in range(10)]
    execute = submitter.ledger.pool.execute
    await execute("UPDATE due SET turn = 7 WHERE id = ANY($1)", [case.id for case in quiet])
    late = "UPDATE due SET due_at = now() - interval '1 min' WHERE turn <> 7"
    await execute(late)
    now = time.monotonic()
    worker.turns.spiking[lane] |= {7, turn_of(TENANT)}
    worker.turns.claimed(lane, 7, now)
    worker.turns.claimed(lane, turn_of(TENANT), now, 60)
    batch = worker.batch(lane)
    running = asyncio.create_task(batch.run())

    async def all_of_quiet() -> bool:
        return all([(await case.load()).status is Status.SENT for case in quiet])

    await until(all_of_quiet)
    assert batch.progress.taken < len(quiet) + len(burst) / 2
    await until(lambda: _has_taken(batch, len(quiet) + len(burst)))
    batch.stop("the test ends")
    await running
    await _each_sent_once(burst)


async def test_batches_regain_speed_once_a_provider_is_back(submitter: Submitter, worker: Worker) -> None:
    worker.health.drain(frozenset({"twilio"}))
    await _bulk(submitter, 12 * PORTION_MIN)
    batch = worker.batch()
    running = asyncio.create_task(batch.run())
    await until(lambda: _has_taken(batch, 2 * PORTION_MIN))
    worker.health.drain(frozenset())
    began = time.monotonic()
    await until(lambda: _has_taken(batch, 12 * PORTION_MIN))
    assert time.monotonic() - began < 7 * UNAVAILABLE_PAUSE_S, (
        "no rest after each of the ten remaining portions"
    )
    batch.stop("the test ends")
    await running


async def _has_taken(batch: Batch, count: int) -> bool:
    return batch.progress.taken >= count


async def test_claims_that_outlive_their_lease_are_left_unsent(submitter: Submitter, worker: Worker) -> None:
    cases = await _bulk(submitter, 4)
    for case in cases:
        await submitter.simulators.fault("twilio", "latency", case.to, latency_s=1)
    batch = worker.batch(batch_concurrency=1, lease_s=LEASE_LEFT_S + 0.5)
    running = asyncio.create_task(batch.run())
    await until(lambda: _has_left(batch))
    batch.stop("the test ends")
    assert (await running).settled == 1
    untouched = [case for case in cases if not await case.attempts()]
    assert len(untouched) == 3


async def _has_left(batch: Batch) -> bool:
    return batch.progress.left > 0


@pytest.mark.parametrize("how", ["stopped", "cancelled", "stopped, then cancelled"])
async def test_a_stopped_batch_finishes_its_calls_and_returns_the_rest(
    submitter: Submitter, worker: Worker, how: str
) -> None:
    cases = await _bulk(submitter, 40)
    for case in cases:
        await submitter.simulators.fault("twilio", "latency", case.to, latency_s=2)
    batch = worker.batch(batch_concurrency=4)
    running = asyncio.create_task(batch.run())
    await until(lambda: _under_way(cases))
    if how != "cancelled":
        batch.stop("the worker stops")
        await until(lambda: _is_given_back(submitter))
        assert batch.progress.settled == 0, "the rest is returned without waiting for calls"
    if how == "stopped":
        progress = await running
        assert progress.settled + progress.left == progress.taken == 40
        assert progress.settled == 4
        due = await submitter.ledger.pool.fetch(
            "SELECT due_at <= now() AS now, dedicated_workflow, lease_until FROM due"
        )
        assert len(due) == progress.left
        assert {(row["now"], row["dedicated_workflow"], row["lease_until"]) for row in due} == {
            (True, False, None)
        }
    else:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert await _none_is_open(cases), "calls under way are recorded"
    sent = [case for case in cases if (await case.load()).status is Status.SENT]
    assert sent
    await _each_sent_once(sent)


async def _is_given_back(submitter: Submitter) -> bool:
    return await submitter.ledger.pool.fetchval("SELECT count(*) FROM due WHERE due_at <= now()") >= 30


async def _under_way(cases: list[Case]) -> bool:
    return any([(await case.delivery()).open_attempt for case in cases])
