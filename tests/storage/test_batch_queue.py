"""The queue for batches: what they may claim, and what has a dedicated workflow."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from ledger_case import Case, Cases, at

from domain.fairness import turn_of
from domain.notification import Channel, Lane, Strategy
from domain.outcome import Outcome
from domain.reasons import Reason
from domain.status import Status
from domain.transition import Transition
from storage.batch_queue import BatchClaim, BatchQueue, HandOver
from storage.ledger import Ledger
from storage.postgres import Pool

LEASE_S = 60.0
BATCH = uuid4()


@pytest_asyncio.fixture
async def queue(pool: Pool) -> AsyncIterator[BatchQueue]:
    """A queue without due entries of other tests."""
    await pool.execute("DELETE FROM due")
    queue = BatchQueue(pool)
    yield queue
    await queue.close(5)


async def _claim(queue: BatchQueue, limit: int = 100, batch: UUID = BATCH) -> list[BatchClaim]:
    return await queue.claim(Lane.NORMAL, limit, LEASE_S, batch)


async def _has_dedicated_workflow(case: Case) -> bool:
    due = await case.due()
    assert due is not None
    return due["dedicated_workflow"]


async def test_a_batch_claims_what_is_due_once_until_its_lease_ends(queue: BatchQueue, cases: Cases) -> None:
    first, second = await cases(), await cases()
    await first.execute("UPDATE due SET due_at = now() - interval '90 seconds' WHERE id = $1")
    [claim] = await _claim(queue, 1)
    assert claim.id == first.id
    assert 90 <= claim.late_s < 120
    assert [taken.id for taken in await _claim(queue)] == [second.id]
    due = await first.due()
    assert due is not None
    assert (due["batch_id"], due["claim"]) == (BATCH, claim.token)
    assert due["due_at"] == due["lease_until"] > at(due["now"], LEASE_S - 5)
    await first.execute("UPDATE due SET due_at = now() WHERE id = $1")
    assert [taken.id for taken in await _claim(queue)] == [first.id]


@pytest.mark.parametrize("how", [{"strategy": Strategy.FIRST}, {"dedicated_workflow": True}])
async def test_a_notification_with_a_dedicated_workflow_is_not_for_batches(
    queue: BatchQueue, cases: Cases, ledger: Ledger, how: dict[str, object]
) -> None:
    case = await cases(channels=(Channel.SMS, Channel.EMAIL), **how)
    plain = await cases()
    assert [claim.id for claim in await _claim(queue)] == [plain.id]
    assert [claim.id for claim in await ledger.claim(Lane.NORMAL, 10, LEASE_S, dedicated_only=True)] == [
        case.id
    ]


async def test_the_dispatcher_leaves_other_notifications_to_batches(
    queue: BatchQueue, cases: Cases, ledger: Ledger
) -> None:
    plain, dedicated = await cases(), await cases(dedicated_workflow=True)
    assert [claim.id for claim in await ledger.claim(Lane.NORMAL, 10, LEASE_S, dedicated_only=True)] == [
        dedicated.id
    ]
    assert [claim.id for claim in await ledger.claim(Lane.NORMAL, 10, LEASE_S)] == [plain.id]


async def test_without_batches_the_earliest_of_both_kinds_are_claimed(
    queue: BatchQueue, cases: Cases, ledger: Ledger
) -> None:
    every = [await cases(dedicated_workflow=index % 2 == 1) for index in range(4)]
    for index, case in enumerate(every):
        await case.execute(
            "UPDATE due SET due_at = now() - $2::interval WHERE id = $1", timedelta(seconds=10 - index)
        )
    taken = {claim.id for claim in await ledger.claim(Lane.NORMAL, 2, LEASE_S)}
    assert taken == {every[0].id, every[1].id}


async def test_an_attempt_leads_to_a_dedicated_workflow_and_a_deferral_does_not(
    queue: BatchQueue, cases: Cases
) -> None:
    tried, failed, deferred = await cases(), await cases(), await cases()
    later = at((await deferred.load()).now, 60)
    await deferred.update(
        Transition(Status.DEFERRED, later, Reason.QUIET_HOURS, next_pass_at=later, release=True)
    )
    assert not await _has_dedicated_workflow(deferred)
    await tried.open()
    assert await _has_dedicated_workflow(tried), "a crash now leaves an attempt to resolve"
    opened = await failed.open()
    retry = Transition(Status.DEFERRED, later, Reason.RETRY, pass_number=1, next_pass_at=later)
    await failed.close(opened, Outcome.UNAVAILABLE, retry)
    assert await _has_dedicated_workflow(failed)


async def test_a_notification_that_awaits_its_receipt_has_a_dedicated_workflow(
    queue: BatchQueue, cases: Cases
) -> None:
    case = await cases()
    await case.sent(due_at=at((await case.load()).now, 60))
    assert await _has_dedicated_workflow(case)


async def test_a_parked_notification_has_a_dedicated_workflow(queue: BatchQueue, cases: Cases) -> None:
    case = await cases()
    await case.update(Transition(Status.DEAD_LETTERED, at((await case.load()).now, 60), Reason.NO_PROVIDER))
    assert await _has_dedicated_workflow(case)


@pytest.mark.parametrize("dedicated_workflow", [True, False])
async def test_a_claim_that_a_batch_hands_over_is_due_at_once(
    queue: BatchQueue, cases: Cases, ledger: Ledger, dedicated_workflow: bool
) -> None:
    case = await cases()
    [claim] = await _claim(queue)
    await queue.hand_over(HandOver(claim, dedicated_workflow=dedicated_workflow))
    assert [taken.id for taken in await _claim(queue)] == ([] if dedicated_workflow else [case.id])
    assert [taken.id for taken in await ledger.claim(Lane.NORMAL, 10, LEASE_S, dedicated_only=True)] == (
        [case.id] if dedicated_workflow else []
    )


@pytest.mark.parametrize("parked", [True, False])
async def test_a_handed_over_notification_is_claimed_once_and_then_due_as_its_delivery_says(
    queue: BatchQueue, cases: Cases, ledger: Ledger, parked: bool
) -> None:
    case = await cases()
    [claim] = await _claim(queue)
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
    assert due["due_at"] == at_s, "its workflow waits, and is not started again after each lease"


async def test_a_notification_handed_over_without_an_attempt_is_due_after_its_lease(
    queue: BatchQueue, cases: Cases, ledger: Ledger
) -> None:
    case = await cases()
    [claim] = await _claim(queue)
    await queue.hand_over(HandOver(claim, dedicated_workflow=True))
    await ledger.claim(Lane.NORMAL, 10, LEASE_S, dedicated_only=True)
    due = await case.due()
    assert due is not None
    assert due["due_at"] == due["lease_until"]


async def test_a_claim_that_another_batch_has_taken_since_is_not_handed_over(
    queue: BatchQueue, cases: Cases
) -> None:
    case = await cases()
    [claim] = await _claim(queue)
    await case.execute("UPDATE due SET due_at = now() WHERE id = $1")
    [second] = await _claim(queue, batch=uuid4())
    await queue.hand_over(HandOver(claim, dedicated_workflow=True))
    due = await case.due()
    assert due is not None
    assert (due["claim"], due["dedicated_workflow"]) == (second.token, False)
    assert due["lease_until"] is not None


async def test_the_backlog_counts_what_batches_may_claim_up_to_a_limit(
    queue: BatchQueue, cases: Cases
) -> None:
    for _ in range(5):
        await cases()
    await cases(dedicated_workflow=True)
    await cases(lane=Lane.BULK)
    turn = turn_of("acme")
    assert await queue.backlog([Lane.HIGH, Lane.NORMAL, Lane.BULK], 100) == {
        Lane.HIGH: {},
        Lane.NORMAL: {turn: 5},
        Lane.BULK: {turn: 1},
    }
    assert await queue.backlog([Lane.NORMAL], 3) == {Lane.NORMAL: {turn: 3}}
