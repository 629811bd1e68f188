"""The policy alone: whatever order reports come in, however they are batched, a delivery ends alike."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.notification import Attempt, Channel, Delivery
from domain.outcome import FINAL_RECEIPTS, Outcome, ReceiptStatus
from domain.reasons import Reason
from domain.receipt_policy import UNMATCHED_WAITS_S, ReceiptEffect, Report, effect_of, unmatched_wait_s
from domain.status import FINAL, Status

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(hours=1), NOW - timedelta(hours=1)
CLOSED = [outcome for outcome in Outcome if outcome is not Outcome.AMBIGUOUS]


def attempt(number: int, outcome: Outcome | None, receipt: ReceiptStatus | None = None) -> Attempt:
    return Attempt(number, f"vendor{number}", 0, None, EARLIER, EARLIER, outcome, receipt_status=receipt)


def delivery(
    status: Status, *attempts: Attempt, reason: str | None = None, expires_at: datetime = LATER
) -> Delivery:
    return Delivery(
        id=UUID(int=1),
        channel=Channel.SMS,
        position=0,
        status=status,
        reason_code=reason,
        version=1,
        pass_number=0,
        next_pass_at=EARLIER,
        expires_at=expires_at,
        due_at=LATER if status not in FINAL else None,
        attempts=attempts,
    )


def decided(
    delivery: Delivery,
    *reports: Report,
    deadline_s: float | None = 60,
    content_kept: bool = True,
    first: bool = False,
) -> ReceiptEffect:
    return effect_of(
        NOW, delivery, reports, receipt_deadline_s=deadline_s, content_kept=content_kept, first=first
    )


def report(number: int, status: str, *, permanent: bool = False) -> Report:
    return Report(number, ReceiptStatus(status), NOW, permanent=permanent)


def after(delivery: Delivery, decision: ReceiptEffect) -> Delivery:
    """The delivery as the ledger has it once the decision is written."""
    attempts = {attempt.number: attempt for attempt in delivery.attempts}
    for change in decision.attempts:
        if change.closes:
            attempts[change.number] = replace(attempts[change.number], outcome=Outcome.ACCEPTED)
        if change.receipt:
            attempts[change.number] = replace(attempts[change.number], receipt_status=change.receipt.status)
    delivery = replace(delivery, attempts=tuple(attempts.values()))
    if decision.delivery is None:
        return delivery
    to = decision.delivery
    return replace(delivery, status=to.status, reason_code=to.reason_code, due_at=to.due_at)


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    """Any delivery that the ledger can hold: `sending` means that its last attempt is open."""
    known = st.sampled_from([None, *ReceiptStatus])
    attempts = [
        attempt(number, draw(st.sampled_from(CLOSED))) for number in range(1, draw(st.integers(1, 3)) + 1)
    ]
    attempts = [replace(a, receipt_status=draw(known)) for a in attempts]
    status = draw(st.sampled_from([status for status in Status if status is not Status.WAITING]))
    if status is Status.SENDING:
        attempts[-1] = replace(attempts[-1], outcome=None, receipt_status=None)
    elif any(a.receipt_status is ReceiptStatus.DELIVERED for a in attempts):
        status = Status.DELIVERED
    reasons = [None, Reason.UNDELIVERED, Reason.RETRY] if status is Status.DEFERRED else [None]
    reason = draw(st.sampled_from(reasons))
    return delivery(status, *attempts, reason=reason, expires_at=draw(st.sampled_from([LATER, EARLIER])))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Delivery, list[Report], list[list[Report]], bool]:
    """A delivery, reports about it, and the same reports in another order, cut into batches, some twice."""
    subject = draw(deliveries())
    one = st.builds(
        Report,
        number=st.integers(1, len(subject.attempts)),
        status=st.sampled_from(ReceiptStatus),
        at=st.sampled_from([EARLIER, NOW]),
        permanent=st.booleans(),
    )
    reports = draw(st.lists(one, min_size=1, max_size=6))
    again = draw(st.lists(st.sampled_from(reports), max_size=3))
    shuffled = draw(st.permutations(reports + again))
    cut = draw(st.lists(st.integers(0, len(shuffled)), max_size=4).map(sorted))
    edges = [0, *cut, len(shuffled)]
    batches = [list(shuffled[a:b]) for a, b in pairwise(edges) if a < b]
    return subject, reports, batches, draw(st.booleans())


def after_each(subject: Delivery, batches: Sequence[Sequence[Report]], content_kept: bool) -> Delivery:
    for batch in batches:
        subject = after(subject, decided(subject, *batch, content_kept=content_kept))
    return subject


@settings(max_examples=400)
@given(cases())
def test_the_order_of_reports_does_not_matter(
    case: tuple[Delivery, list[Report], list[list[Report]], bool],
) -> None:
    subject, reports, batches, content_kept = case
    assert after_each(subject, batches, content_kept) == after_each(subject, [reports], content_kept)


@given(cases())
def test_delivered_wins_as_soon_as_no_attempt_is_open(
    case: tuple[Delivery, list[Report], list[list[Report]], bool],
) -> None:
    subject, _, batches, content_kept = case
    end = after_each(subject, batches, content_kept)
    arrived = any(attempt.receipt_status is ReceiptStatus.DELIVERED for attempt in end.attempts)
    if end.open_attempt:
        assert end.status is Status.SENDING
    elif arrived:
        assert (end.status, end.due_at, end.reason_code) == (Status.DELIVERED, None, None)


@given(cases())
def test_reports_never_take_anything_back(
    case: tuple[Delivery, list[Report], list[list[Report]], bool],
) -> None:
    subject, _, batches, content_kept = case
    end = after_each(subject, batches, content_kept)
    ranks = list(ReceiptStatus)
    for before, now in zip(subject.attempts, end.attempts, strict=True):
        assert before.outcome in (None, now.outcome)
        assert before.receipt_status is None or (
            now.receipt_status is not None
            and ranks.index(now.receipt_status) >= ranks.index(before.receipt_status)
        )
    if subject.status in FINAL - {Status.SENT} and subject.status is not end.status:
        assert end.status is Status.DELIVERED


@given(cases())
def test_nothing_is_sent_again_but_the_expected_way(
    case: tuple[Delivery, list[Report], list[list[Report]], bool],
) -> None:
    subject, _, batches, content_kept = case
    end = after_each(subject, batches, content_kept)
    if end.status is Status.DEFERRED and subject.status is not Status.DEFERRED:
        assert subject.status in {Status.SENT, Status.SENDING}
        assert content_kept
        assert subject.expires_at > NOW
        assert (end.reason_code, end.due_at) == (Reason.UNDELIVERED, NOW)


def test_a_failure_of_the_current_attempt_falls_back() -> None:
    sent = delivery(Status.SENT, attempt(1, Outcome.ACCEPTED))
    to = decided(sent, report(1, "undelivered")).delivery
    assert to is not None
    assert (to.status, to.reason_code, to.next_pass_at, to.due_at, to.release) == (
        Status.DEFERRED,
        Reason.UNDELIVERED,
        NOW,
        NOW,
        True,
    )
    assert (to.event, to.data) == ("fallback_after_undelivered", {"number": 1, "provider": "vendor1"})


@pytest.mark.parametrize(
    ("permanent", "expires_at", "content_kept", "why"),
    [(True, LATER, True, "permanent"), (False, NOW, True, "expired"), (False, LATER, False, "content_gone")],
)
def test_a_failure_that_cannot_be_helped_is_final(
    permanent: bool, expires_at: datetime, content_kept: bool, why: str
) -> None:
    sent = delivery(Status.SENT, attempt(1, Outcome.ACCEPTED), expires_at=expires_at)
    to = decided(sent, report(1, "undelivered", permanent=permanent), content_kept=content_kept).delivery
    assert to is not None
    assert (to.status, to.reason_code, to.due_at) == (Status.UNDELIVERED, Reason.UNDELIVERED, None)
    assert to.data["why"] == why


@pytest.mark.parametrize("first", [True, False])
def test_the_end_of_a_channel_releases_the_claim_for_the_next_one(first: bool) -> None:
    sent = delivery(Status.SENT, attempt(1, Outcome.ACCEPTED))
    to = decided(sent, report(1, "undelivered", permanent=True), first=first).delivery
    assert to is not None
    assert (to.status, to.release) == (Status.UNDELIVERED, first)


def test_a_failure_of_an_earlier_attempt_changes_nothing() -> None:
    sent = delivery(Status.SENT, attempt(1, Outcome.ACCEPTED), attempt(2, Outcome.ACCEPTED))
    assert decided(sent, report(1, "undelivered", permanent=True)).delivery is None


def test_a_permanent_failure_stops_only_a_fallback_that_has_not_begun() -> None:
    news = report(1, "undelivered", permanent=True)
    waiting = delivery(Status.DEFERRED, attempt(1, Outcome.ACCEPTED), reason=Reason.UNDELIVERED)
    stopped = decided(waiting, news).delivery
    assert stopped is not None
    assert stopped.status is Status.UNDELIVERED
    begun = replace(waiting, attempts=(*waiting.attempts, attempt(2, Outcome.THROTTLED)))
    assert decided(begun, news).delivery is None


def test_a_message_assumed_sent_can_still_be_refuted() -> None:
    assumed = delivery(Status.SENT, attempt(1, Outcome.ACCEPTED), attempt(2, Outcome.UNKNOWN))
    assert decided(assumed, report(1, "undelivered")).delivery is None
    refuted = decided(assumed, report(2, "undelivered"))
    assert refuted.delivery is not None
    assert refuted.delivery.status is Status.DEFERRED
    assert refuted.attempts[0].late


def test_an_open_attempt_is_proven_accepted() -> None:
    sending = delivery(Status.SENDING, attempt(1, Outcome.UNAVAILABLE), attempt(2, None))
    proven = decided(sending, report(2, "queued"))
    assert proven.attempts[0].closes
    assert not proven.attempts[0].late
    assert proven.delivery is not None
    assert (proven.delivery.status, proven.delivery.due_at) == (Status.SENT, NOW + timedelta(seconds=60))
    final = decided(sending, report(2, "sent"), deadline_s=None).delivery
    assert final is not None
    assert final.due_at is None


def test_another_open_attempt_keeps_the_delivery_sending() -> None:
    sending = delivery(Status.SENDING, attempt(1, Outcome.ACCEPTED), attempt(2, None))
    decision = decided(sending, report(1, "delivered"))
    assert decision.delivery is None
    assert decision.attempts[0].receipt is not None


@pytest.mark.parametrize("outcome", [o for o in CLOSED if o is not Outcome.ACCEPTED])
@pytest.mark.parametrize("status", [s for s in ReceiptStatus if s is not ReceiptStatus.DELIVERED])
def test_a_late_acceptance_is_told_once(outcome: Outcome, status: ReceiptStatus) -> None:
    parked = delivery(Status.OUTCOME_UNKNOWN, attempt(1, outcome))
    first = decided(parked, report(1, status))
    assert first.attempts[0].late
    assert not first.attempts[0].closes
    assert first.delivery is None
    assert not decided(after(parked, first), report(1, "delivered")).attempts[0].late


@pytest.mark.parametrize("status", [s for s in ReceiptStatus if s not in FINAL_RECEIPTS])
def test_news_on_the_way_move_no_delivery(status: ReceiptStatus) -> None:
    sent = delivery(Status.SENT, attempt(1, Outcome.ACCEPTED))
    decision = decided(sent, report(1, status))
    assert decision.delivery is None
    assert decision.attempts[0].receipt is not None


def test_sending_without_an_open_attempt_is_left_to_the_reconciliation() -> None:
    adrift = delivery(Status.SENDING, attempt(1, Outcome.UNAVAILABLE))
    assert decided(adrift, report(1, "sent")).delivery is None


def test_a_report_on_no_attempt_is_refused() -> None:
    with pytest.raises(KeyError):
        decided(delivery(Status.SENT, attempt(1, Outcome.ACCEPTED)), report(2, "sent"))


def test_an_unmatched_receipt_waits_longer_each_time() -> None:
    waits = [unmatched_wait_s(tries) for tries in range(len(UNMATCHED_WAITS_S) + 1)]
    assert waits[:4] == [1, 5, 30, 120]
    assert waits[-1] is None
    assert sorted(wait for wait in waits if wait) == waits[:-1]
