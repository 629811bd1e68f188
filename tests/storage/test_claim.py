"""Claiming what is due: nobody shares, and whatever was lost on the way comes back by itself."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from ledger_case import PHONE, Case, Cases, at, submission

from domain.notification import LANE_RANK, Channel, Lane, Recipient
from domain.outcome import Outcome
from domain.status import Status
from domain.transition import Transition
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.records import Claim
from storage.statements import FUNCTIONS, call, statement, statements

LEASE_S = 60.0


@pytest_asyncio.fixture(autouse=True)
async def empty_queue(pool: Pool) -> AsyncIterator[None]:
    """What other tests left due is not claimed here."""
    await pool.execute("DELETE FROM due")
    yield


async def _claim(ledger: Ledger, lane: Lane = Lane.NORMAL, limit: int = 100) -> list[UUID]:
    return [claim.id for claim in await ledger.claim(lane, limit, LEASE_S)]


async def _pass_time(case: Case, seconds: float) -> None:
    """Everything of the notification happened that much earlier."""
    shift = timedelta(seconds=seconds)
    await case.execute(
        "UPDATE due SET due_at = due_at - $2::interval, lease_until = lease_until - $2::interval"
        " WHERE id = $1",
        shift,
    )
    await case.execute(
        "UPDATE deliveries SET due_at = due_at - $2::interval, next_pass_at = next_pass_at - $2::interval"
        " WHERE notification_id = $1",
        shift,
    )


async def test_a_claim_says_what_is_needed_to_start_it(cases: Cases, ledger: Ledger) -> None:
    case = await cases(channels=(Channel.EMAIL, Channel.SMS), lane=Lane.HIGH)
    (claim,) = await ledger.claim(Lane.HIGH, 10, LEASE_S)
    shown = await case.shown()
    assert isinstance(claim.token, UUID)
    assert claim == Claim(
        id=case.id,
        tenant="acme",
        user_id=case.user_id,
        type="debit_alert",
        lane=Lane.HIGH,
        accepted_at=shown["accepted_at"],
        token=claim.token,
        channels=(Channel.EMAIL, Channel.SMS),
        recipient=Recipient(sms=PHONE, email="ada@example.com", whatsapp=None),
    )


async def test_a_claim_says_how_late_it_is(cases: Cases, ledger: Ledger) -> None:
    case = await cases(lane=Lane.HIGH)
    await case.execute("UPDATE due SET due_at = now() - interval '90 seconds' WHERE id = $1")
    (claim,) = await ledger.claim(Lane.HIGH, 10, LEASE_S)
    assert 90 <= claim.late_s < 120


async def test_a_claim_falls_back_to_the_users_own_contacts(cases: Cases, ledger: Ledger) -> None:
    case = await cases(to_sms=None, to_email=None)
    await case.execute(
        "INSERT INTO users (tenant, user_id, phone, email)"
        " SELECT tenant, user_id, '+15550100', 'own@example.com' FROM notifications WHERE id = $1"
    )
    (claim,) = await ledger.claim(Lane.NORMAL, 10, LEASE_S)
    assert (claim.recipient.sms, claim.recipient.email) == ("+15550100", "own@example.com")


async def test_lanes_are_apart_and_the_earliest_go_first(cases: Cases, ledger: Ledger) -> None:
    normal = [await cases() for _ in range(3)]
    critical = await cases(lane=Lane.CRITICAL)
    assert await _claim(ledger, Lane.HIGH) == []
    assert await _claim(ledger, Lane.CRITICAL) == [critical.id]
    assert sorted(await _claim(ledger, limit=2)) == sorted(case.id for case in normal[:2])
    assert await _claim(ledger) == [normal[2].id]


async def test_what_is_claimed_comes_back_after_its_lease_with_another_token(
    case: Case, ledger: Ledger
) -> None:
    (first,) = await ledger.claim(Lane.NORMAL, 10, LEASE_S)
    due = await case.due()
    assert due is not None
    assert due["due_at"] == due["lease_until"] > at(due["now"], LEASE_S - 5)
    assert await _claim(ledger) == []
    await _pass_time(case, LEASE_S)
    (second,) = await ledger.claim(Lane.NORMAL, 10, LEASE_S)
    assert first.id == second.id
    assert first.token != second.token


async def test_two_claimers_never_share(ledger: Ledger, other_ledger: Ledger) -> None:
    rows = [submission() for _ in range(200)]
    await ledger.accept_all(rows)

    async def work(place: Ledger) -> list[UUID]:
        mine: list[UUID] = []
        while got := await _claim(place, limit=7):
            mine += got
        return mine

    shares = await asyncio.gather(*(work(place) for place in (ledger, other_ledger) * 3))
    claimed = [id for share in shares for id in share]
    assert sorted(claimed) == sorted(row.id for row in rows)


async def test_a_claimer_does_not_wait_for_another(cases: Cases, ledger: Ledger, pool: Pool) -> None:
    first = await cases()
    async with pool.acquire() as holder, holder.transaction():
        held = await holder.fetch(statement("claim_due"), 2, 10, LEASE_S, [True, False])
        assert [row["id"] for row in held] == [first.id]
        second = await cases()
        assert await asyncio.wait_for(_claim(ledger), timeout=60) == [second.id]


async def test_a_claim_that_is_rolled_back_is_due_still(case: Case, ledger: Ledger, pool: Pool) -> None:
    async with pool.acquire() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.fetch(statement("claim_due"), 2, 10, LEASE_S, [True, False])
        await transaction.rollback()
    assert await _claim(ledger) == [case.id]


async def test_a_writer_may_hold_what_is_claimed(case: Case, ledger: Ledger, pool: Pool) -> None:
    # The claim takes the queue's row only, so that dispatch never waits for a pass.
    async with pool.acquire() as holder, holder.transaction():
        await holder.fetch(call("ledger_lock_v1"), [case.id])
        assert await asyncio.wait_for(_claim(ledger), timeout=60) == [case.id]


async def test_a_notification_without_a_delivery_does_not_hold_up_its_lane(
    cases: Cases, ledger: Ledger
) -> None:
    broken, sound = await cases(), await cases()
    await broken.execute("DELETE FROM deliveries WHERE notification_id = $1")
    assert sorted(await _claim(ledger)) == sorted([broken.id, sound.id])


async def test_lost_after_the_claim_it_is_due_after_the_lease(case: Case, ledger: Ledger) -> None:
    await _claim(ledger)
    await _pass_time(case, LEASE_S)
    assert await _claim(ledger) == [case.id]
    assert await case.intend() is not None


async def test_lost_after_the_intent_it_is_due_after_hold_and_settling(case: Case, ledger: Ledger) -> None:
    await _claim(ledger)
    opened = await case.open(budget_s=50.0, visibility_delay_s=30.0)
    due = await case.due()
    assert due is not None
    assert due["due_at"] == at(opened.send_deadline, 30)
    await _pass_time(case, LEASE_S)
    assert await _claim(ledger) == []
    await _pass_time(case, 20)
    assert await _claim(ledger) == [case.id]


async def test_a_short_intent_does_not_end_the_lease(case: Case, ledger: Ledger) -> None:
    await _claim(ledger)
    await case.open(budget_s=5.0, visibility_delay_s=0.0)
    due = await case.due()
    assert due is not None
    assert due["due_at"] == due["lease_until"]


async def test_lost_after_the_outcome_the_next_step_is_due_after_the_lease(
    case: Case, ledger: Ledger
) -> None:
    await _claim(ledger)
    opened = await case.open()
    await case.close(opened, Outcome.REJECTED, Transition(Status.ACCEPTED, at(opened.intended_at, 5)))
    due = await case.due()
    assert due is not None
    assert due["due_at"] == due["lease_until"]
    await _pass_time(case, LEASE_S)
    assert await _claim(ledger) == [case.id]


async def test_what_is_released_is_due_when_it_says_and_not_after_the_lease(
    case: Case, ledger: Ledger
) -> None:
    await _claim(ledger)
    now = (await case.load()).now
    await case.update(Transition(Status.DEFERRED, at(now, 10), next_pass_at=at(now, 10), release=True))
    due = await case.due()
    assert due is not None
    assert (due["due_at"], due["lease_until"]) == (at(now, 10), None)
    await _pass_time(case, 10)
    assert await _claim(ledger) == [case.id]


async def test_a_missing_receipt_is_due_at_its_deadline(case: Case, ledger: Ledger) -> None:
    await _claim(ledger)
    deadline = at((await case.load()).now, 600)
    await case.sent(due_at=deadline)
    due = await case.due()
    assert due is not None
    assert due["due_at"] == deadline
    await _pass_time(case, 600)
    assert await _claim(ledger) == [case.id]


async def test_what_is_over_is_never_due_again(case: Case, ledger: Ledger) -> None:
    await _claim(ledger)
    await case.sent()
    assert await case.due() is None
    assert await _claim(ledger) == []


async def test_a_delivery_that_nobody_worked_on_brings_the_notification_back(
    cases: Cases, ledger: Ledger
) -> None:
    case = await cases(channels=(Channel.SMS, Channel.EMAIL))
    await _claim(ledger)
    await case.sent(Channel.SMS)
    await _pass_time(case, LEASE_S)
    assert await _claim(ledger) == [case.id]
    assert await case.intend(Channel.EMAIL, suppression_key="ada@example.com") is not None


async def test_a_queue_entry_that_was_lost_is_written_again_by_the_next_write(case: Case) -> None:
    await case.execute("DELETE FROM due WHERE id = $1")
    opened = await case.open()
    due = await case.due()
    assert due is not None
    assert (due["due_at"], due["lane"]) == (at(opened.send_deadline, 30), 2)


async def test_a_claim_and_an_end_at_once_leave_nothing_due(
    cases: Cases, ledger: Ledger, other_ledger: Ledger
) -> None:
    for _ in range(20):
        case = await cases()
        end = await case.change(Transition(Status.CANCELLED, None))
        await asyncio.gather(other_ledger.update(end), ledger.claim(Lane.NORMAL, 10, LEASE_S))
        assert await case.due() is None


async def test_a_claim_and_a_change_at_once_never_shorten_the_lease(
    cases: Cases, ledger: Ledger, other_ledger: Ledger
) -> None:
    claimed = 0
    for turn in range(20):
        case = await cases()
        change = await case.change(Transition(Status.DEFERRED, (await case.load()).now))
        calls = [other_ledger.update(change), ledger.claim(Lane.NORMAL, 10, LEASE_S)]
        await asyncio.gather(*(calls if turn % 2 else calls[::-1]))
        due = await case.due()
        assert due is not None
        if due["lease_until"] is not None:
            claimed += 1
            assert due["due_at"] == due["lease_until"]
    assert claimed


@pytest.mark.parametrize("lane", [-1, 4])
async def test_there_are_four_lanes(case: Case, lane: int) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await case.execute("UPDATE notifications SET lane = $2 WHERE id = $1", lane)


@pytest.mark.parametrize("name", ["claim_due", "claim_batch"])
async def test_a_claims_commit_does_not_wait_for_the_disk(name: str, cases: Cases, pool: Pool) -> None:
    case = await cases()
    which = [True, False] if name == "claim_due" else uuid4()
    async with pool.acquire() as connection:
        await connection.execute("SET synchronous_commit = on")
        async with connection.transaction():
            [claimed] = await connection.fetch(statement(name), LANE_RANK[Lane.NORMAL], 1, LEASE_S, which)
            assert claimed["id"] == case.id
            assert await connection.fetchval("SHOW synchronous_commit") == "off"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"


def test_only_what_a_crash_may_take_back_does_not_wait_for_the_disk() -> None:
    texts = {name: one.text for name, one in statements().items()}
    texts |= {path.stem: path.read_text(encoding="utf-8") for path in FUNCTIONS.glob("*.sql")}
    hasty = {name for name, text in texts.items() if "synchronous_commit" in text}
    assert hasty == {"claim_due", "claim_batch", "claim_receipts"}
