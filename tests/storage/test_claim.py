"""Claims of due notifications: one claimer at a time, and what is lost on the way becomes due again."""

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
ALL = ([True, False], [], [], [], [], None, 0)
"""What else claim_due takes, without any exception."""


@pytest_asyncio.fixture(autouse=True)
async def empty_queue(pool: Pool) -> AsyncIterator[None]:
    """Remove due entries of other tests."""
    await pool.execute("DELETE FROM due")
    yield


async def _claim(ledger: Ledger, lane: Lane = Lane.NORMAL, limit: int = 100) -> list[UUID]:
    return [claim.id for claim in await ledger.claim(lane, limit, LEASE_S)]


async def _pass_time(case: Case, seconds: float) -> None:
    """Move a notification's times `seconds` into the past."""
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


async def test_a_claim_has_the_fields_that_its_workflow_needs(cases: Cases, ledger: Ledger) -> None:
    case = await cases(channels=(Channel.EMAIL, Channel.SMS), lane=Lane.HIGH)
    (claim,) = await ledger.claim(Lane.HIGH, 10, LEASE_S)
    assert isinstance(claim.token, UUID)
    assert claim == Claim(
        id=case.id,
        tenant="acme",
        type="debit_alert",
        lane=Lane.HIGH,
        token=claim.token,
        channels=(Channel.EMAIL, Channel.SMS),
        recipient=Recipient(sms=PHONE, email="ada@example.com", whatsapp=None),
    )


async def test_a_claim_shows_how_late_it_is(cases: Cases, ledger: Ledger) -> None:
    case = await cases(lane=Lane.HIGH)
    await case.execute("UPDATE due SET due_at = now() - interval '90 seconds' WHERE id = $1")
    (claim,) = await ledger.claim(Lane.HIGH, 10, LEASE_S)
    assert 90 <= claim.late_s < 120


async def test_a_claim_falls_back_to_the_contacts_of_the_user(cases: Cases, ledger: Ledger) -> None:
    case = await cases(to_sms=None, to_email=None)
    await case.execute(
        "INSERT INTO users (tenant, user_id, phone, email)"
        " SELECT tenant, user_id, '+15550100', 'own@example.com' FROM notifications WHERE id = $1"
    )
    (claim,) = await ledger.claim(Lane.NORMAL, 10, LEASE_S)
    assert (claim.recipient.sms, claim.recipient.email) == ("+15550100", "own@example.com")


async def test_lanes_are_separate_and_the_earliest_are_claimed_first(cases: Cases, ledger: Ledger) -> None:
    normal = [await cases() for _ in range(3)]
    critical = await cases(lane=Lane.CRITICAL)
    assert await _claim(ledger, Lane.HIGH) == []
    assert await _claim(ledger, Lane.CRITICAL) == [critical.id]
    assert sorted(await _claim(ledger, limit=2)) == sorted(case.id for case in normal[:2])
    assert await _claim(ledger) == [normal[2].id]


async def test_a_claimed_notification_is_due_after_its_lease_with_another_token(
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


async def test_two_claimers_never_get_the_same_notification(ledger: Ledger, other_ledger: Ledger) -> None:
    rows = [submission() for _ in range(200)]
    await ledger.accept_all(rows)

    async def work(claimer: Ledger) -> list[UUID]:
        claimed: list[UUID] = []
        while batch := await _claim(claimer, limit=7):
            claimed += batch
        return claimed

    shares = await asyncio.gather(*(work(claimer) for claimer in (ledger, other_ledger) * 3))
    all_claimed = [id for share in shares for id in share]
    assert sorted(all_claimed) == sorted(row.id for row in rows)


async def test_a_claimer_does_not_wait_for_another(cases: Cases, ledger: Ledger, pool: Pool) -> None:
    first = await cases()
    async with pool.acquire() as holder, holder.transaction():
        locked = await holder.fetch(statement("claim_due"), 2, 10, LEASE_S, *ALL)
        assert [row["id"] for row in locked] == [first.id]
        second = await cases()
        assert await asyncio.wait_for(_claim(ledger), timeout=60) == [second.id]


async def test_a_notification_is_still_due_after_its_claim_is_rolled_back(
    case: Case, ledger: Ledger, pool: Pool
) -> None:
    async with pool.acquire() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.fetch(statement("claim_due"), 2, 10, LEASE_S, *ALL)
        await transaction.rollback()
    assert await _claim(ledger) == [case.id]


async def test_a_claim_does_not_wait_for_a_ledger_write(case: Case, ledger: Ledger, pool: Pool) -> None:
    # The claim locks the queue's row only, so that dispatch never waits for a pass.
    async with pool.acquire() as holder, holder.transaction():
        await holder.fetch(call("ledger_lock_v1"), [case.id])
        assert await asyncio.wait_for(_claim(ledger), timeout=60) == [case.id]


async def test_a_notification_without_a_delivery_does_not_block_its_lane(
    cases: Cases, ledger: Ledger
) -> None:
    broken, sound = await cases(), await cases()
    await broken.execute("DELETE FROM deliveries WHERE notification_id = $1")
    assert sorted(await _claim(ledger)) == sorted([broken.id, sound.id])


async def test_a_notification_lost_after_its_claim_is_due_after_the_lease(case: Case, ledger: Ledger) -> None:
    await _claim(ledger)
    await _pass_time(case, LEASE_S)
    assert await _claim(ledger) == [case.id]
    assert await case.intend() is not None


async def test_a_notification_lost_after_its_intent_is_due_after_deadline_and_visibility_delay(
    case: Case, ledger: Ledger
) -> None:
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


async def test_a_notification_lost_after_an_outcome_is_due_after_the_lease(
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


async def test_a_released_notification_is_due_as_its_delivery_says_not_after_the_lease(
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


async def test_a_notification_without_its_receipt_is_due_at_the_deadline(case: Case, ledger: Ledger) -> None:
    await _claim(ledger)
    deadline = at((await case.load()).now, 600)
    await case.sent(due_at=deadline)
    due = await case.due()
    assert due is not None
    assert due["due_at"] == deadline
    await _pass_time(case, 600)
    assert await _claim(ledger) == [case.id]


async def test_a_final_notification_is_never_due_again(case: Case, ledger: Ledger) -> None:
    await _claim(ledger)
    await case.sent()
    assert await case.due() is None
    assert await _claim(ledger) == []


async def test_an_unprocessed_delivery_makes_its_notification_due_after_the_lease(
    cases: Cases, ledger: Ledger
) -> None:
    case = await cases(channels=(Channel.SMS, Channel.EMAIL))
    await _claim(ledger)
    await case.sent(Channel.SMS)
    await _pass_time(case, LEASE_S)
    assert await _claim(ledger) == [case.id]
    assert await case.intend(Channel.EMAIL, suppression_key="ada@example.com") is not None


async def test_the_next_write_restores_a_lost_queue_entry(case: Case) -> None:
    await case.execute("DELETE FROM due WHERE id = $1")
    opened = await case.open()
    due = await case.due()
    assert due is not None
    assert (due["due_at"], due["lane"]) == (at(opened.send_deadline, 30), 2)


async def test_a_concurrent_claim_and_cancel_leave_nothing_due(
    cases: Cases, ledger: Ledger, other_ledger: Ledger
) -> None:
    for _ in range(20):
        case = await cases()
        end = await case.change(Transition(Status.CANCELLED, None))
        await asyncio.gather(other_ledger.update(end), ledger.claim(Lane.NORMAL, 10, LEASE_S))
        assert await case.due() is None


async def test_a_concurrent_claim_and_update_never_shorten_the_lease(
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
async def test_the_commit_of_a_claim_does_not_wait_for_the_disk(name: str, cases: Cases, pool: Pool) -> None:
    case = await cases()
    which = ALL if name == "claim_due" else (uuid4(), None, [], [], [], 0)
    async with pool.acquire() as connection:
        await connection.execute("SET synchronous_commit = on")
        async with connection.transaction():
            [claimed] = await connection.fetch(statement(name), LANE_RANK[Lane.NORMAL], 1, LEASE_S, *which)
            assert claimed["id"] == case.id
            assert await connection.fetchval("SHOW synchronous_commit") == "off"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"


def test_only_claims_commit_without_waiting_for_the_disk() -> None:
    texts = {name: one.text for name, one in statements().items()}
    texts |= {path.stem: path.read_text(encoding="utf-8") for path in FUNCTIONS.glob("*.sql")}
    asynchronous = {name for name, text in texts.items() if "synchronous_commit" in text}
    assert asynchronous == {"claim_due", "claim_batch", "claim_receipts"}
