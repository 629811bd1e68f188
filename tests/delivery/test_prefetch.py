"""Prefetched notifications save reads, and stale ones are harmless."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from delivery_case import Case, Submitter, Worker, catalog
from watched_ledger import WatchedLedger

from delivery.prefetch import KEPT_MAX, PrefetchCache
from domain.contracts import Action
from domain.limit_policy import Limit
from domain.notification import Channel
from domain.notification_types import NotificationType
from domain.reasons import Reason
from domain.status import Status
from domain.transition import Transition
from storage.records import DeliveryUpdate

Change = Callable[[Submitter, Case], Awaitable[None]]


async def test_a_first_pass_reads_nothing(
    submitter: Submitter, worker: Worker, watched: WatchedLedger
) -> None:
    case = await submitter.accept(channels=(Channel.SMS, Channel.EMAIL), to_email="a@example.com")
    worker.prefetched.put(case.id, await case.load())
    await worker.plan(case)
    assert [(await worker.deliver(case, channel)).status for channel in (Channel.SMS, Channel.EMAIL)] == [
        Status.SENT,
        Status.SENT,
    ]
    assert watched.loads == 0


async def test_a_limit_check_reads_nothing(submitter: Submitter, make_worker: Callable[..., Worker]) -> None:
    limit = Limit(channel=Channel.SMS, max=3, per_s=3600)
    worker = make_worker(catalog({"few": NotificationType(limits=(limit,))}))
    assert isinstance(worker.ledger, WatchedLedger)
    case = await submitter.accept("few")
    assert (await worker.plan(case)).steps[0].limited
    assert (await worker.limit(case)).admitted
    assert (await worker.deliver(case)).status is Status.SENT
    assert worker.ledger.loads == 1


async def _opted_out(submitter: Submitter, case: Case) -> None:
    await submitter.opt_out(case)


async def _suppressed(submitter: Submitter, case: Case) -> None:
    await submitter.suppress(case.to)


async def _cancelled(submitter: Submitter, case: Case) -> None:
    delivery = await case.delivery()
    over = Transition(Status.CANCELLED, None, Reason.CANCELLED_BY_CLIENT, event="cancelled", release=True)
    assert await submitter.ledger.update(DeliveryUpdate(case.id, delivery.id, delivery.version, over))


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize(
    ("change", "status"),
    [
        (_opted_out, Status.SUPPRESSED),
        (_suppressed, Status.SUPPRESSED),
        (_cancelled, Status.CANCELLED),
    ],
)
async def test_a_change_after_the_prefetch_stops_the_send(
    submitter: Submitter, worker: Worker, change: Change, status: Status, *, planned: bool
) -> None:
    case = await submitter.accept()
    worker.prefetched.put(case.id, await case.load())
    if not planned:
        await change(submitter, case)
    assert [step.action for step in (await worker.plan(case)).steps] == [Action.SEND]
    if planned:
        await change(submitter, case)
    await worker.deliver(case)
    assert (await case.load()).status is status
    assert await case.received() == []


async def test_only_untried_notifications_are_kept(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept()
    await worker.run(case)
    prefetched = PrefetchCache()
    prefetched.put(case.id, await case.load())
    assert prefetched.peek(case.id) is None


async def test_entries_are_taken_once_expire_and_are_bounded(submitter: Submitter) -> None:
    cases = [await submitter.accept() for _ in range(2)]
    read, old = PrefetchCache(), PrefetchCache(age_s_max=0)
    first, second = [await case.load() for case in cases]
    read.put(first.id, first)
    old.put(first.id, first)
    assert old.take(first.id) is None
    assert read.peek(first.id) is first
    assert read.take(first.id) is first
    assert read.take(first.id) is None
    read.put(first.id, first)
    for number in range(KEPT_MAX):
        read.put(UUID(int=number), second)
    assert read.peek(first.id) is None


async def test_an_old_entry_does_not_stay_in_memory(submitter: Submitter) -> None:
    """It may hold a one-time code; with `age_s_max` 0 every entry is old."""
    first, second = await submitter.accept(), await submitter.accept()
    cache = PrefetchCache(age_s_max=0)
    cache.put(first.id, await first.load())
    assert first.id in cache
    cache.put(second.id, await second.load())
    assert first.id not in cache
    cache.drop_old()
    assert second.id not in cache
