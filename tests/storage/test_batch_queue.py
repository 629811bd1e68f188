"""The queue as batches use it: what they may take, and what has a workflow of its own."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from ledger_case import Case, Cases, at

from domain.notification import Channel, Lane, Strategy
from domain.outcome import Outcome
from domain.reasons import Reason
from domain.status import Status
from domain.transition import Transition
from storage.ledger import Ledger
from storage.batch_queue import HandOver, BatchClaim, BatchQueue
from storage.postgres import Pool

LEASE_S = 60.0
BATCH = uuid4()


@pytest_asyncio.fixture
async def queue(pool: Pool) -> AsyncIterator[BatchQueue]:
    """With nothing due from other tests."""
    await pool.execute("DELETE FROM due")
    queue = BatchQueue(pool)
    yield queue
    await queue.close(5)


async def _take(queue: BatchQueue, limit: int = 100, batch: UUID = BATCH) -> list[BatchClaim]:
    return await queue.claim(Lane.NORMAL, limit, LEASE_S, batch)


async def _is_solo(case: Case) -> bool:
    due = await case.due()
    assert due is not None
    return due["dedicated_workflow"]


async def test_a_batch_takes_what_is_due_once_and_its_claim_ends(queue: BatchQueue, cases: Cases) -> None:
    first, second = await cases(), await cases()
    await first.execute("UPDATE due SET due_at = now() - interval '90 seconds' WHERE id = $1")
    [claim] = await _take(queue, 1)
    assert claim.id == first.id
    assert 90 <= claim.late_s < 120
    assert [taken.id for taken in await _take(queue)] == [second.id]
    due = await first.due()
    assert due is not None
    assert (due["batch_id"], due["claim"]) == (BATCH, claim.token)
    assert due["due_at"] == due["lease_until"] > at(due["now"], LEASE_S - 5)
    await first.execute("UPDATE due SET due_at = now() WHERE id = $1")
    assert [taken.id for taken in await _take(queue)] == [first.id]


@pytest.mark.parametrize("how", [{"strategy": Strategy.FIRST}, {"dedicated_workflow": True}])
async def test_what_has_a_workflow_from_the_start_is_no_batches(
    queue: BatchQueue, cases: Cases, ledger: Ledger, how: dict[str, object]
) -> None:
    case = await cases(channels=(Channel.SMS, Channel.EMAIL), **how)
    plain = await cases()
    assert [claim.id for claim in await _take(queue)] == [plain.id]
    assert [claim.id for claim in await ledger.claim(Lane.NORMAL, 10, LEASE_S, dedicated_only=True)] == [
        case.id
    ]


async def test_the_dispatcher_leaves_to_batches_what_is_theirs(
    queue: BatchQueue, cases: Cases, ledger: Ledger
) -> None:
    plain, dedicated_workflow = await cases(), await cases(dedicated_workflow=True)
    assert [claim.id for claim in await ledger.claim(Lane.NORMAL, 10, LEASE_S, dedicated_only=True)] == [
        dedicated_workflow.id
    ]
    assert [claim.id for claim in await ledger.claim(Lane.NORMAL, 10, LEASE_S)] == [plain.id]


async def test_without_batches_the_earliest_go_first_whatever_they_are(
    queue: BatchQueue, cases: Cases, ledger: Ledger
) -> None:
    every = [await cases(dedicated_workflow=place % 2 == 1) for place in range(4)]
    for place, case in enumerate(every):
        await case.execute(
            "UPDATE due SET due_at = now() - $2::interval WHERE id = $1", timedelta(seconds=10 - place)
        )
    taken = {claim.id for claim in await ledger.claim(Lane.NORMAL, 2, LEASE_S)}
    assert taken == {every[0].id, every[1].id}


async def test_what_was_tried_is_solo_and_what_was_put_off_is_not(queue: BatchQueue, cases: Cases) -> None:
    tried, failed, put_off = await cases(), await cases(), await cases()
    later = at((await put_off.load()).now, 60)
    await put_off.update(
        Transition(Status.DEFERRED, later, Reason.QUIET_HOURS, next_pass_at=later, release=True)
    )
    assert not await _is_solo(put_off)
    await tried.open()
    assert await _is_solo(tried), "a crash now leaves an attempt to resolve"
    opened = await failed.open()
    retry = Transition(Status.DEFERRED, later, Reason.RETRY, pass_number=1, next_pass_at=later)
    await failed.close(opened, Outcome.UNAVAILABLE, retry)
    assert await _is_solo(failed)


async def test_what_is_sent_and_awaits_its_receipt_is_solo_when_that_is_overdue(
    queue: BatchQueue, cases: Cases
) -> None:
    case = await cases()
    await case.sent(due_at=at((await case.load()).now, 60))
    assert await _is_solo(case)


async def test_a_parked_one_is_solo(queue: BatchQueue, cases: Cases) -> None:
    case = await cases()
    await case.update(Transition(Status.DEAD_LETTERED, at((await case.load()).now, 60), Reason.NO_PROVIDER))
    assert await _is_solo(case)


@pytest.mark.parametrize("dedicated_workflow", [True, False])
async def test_what_a_batch_hands_over_is_due_at_once(
    queue: BatchQueue, cases: Cases, ledger: Ledger, dedicated_workflow: bool
) -> None:
    case = await cases()
    [claim] = await _take(queue)
    await queue.hand_over(HandOver(claim, dedicated_workflow=dedicated_workflow))
    assert [taken.id for taken in await _take(queue)] == ([] if dedicated_workflow else [case.id])
    assert [taken.id for taken in await ledger.claim(Lane.NORMAL, 10, LEASE_S, dedicated_only=True)] == (
        [case.id] if dedicated_workflow else []
    )


@pytest.mark.parametrize("parked", [True, False])
async def test_what_was_handed_over_is_started_once_and_then_due_when_it_says(
    queue: BatchQueue, cases: Cases, ledger: Ledger, parked: bool
) -> None:
    case = await cases()
    [claim] = await _take(queue)
    opened = await case.open()
    at_s = at(opened.intended_at, 86_400 if parked else 600)
    after = (
        Transition(Status.DEAD_LETTERED, at_s, Reason.PROVIDERS_EXHAUSTED)
        if parked
        else Transition(Status.DEFERRED, at_s, Reason.RETRY, pass_number=1, next_pass_at=at_s)
    )
    await case.close(opened, Outcome.UNAVAILABLE, after)
    await queue.hand_over(HandOver(claim, dedicated_workflow=True))
    assert [taken.id for taken in await ledger.claim(Lane.NORMAL, 10, LEASE_S, dedicated_only=True)] == [
        case.id
    ]
    due = await case.due()
    assert due is not None
    assert due["due_at"] == at_s, "its workflow waits, and is not woken after each lease"


async def test_what_was_handed_over_untouched_is_due_again_after_its_lease(
    queue: BatchQueue, cases: Cases, ledger: Ledger
) -> None:
    case = await cases()
    [claim] = await _take(queue)
    await queue.hand_over(HandOver(claim, dedicated_workflow=True))
    await ledger.claim(Lane.NORMAL, 10, LEASE_S, dedicated_only=True)
    due = await case.due()
    assert due is not None
    assert due["due_at"] == due["lease_until"]


async def test_a_claim_that_somebody_else_has_since_is_not_handed_over(
    queue: BatchQueue, cases: Cases
) -> None:
    case = await cases()
    [claim] = await _take(queue)
    await case.execute("UPDATE due SET due_at = now() WHERE id = $1")
    [second] = await _take(queue, batch=uuid4())
    await queue.hand_over(HandOver(claim, dedicated_workflow=True))
    due = await case.due()
    assert due is not None
    assert (due["claim"], due["dedicated_workflow"]) == (second.token, False)
    assert due["lease_until"] is not None


async def test_the_backlog_is_what_batches_may_take_counted_up_to_a_number(
    queue: BatchQueue, cases: Cases
) -> None:
    for _ in range(5):
        await cases()
    await cases(dedicated_workflow=True)
    await cases(lane=Lane.BULK)
    assert await queue.backlog([Lane.HIGH, Lane.NORMAL, Lane.BULK], 100) == {
        Lane.HIGH: 0,
        Lane.NORMAL: 5,
        Lane.BULK: 1,
    }
    assert await queue.backlog([Lane.NORMAL], 3) == {Lane.NORMAL: 3}
