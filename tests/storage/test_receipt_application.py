"""The effects of receipts on the ledger: every rule, over real rows."""

from datetime import UTC, datetime
from itertools import permutations
from uuid import UUID

import pytest
from receipt_case import DEADLINE_S, LedgerHarness, receipt

from domain.notification import Channel, Lane, Strategy
from domain.outcome import Outcome, Receipt, ReceiptStatus
from domain.status import Status
from storage.receipts import UnknownAttempt


async def test_delivered_ends_the_delivery(harness: LedgerHarness) -> None:
    id, ref = await harness.sent()
    occurred_at = datetime(2025, 1, 1, tzinfo=UTC)
    await harness.report_receipts(receipt(ref, "delivered", code="ok", occurred_at=occurred_at))
    applied = await harness.receipts.apply_due(100)
    assert applied.taken == 1
    [changed] = applied.changed
    assert (changed.notification_id, changed.type) == (id, "debit_alert")
    assert (changed.channel, changed.status) == (Channel.SMS, Status.DELIVERED)
    notification = await harness.load(id)
    assert notification.status is Status.DELIVERED
    assert notification.deliveries[0].due_at is None
    assert await harness.due(id) is None
    assert await harness.inbox() == 0
    [attempt] = await harness.attempt_rows(id)
    assert (attempt["receipt_status"], attempt["receipt_code"]) == ("delivered", "ok")
    assert attempt["receipt_at"] == occurred_at


@pytest.mark.parametrize("status", ["queued", "sent"])
async def test_a_status_before_delivery_only_updates_the_attempt(harness: LedgerHarness, status: str) -> None:
    id, ref = await harness.sent()
    await harness.report_receipts(receipt(ref, status))
    applied = await harness.receipts.apply_due(100)
    assert (applied.taken, applied.changed) == (1, ())
    assert (await harness.load(id)).deliveries[0].status is Status.SENT
    [attempt] = await harness.attempt_rows(id)
    assert attempt["receipt_status"] == status


@pytest.mark.parametrize("awaits", [True, False])
async def test_undelivered_falls_back_at_once(harness: LedgerHarness, awaits: bool) -> None:
    id, ref = await harness.sent(awaits=awaits)
    await harness.report_receipts(receipt(ref, "undelivered", code="30003"))
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.DEFERRED
    delivery = (await harness.load(id)).deliveries[0]
    assert (delivery.status, delivery.reason_code) == (Status.DEFERRED, "undelivered")
    assert delivery.next_pass_at <= (await harness.load(id)).now
    assert await harness.due(id) is True
    assert await harness.events(id) == ["fallback_after_undelivered"]
    # The next provider can be called at once.
    await harness.attempt(id, provider="termii")


async def test_a_claim_does_not_delay_a_fallback(harness: LedgerHarness) -> None:
    id, ref = await harness.sent()
    await harness.pool.execute("UPDATE due SET due_at = now() WHERE id = $1", id)
    assert id in {claim.id for claim in await harness.ledger.claim(Lane.NORMAL, 500, lease_s=600)}
    await harness.report_receipts(receipt(ref, "undelivered"))
    await harness.receipts.apply_due(100)
    assert await harness.due(id) is True


async def test_a_permanent_failure_is_final(harness: LedgerHarness) -> None:
    id, ref = await harness.sent()
    await harness.report_receipts(receipt(ref, "undelivered", permanent=True))
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.UNDELIVERED
    assert (await harness.load(id)).status is Status.UNDELIVERED
    assert await harness.due(id) is None
    assert await harness.events(id) == ["undelivered"]


async def test_there_is_no_fallback_after_the_expiry(harness: LedgerHarness) -> None:
    id, ref = await harness.sent()
    await harness.pool.execute(
        "UPDATE deliveries SET expires_at = now() - interval '1 s' WHERE notification_id = $1", id
    )
    await harness.report_receipts(receipt(ref, "undelivered"))
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.UNDELIVERED


async def test_there_is_no_fallback_without_content(harness: LedgerHarness) -> None:
    id, ref = await harness.sent(scrub=True, awaits=False)
    assert (await harness.load(id)).content.body == ""
    await harness.report_receipts(receipt(ref, "undelivered"))
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.UNDELIVERED


async def test_a_callback_before_the_response_proves_acceptance(harness: LedgerHarness) -> None:
    id = await harness.accept()
    ref = await harness.attempt(id, None)
    await harness.report_receipts(receipt(ref, "queued", provider_message_id="SM-early"))
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.SENT
    notification = await harness.load(id)
    delivery = notification.deliveries[0]
    assert delivery.due_at is not None
    assert 0 < (delivery.due_at - notification.now).total_seconds() <= DEADLINE_S
    [attempt] = await harness.attempt_rows(id)
    assert (attempt["outcome"], attempt["resolved_by"]) == ("accepted", "callback")
    assert (attempt["provider_message_id"], attempt["late_outcome"]) == ("SM-early", None)
    assert attempt["closed_at"] is not None
    # The sender is too late to close it, and its outcome is the recorded one.
    recorded = await harness.ledger.record_late_outcome(delivery.id, 1, Outcome.ACCEPTED, "SM-early")
    assert recorded == "accepted"
    # From now on the message's id is enough.
    await harness.report_receipts(receipt(None, "delivered", provider_message_id="SM-early"))
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.DELIVERED


async def test_a_type_without_receipts_is_final_once_proven_sent(harness: LedgerHarness) -> None:
    id = await harness.accept(type="marketing")
    ref = await harness.attempt(id, None)
    await harness.report_receipts(receipt(ref, "sent"))
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.SENT
    assert await harness.due(id) is None


async def test_a_failure_before_the_response_falls_back(harness: LedgerHarness) -> None:
    id = await harness.accept()
    ref = await harness.attempt(id, None)
    await harness.report_receipts(receipt(ref, "undelivered"))
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.DEFERRED
    [attempt] = await harness.attempt_rows(id)
    assert attempt["outcome"] == "accepted"


@pytest.mark.parametrize("outcome", [Outcome.NOT_SENT, Outcome.UNKNOWN, Outcome.REJECTED])
async def test_a_late_acceptance_is_kept_and_reported_once(harness: LedgerHarness, outcome: Outcome) -> None:
    id, ref = await harness.sent(outcome=outcome, status=Status.DEAD_LETTERED)
    await harness.report_receipts(receipt(ref, "queued", provider_message_id=f"SM-late-{id}"))
    applied = await harness.receipts.apply_due(100)
    [late] = applied.late
    assert (late.notification_id, late.provider, late.outcome) == (id, "twilio", outcome)
    assert applied.changed == ()
    [attempt] = await harness.attempt_rows(id)
    assert (attempt["outcome"], attempt["late_outcome"]) == (outcome.value, "accepted")
    assert (await harness.load(id)).status is Status.DEAD_LETTERED
    # No look-up can claim the message for another attempt.
    assert await harness.ledger.claimed_messages("twilio", [f"SM-late-{id}"])
    await harness.report_receipts(receipt(ref, "delivered"))
    applied = await harness.receipts.apply_due(100)
    assert applied.late == ()
    assert [changed.status for changed in applied.changed] == [Status.DELIVERED]


async def test_a_late_outcome_from_the_sender_is_not_reported_again(harness: LedgerHarness) -> None:
    id, ref = await harness.sent(outcome=Outcome.NOT_SENT, status=Status.DEAD_LETTERED)
    delivery = (await harness.load(id)).deliveries[0]
    await harness.ledger.record_late_outcome(delivery.id, 1, Outcome.ACCEPTED, None)
    await harness.report_receipts(receipt(ref, "queued"))
    assert (await harness.receipts.apply_due(100)).late == ()


@pytest.mark.parametrize(
    "status",
    [
        Status.CANCELLED,
        Status.EXPIRED,
        Status.SUPPRESSED,
        Status.FAILED,
        Status.UNDELIVERED,
        Status.DEAD_LETTERED,
        Status.OUTCOME_UNKNOWN,
    ],
)
async def test_only_delivered_changes_a_finished_delivery(harness: LedgerHarness, status: Status) -> None:
    id, ref = await harness.sent(status=status)
    await harness.report_receipts(receipt(ref, "undelivered", permanent=True))
    assert (await harness.receipts.apply_due(100)).changed == ()
    assert (await harness.load(id)).status is status
    await harness.report_receipts(receipt(ref, "delivered"))
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.DELIVERED


async def test_receipts_are_applied_to_their_attempts(harness: LedgerHarness) -> None:
    id, first = await harness.sent(message_id="SM-1st")
    await harness.attempt(id, provider="termii", message_id="T-2nd")
    await harness.report_receipts(receipt(first, "undelivered"))
    await harness.report_receipts(receipt(None, "sent", provider_message_id="T-2nd"), provider="termii")
    assert (await harness.receipts.apply_due(100)).changed == ()
    await harness.report_receipts(receipt(None, "delivered", provider_message_id="SM-1st"))
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.DELIVERED
    rows = await harness.attempt_rows(id)
    assert [row["receipt_status"] for row in rows] == ["delivered", "sent"]


async def test_a_reference_is_accepted_only_from_its_provider(harness: LedgerHarness) -> None:
    id, ref = await harness.sent()
    await harness.report_receipts(receipt(ref, "delivered"), provider="mailgun")
    assert (await harness.receipts.apply_due(100)).changed == ()
    assert (await harness.load(id)).status is Status.SENT
    assert await harness.inbox() == 1


async def test_delivered_waits_while_another_attempt_is_open(harness: LedgerHarness) -> None:
    id, first = await harness.sent()
    second = await harness.attempt(id, None, provider="termii")
    await harness.report_receipts(receipt(first, "delivered"))
    assert (await harness.receipts.apply_due(100)).changed == ()
    assert (await harness.load(id)).status is Status.SENDING
    # The receipt that proves the open attempt accepted ends the delivery.
    await harness.report_receipts(receipt(second, "queued"), provider="termii")
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.DELIVERED
    rows = await harness.attempt_rows(id)
    assert [row["receipt_status"] for row in rows] == ["delivered", "queued"]


async def test_the_next_channel_starts_when_the_first_fails_for_good(harness: LedgerHarness) -> None:
    id = await harness.accept(Channel.SMS, Channel.EMAIL, strategy=Strategy.FIRST)
    ref = await harness.attempt(id)
    await harness.pool.execute("UPDATE due SET due_at = now() WHERE id = $1", id)
    await harness.ledger.claim(Lane.NORMAL, 500, lease_s=600)
    await harness.report_receipts(receipt(ref, "undelivered", permanent=True))
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.UNDELIVERED
    statuses = [delivery.status for delivery in (await harness.load(id)).deliveries]
    assert statuses == [Status.UNDELIVERED, Status.ACCEPTED]
    assert await harness.due(id) is True


async def test_the_next_channel_is_cancelled_when_the_first_is_delivered(harness: LedgerHarness) -> None:
    id = await harness.accept(Channel.SMS, Channel.EMAIL, strategy=Strategy.FIRST)
    ref = await harness.attempt(id)
    await harness.report_receipts(receipt(ref, "delivered"))
    await harness.receipts.apply_due(100)
    statuses = [delivery.status for delivery in (await harness.load(id)).deliveries]
    assert statuses == [Status.DELIVERED, Status.CANCELLED]


async def test_a_receipt_of_one_channel_does_not_change_another(harness: LedgerHarness) -> None:
    id = await harness.accept(Channel.SMS, Channel.EMAIL)
    ref = await harness.attempt(id)
    await harness.report_receipts(receipt(ref, "delivered"))
    [changed] = (await harness.receipts.apply_due(100)).changed
    assert changed.status is Status.DELIVERED
    statuses = [delivery.status for delivery in (await harness.load(id)).deliveries]
    assert statuses == [Status.DELIVERED, Status.ACCEPTED]


async def test_a_polled_receipt_is_applied_like_a_callback(harness: LedgerHarness) -> None:
    id, _ = await harness.sent()
    delivery = (await harness.load(id)).deliveries[0]
    polled = Receipt("poll-1", ReceiptStatus.DELIVERED)
    applied = await harness.receipts.apply_one(delivery.id, 1, polled, "poll")
    assert [changed.status for changed in applied.changed] == [Status.DELIVERED]
    assert (
        await harness.pool.fetchval("SELECT source FROM receipts WHERE delivery_id = $1", delivery.id)
        == "poll"
    )
    again = await harness.receipts.apply_one(delivery.id, 1, polled, "poll")
    assert (again.taken, again.changed) == (1, ())
    with pytest.raises(UnknownAttempt, match="no attempt 7"):
        await harness.receipts.apply_one(delivery.id, 7, polled, "poll")


async def test_a_receipt_from_a_look_up_closes_the_open_attempt(harness: LedgerHarness) -> None:
    id = await harness.accept()
    await harness.attempt(id, None)
    delivery = (await harness.load(id)).deliveries[0]
    found = Receipt("found-1", ReceiptStatus.SENT, provider_message_id="SM-found")
    await harness.receipts.apply_one(delivery.id, 1, found, "lookup")
    [attempt] = await harness.attempt_rows(id)
    assert (attempt["outcome"], attempt["resolved_by"]) == ("accepted", "lookup")


async def _prepared(
    harness: LedgerHarness, attempts: list[tuple[str, Outcome | None]]
) -> tuple[UUID, list[str]]:
    id = await harness.accept()
    refs = [
        await harness.attempt(
            id, outcome, provider=provider, message_id=f"{provider}-{id}" if outcome else None
        )
        for provider, outcome in attempts
    ]
    return id, refs


@pytest.mark.parametrize(
    ("attempts", "reports"),
    [
        ([("twilio", Outcome.ACCEPTED)], [(0, "queued", 0), (0, "sent", 0), (0, "undelivered", 0)]),
        ([("twilio", Outcome.ACCEPTED)], [(0, "undelivered", 0), (0, "undelivered", 1), (0, "sent", 0)]),
        (
            [("twilio", Outcome.ACCEPTED)],
            [(0, "sent", 0), (0, "undelivered", 0), (0, "undelivered", 1), (0, "delivered", 0)],
        ),
        (
            [("twilio", None)],
            [(0, "queued", 0), (0, "undelivered", 0), (0, "sent", 0), (0, "undelivered", 1)],
        ),
        (
            [("twilio", Outcome.ACCEPTED), ("termii", Outcome.ACCEPTED)],
            [(0, "undelivered", 1), (1, "undelivered", 0), (1, "sent", 0), (0, "sent", 0)],
        ),
        (
            [("twilio", Outcome.UNKNOWN), ("termii", None)],
            [(0, "sent", 0), (1, "undelivered", 0), (0, "undelivered", 1), (1, "queued", 0)],
        ),
        (
            [("twilio", Outcome.ACCEPTED), ("termii", None)],
            [(0, "delivered", 0), (1, "undelivered", 1), (0, "undelivered", 0), (1, "sent", 0)],
        ),
    ],
)
async def test_every_order_of_receipts_leads_to_the_same_end(
    harness: LedgerHarness, attempts: list[tuple[str, Outcome | None]], reports: list[tuple[int, str, int]]
) -> None:
    orders = list(permutations(reports))
    cases = [(await _prepared(harness, attempts), order) for order in orders]
    for step in range(len(reports)):
        for (_, refs), order in cases:
            which, status, permanent = order[step]
            await harness.report_receipts(
                receipt(refs[which], status, permanent=bool(permanent)), provider=attempts[which][0]
            )
        assert (await harness.receipts.apply_due(1000)).taken == len(cases)
    ends = {
        (
            delivery.status,
            delivery.reason_code,
            delivery.due_at is None,
            tuple((attempt.outcome, attempt.receipt_status) for attempt in delivery.attempts),
        )
        for (id, _), _ in cases
        for delivery in (await harness.load(id)).deliveries
    }
    assert len(ends) == 1
    # All of them at once lead to the same end.
    id, refs = await _prepared(harness, attempts)
    for which, status, permanent in reports:
        report = receipt(refs[which], status, permanent=bool(permanent))
        await harness.report_receipts(report, provider=attempts[which][0])
    await harness.receipts.apply_due(1000)
    delivery = (await harness.load(id)).deliveries[0]
    assert {(delivery.status, delivery.reason_code)} == {(end[0], end[1]) for end in ends}
