"""Outcomes close the open attempt once; a late outcome is kept beside the recorded one."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from ledger_case import Case, Cases, at

from domain.outcome import Outcome
from domain.status import FINAL, Status
from domain.transition import Transition
from storage.ledger import Ledger

SENT = Transition(Status.SENT, None)


async def test_an_accepted_attempt_is_closed_with_its_evidence(case: Case) -> None:
    opened = await case.open(provider="twilio", match_key="m1", device_id=None)
    message = f"SM-{uuid4()}"
    updated = await case.close(
        opened,
        Outcome.ACCEPTED,
        SENT,
        code="queued",
        http_status=201,
        provider_message_id=message,
        latency_ms=42,
    )
    assert updated is not None
    assert (updated.status, updated.version) == (Status.SENT, opened.version + 1)
    (attempt,) = await case.attempts()
    assert (attempt["outcome"], attempt["code"], attempt["http_status"]) == ("accepted", "queued", 201)
    assert (attempt["resolved_by"], attempt["latency_ms"]) == ("response", 42)
    assert attempt["closed_at"] is not None
    assert await case.ledger.claimed_messages("twilio", [message, "another"]) == {message}


async def test_a_rejected_attempt_does_not_claim_its_message(case: Case) -> None:
    opened, message = await case.open(), f"SM-{uuid4()}"
    after = Transition(Status.ACCEPTED, at(opened.intended_at, 60))
    assert await case.close(opened, Outcome.REJECTED, after, provider_message_id=message)
    assert await case.ledger.claimed_messages("twilio", [message]) == set()


async def test_the_next_attempt_has_the_next_number(case: Case) -> None:
    first = await case.open()
    assert await case.close(first, Outcome.REJECTED, Transition(Status.ACCEPTED, at(first.intended_at, 60)))
    second = await case.open(provider="termii")
    assert (second.number, second.version) == (2, first.version + 2)
    assert [attempt["outcome"] for attempt in await case.attempts()] == ["rejected", None]


async def test_an_ambiguous_answer_keeps_the_attempt_open_and_the_delivery_sending(case: Case) -> None:
    opened = await case.open()
    after = Transition(Status.SENDING, at(opened.send_deadline, 30), event="ambiguous")
    updated = await case.close(opened, None, after, code="timeout")
    assert updated is not None
    delivery = await case.delivery()
    assert delivery.status is Status.SENDING
    assert delivery.open_attempt is not None
    assert (delivery.open_attempt.code, delivery.version) == ("timeout", updated.version)
    assert await case.intend() is None
    (attempt,) = await case.attempts()
    assert (attempt["closed_at"], attempt["resolved_by"]) == (None, None)
    resolved = replace(opened, version=updated.version)
    assert await case.close(
        resolved, Outcome.NOT_SENT, Transition(Status.ACCEPTED, after.due_at), resolved_by="lookup"
    )
    assert [attempt["code"] for attempt in await case.attempts()] == ["timeout"]


async def test_an_outcome_for_an_older_version_changes_nothing(case: Case) -> None:
    opened = await case.open()
    noted = await case.close(opened, None, Transition(Status.SENDING, at(opened.send_deadline, 30)))
    assert noted is not None
    assert await case.close(opened, Outcome.ACCEPTED, SENT, provider_message_id=f"SM-{uuid4()}") is None
    assert (await case.delivery()).open_attempt is not None
    # It is not late either: the attempt is not resolved, so the caller reads again and closes it.
    assert (
        await case.ledger.record_late_outcome((await case.delivery()).id, 1, Outcome.ACCEPTED, "SM") is None
    )
    assert await case.close(replace(opened, version=noted.version), Outcome.ACCEPTED, SENT)


async def test_a_closed_attempt_is_not_closed_again_with_the_current_version(case: Case) -> None:
    first = await case.open()
    await case.close(first, Outcome.REJECTED, Transition(Status.ACCEPTED, at(first.send_deadline, 60)))
    second = await case.open(provider="termii")
    assert await case.close(replace(second, number=first.number), Outcome.ACCEPTED, SENT) is None
    assert [attempt["outcome"] for attempt in await case.attempts()] == ["rejected", None]
    assert (await case.delivery()).status is Status.SENDING


async def test_a_sender_that_resumes_after_its_attempt_was_resolved_changes_nothing(case: Case) -> None:
    stopped = await case.open()
    after = Transition(Status.ACCEPTED, at(stopped.send_deadline, 60))
    assert await case.close(stopped, Outcome.NOT_SENT, after, resolved_by="lookup")
    again = await case.open(provider="termii")

    message = f"SM-{uuid4()}"
    assert await case.close(stopped, Outcome.ACCEPTED, SENT, provider_message_id=message) is None
    delivery = await case.delivery()
    resolved_as = await case.ledger.record_late_outcome(
        delivery.id, stopped.number, Outcome.ACCEPTED, message
    )

    assert resolved_as == "not_sent"
    first, second = await case.attempts()
    assert (first["outcome"], first["resolved_by"]) == ("not_sent", "lookup")
    assert (first["late_outcome"], first["provider_message_id"]) == ("accepted", message)
    assert first["late_at"] is not None
    assert second["outcome"] is None
    assert (delivery.status, delivery.version) == (Status.SENDING, again.version)


async def test_the_message_of_a_late_acceptance_belongs_to_its_attempt(case: Case) -> None:
    opened, message = await case.open(), f"SM-{uuid4()}"
    await case.close(opened, Outcome.NOT_SENT, Transition(Status.FAILED, None), resolved_by="lookup")
    delivery = await case.delivery()
    await case.ledger.record_late_outcome(delivery.id, opened.number, Outcome.ACCEPTED, message)
    assert await case.ledger.claimed_messages("twilio", [message]) == {message}
    owner = await case.ledger.pool.fetchrow(
        "SELECT delivery_id, attempt_number AS number FROM provider_messages WHERE provider_message_id = $1",
        message,
    )
    assert owner is not None
    assert tuple(owner) == (delivery.id, opened.number)


async def test_a_late_acceptance_of_the_message_of_another_attempt_is_kept(cases: Cases) -> None:
    owner, late, message = await cases(), await cases(), f"SM-{uuid4()}"
    await owner.sent(provider_message_id=message)
    opened = await late.open()
    await late.close(opened, Outcome.UNKNOWN, Transition(Status.FAILED, None), resolved_by="policy")
    resolved = await late.ledger.record_late_outcome((await late.delivery()).id, 1, Outcome.ACCEPTED, message)
    assert resolved == "unknown"
    assert [attempt["late_outcome"] for attempt in await late.attempts()] == ["accepted"]


async def test_a_late_acceptance_stays_when_the_sender_reports_less(case: Case) -> None:
    opened, message = await case.open(), f"SM-{uuid4()}"
    await case.close(opened, Outcome.UNKNOWN, Transition(Status.FAILED, None), resolved_by="policy")
    delivery = await case.delivery()
    await case.ledger.record_late_outcome(delivery.id, opened.number, Outcome.ACCEPTED, message)
    await case.ledger.record_late_outcome(delivery.id, opened.number, Outcome.UNKNOWN, None)
    [attempt] = await case.attempts()
    assert (attempt["late_outcome"], attempt["provider_message_id"]) == ("accepted", message)


async def test_a_late_rejection_does_not_claim_its_message(case: Case) -> None:
    opened, message = await case.open(), f"SM-{uuid4()}"
    await case.close(opened, Outcome.NOT_SENT, Transition(Status.FAILED, None), resolved_by="lookup")
    delivery = await case.delivery()
    await case.ledger.record_late_outcome(delivery.id, opened.number, Outcome.REJECTED, message)
    assert await case.ledger.claimed_messages("twilio", [message]) == set()


async def test_only_one_of_a_concurrent_sender_and_resolver_closes_the_attempt(
    cases: Cases, ledger: Ledger, other_ledger: Ledger
) -> None:
    for turn in range(30):
        case = await cases()
        opened = await case.open()
        own = await case.outcome(opened, Outcome.ACCEPTED, SENT, provider_message_id=f"SM-{uuid4()}")
        resolved = await case.outcome(
            opened,
            Outcome.NOT_SENT,
            Transition(Status.ACCEPTED, at(opened.send_deadline, 60)),
            resolved_by="lookup",
        )
        calls = [ledger.close_attempt(own), other_ledger.close_attempt(resolved)]
        answers = await asyncio.gather(*(calls if turn % 2 else calls[::-1]))
        assert sum(answer is not None for answer in answers) == 1
        (attempt,) = await case.attempts()
        accepted = attempt["outcome"] == "accepted"
        assert (await case.delivery()).status is (Status.SENT if accepted else Status.ACCEPTED)
        assert (attempt["provider_message_id"] is not None) is accepted


async def test_a_stale_resolver_does_not_fail_the_outcome_of_the_sender_in_its_group(case: Case) -> None:
    opened = await case.open()
    noted = await case.close(opened, None, Transition(Status.SENDING, at(opened.send_deadline, 30)))
    assert noted is not None
    stale = await case.outcome(opened, Outcome.NOT_SENT, Transition(Status.FAILED, None))
    fresh = await case.outcome(replace(opened, version=noted.version), Outcome.ACCEPTED, SENT)
    answers = await asyncio.gather(case.ledger.close_attempt(stale), case.ledger.close_attempt(fresh))
    assert answers[0] is None
    assert answers[1] is not None
    assert [attempt["outcome"] for attempt in await case.attempts()] == ["accepted"]


async def test_only_the_row_with_the_message_of_another_attempt_fails(cases: Cases, ledger: Ledger) -> None:
    message = f"SM-{uuid4()}"
    await (await cases()).sent(provider_message_id=message)
    group = [await cases() for _ in range(7)]
    opened = [await case.open() for case in group]
    messages = [f"SM-{uuid4()}" for _ in group]
    messages[3] = message
    outcomes = [
        await case.outcome(attempt, Outcome.ACCEPTED, SENT, provider_message_id=id)
        for case, attempt, id in zip(group, opened, messages, strict=True)
    ]
    answers = await asyncio.gather(*map(ledger.close_attempt, outcomes), return_exceptions=True)
    assert isinstance(answers[3], asyncpg.UniqueViolationError)
    assert message not in str(answers[3])
    assert [type(answer).__name__ for answer in answers].count("Updated") == 6
    # Nothing of the failed row was written: its attempt is still open, and can be closed without that id.
    assert (await group[3].delivery()).open_attempt is not None
    assert await ledger.close_attempt(replace(outcomes[3], provider_message_id=None))


async def test_one_of_two_attempts_that_concurrently_claim_a_message_gets_it(
    cases: Cases, ledger: Ledger, other_ledger: Ledger
) -> None:
    for _ in range(10):
        message = f"SM-{uuid4()}"
        pair = [await cases(), await cases()]
        outcomes = [
            await case.outcome(await case.open(), Outcome.ACCEPTED, SENT, provider_message_id=message)
            for case in pair
        ]
        answers = await asyncio.gather(
            ledger.close_attempt(outcomes[0]), other_ledger.close_attempt(outcomes[1]), return_exceptions=True
        )
        assert sorted(type(answer).__name__ for answer in answers) == ["UniqueViolationError", "Updated"]


@pytest.mark.parametrize("after", [Transition(Status.FAILED, None), SENT])
async def test_a_delivered_receipt_of_an_earlier_attempt_decides_the_status(
    case: Case, after: Transition
) -> None:
    first = await case.open()
    await case.close(first, Outcome.UNKNOWN, Transition(Status.ACCEPTED, at(first.send_deadline, 60)))
    second = await case.open(provider="termii")
    await case.execute(
        "UPDATE notification_attempts SET receipt_status = 'delivered'"
        " WHERE notification_id = $1 AND number = 1"
    )
    updated = await case.close(second, Outcome.ACCEPTED, replace(after, reason_code="retry", event="test"))
    assert updated is not None
    assert updated.status is Status.DELIVERED
    delivery = await case.delivery()
    assert (delivery.reason_code, delivery.due_at) == (None, None)
    assert (await case.load()).status is Status.DELIVERED
    # The sender's event has not happened.
    assert "test" not in await case.timeline()


@pytest.mark.parametrize("status", ["queued", "sent", "undelivered"])
async def test_any_other_receipt_does_not_decide_the_status(case: Case, status: str) -> None:
    first = await case.open()
    await case.close(first, Outcome.UNKNOWN, Transition(Status.ACCEPTED, at(first.send_deadline, 60)))
    second = await case.open(provider="termii")
    await case.execute(
        "UPDATE notification_attempts SET receipt_status = $2 WHERE notification_id = $1 AND number = 1",
        status,
    )
    updated = await case.close(second, Outcome.ACCEPTED, SENT)
    assert updated is not None
    assert updated.status is Status.SENT


async def test_an_attempt_that_stays_open_stays_sending_despite_a_delivered_receipt(case: Case) -> None:
    first = await case.open()
    await case.close(first, Outcome.UNKNOWN, Transition(Status.ACCEPTED, at(first.send_deadline, 60)))
    second = await case.open(provider="termii")
    await case.execute(
        "UPDATE notification_attempts SET receipt_status = 'delivered'"
        " WHERE notification_id = $1 AND number = 1"
    )
    updated = await case.close(second, None, Transition(Status.SENDING, at(second.send_deadline, 30)))
    assert updated is not None
    assert updated.status is Status.SENDING


async def test_an_update_never_changes_a_delivery_with_an_open_attempt(case: Case) -> None:
    opened = await case.open()
    assert await case.update(Transition(Status.CANCELLED, None)) is None
    assert (await case.delivery()).version == opened.version


async def test_an_update_of_an_older_version_is_refused(case: Case) -> None:
    now = (await case.load()).now
    assert await case.update(Transition(Status.DEFERRED, now))
    assert await case.update(Transition(Status.CANCELLED, None), version=0) is None
    assert (await case.delivery()).status is Status.DEFERRED


async def test_an_update_keeps_the_fields_that_it_does_not_set(case: Case) -> None:
    before = await case.delivery()
    due_at = at(before.next_pass_at, 60)
    assert await case.update(
        Transition(Status.DEFERRED, due_at, "quiet_hours", event="deferred", data={"why": "night"})
    )
    after = await case.delivery()
    assert (after.pass_number, after.next_pass_at, after.expires_at) == (
        0,
        before.next_pass_at,
        before.expires_at,
    )
    assert (after.reason_code, after.due_at) == ("quiet_hours", due_at)
    changed = Transition(
        Status.DEFERRED, due_at, pass_number=2, next_pass_at=due_at, expires_at=at(due_at, 60)
    )
    assert await case.update(changed)
    later = await case.delivery()
    assert (later.pass_number, later.next_pass_at, later.expires_at) == (2, due_at, at(due_at, 60))
    assert (later.reason_code, await case.timeline()) == (None, ["deferred"])


@pytest.mark.parametrize("status", sorted(set(Status) - FINAL))
async def test_an_update_to_a_status_that_is_not_final_needs_due_at(case: Case, status: Status) -> None:
    with pytest.raises(ValueError, match=r"sending|picked up"):
        await case.update(Transition(status, None))


@pytest.mark.parametrize(("outcome", "status"), [(None, Status.SENT), (Outcome.REJECTED, Status.SENDING)])
async def test_an_outcome_and_sending_exclude_each_other(case: Case, outcome: Any, status: Status) -> None:
    opened = await case.open()
    with pytest.raises(ValueError, match="exactly while an attempt is open"):
        await case.close(opened, outcome, Transition(status, opened.send_deadline))


async def test_indistinguishable_attempts_are_open_and_of_other_deliveries(cases: Cases) -> None:
    key = uuid4().hex
    one, other = await cases(), await cases()
    await one.open(match_key=key)
    own = (await one.delivery()).id
    assert await one.ledger.indistinguishable_attempts(key, own) == 0
    opened = await other.open(match_key=key)
    assert await one.ledger.indistinguishable_attempts(key, own) == 1
    await other.close(opened, Outcome.ACCEPTED, SENT)
    assert await one.ledger.indistinguishable_attempts(key, own) == 0
