"""What is handed on of what was read: it spares reads, and nothing is believed of it that matters."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from pass_case import Case, Desk, Worker, catalog
from watched_ledger import WatchedLedger

from delivery.prefetch import KEPT_MAX, PrefetchCache
from domain.notification import Channel
from domain.notification_types import Limit, NotificationType
from domain.reasons import Reason
from domain.status import Status
from domain.steps import Action
from domain.transition import Transition
from storage.rows import Move

Change = Callable[[Desk, Case], Awaitable[None]]


async def test_a_first_pass_reads_nothing_again(desk: Desk, worker: Worker, watched: WatchedLedger) -> None:
    case = await desk.accept(channels=(Channel.SMS, Channel.EMAIL), to_email="a@example.com")
    worker.prefetched.put(case.id, await case.load())
    await worker.plan(case)
    assert [(await worker.deliver(case, channel)).state for channel in (Channel.SMS, Channel.EMAIL)] == [
        Status.SENT,
        Status.SENT,
    ]
    assert watched.loads == 0


async def test_a_limit_reads_nothing_again(desk: Desk, hire: Callable[..., Worker]) -> None:
    limit = Limit(channel=Channel.SMS, max=3, per_s=3600)
    worker = hire(catalog({"few": NotificationType(limits=(limit,))}))
    assert isinstance(worker.ledger, WatchedLedger)
    case = await desk.accept("few")
    assert (await worker.plan(case)).steps[0].limited
    assert (await worker.limit(case)).admitted
    assert (await worker.deliver(case)).state is Status.SENT
    assert worker.ledger.loads == 1


async def _opted_out(desk: Desk, case: Case) -> None:
    await desk.opt_out(case)


async def _suppressed(desk: Desk, case: Case) -> None:
    await desk.suppress(case.to)


async def _cancelled(desk: Desk, case: Case) -> None:
    delivery = await case.delivery()
    over = Transition(Status.CANCELLED, None, Reason.CANCELLED_BY_CLIENT, event="cancelled", release=True)
    assert await desk.ledger.move(Move(case.id, delivery.id, delivery.version, over))


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize(
    ("change", "status"),
    [
        (_opted_out, Status.SUPPRESSED),
        (_suppressed, Status.SUPPRESSED),
        (_cancelled, Status.CANCELLED),
    ],
)
async def test_what_changed_since_it_was_read_is_not_sent(
    desk: Desk, worker: Worker, change: Change, status: Status, *, planned: bool
) -> None:
    case = await desk.accept()
    worker.prefetched.put(case.id, await case.load())
    if not planned:
        await change(desk, case)
    assert [step.action for step in (await worker.plan(case)).steps] == [Action.SEND]
    if planned:
        await change(desk, case)
    await worker.deliver(case)
    assert (await case.load()).status is status
    assert await case.received() == []


async def test_only_what_was_never_tried_is_handed_on(desk: Desk, worker: Worker) -> None:
    case = await desk.accept()
    await worker.run(case)
    prefetched = PrefetchCache()
    prefetched.put(case.id, await case.load())
    assert prefetched.peek(case.id) is None


async def test_it_is_taken_once_while_it_is_young_and_bounded(desk: Desk) -> None:
    cases = [await desk.accept() for _ in range(2)]
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
