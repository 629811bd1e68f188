"""What receipts change in a delivery and its attempts. Pure, and independent of order: the same reports, one
by one or together, in any order, lead to the same result.

Callbacks arrive repeated, reordered, and before the answer to the call they report on, so nothing here may
depend on which came first. An attempt keeps the report of the highest precedence (domain.outcome.advance);
the delivery's status follows from its attempts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from domain.call_decision import awaiting_receipt
from domain.notification import Attempt, Delivery
from domain.outcome import RECEIPT_ORDER, Outcome, ReceiptStatus, contradicts
from domain.reasons import Reason
from domain.status import Status
from domain.transition import Transition

UNMATCHED_WAITS_S = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
"""How long a receipt that matches no attempt waits before each new try: it may have overtaken our record of
the send, or a look-up may still find its attempt. After the last try it is an orphan."""

_MAY_HAVE_BEEN_TAKEN = frozenset({None, Outcome.ACCEPTED, Outcome.UNKNOWN})


class Event(StrEnum):
    """The timeline events that receipts cause, besides themselves."""

    FALLBACK = "fallback_after_undelivered"
    UNDELIVERED = "undelivered"


@dataclass(frozen=True, slots=True)
class Report:
    """One receipt for attempt `number`. `at`: when it happened, by the provider's clock if known."""

    number: int
    status: ReceiptStatus
    at: datetime
    code: str | None = None
    permanent: bool = False
    provider_message_id: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptChange:
    """What changes in an attempt. `receipt`: the report that moved its receipt up, None if no report did.

    `closes`: it was open, and is now known to be accepted. `late`: it had been closed as not accepted, and is
    now known to be accepted: the ledger's decision was wrong.
    """

    number: int
    receipt: Report | None
    closes: bool
    late: bool
    provider_message_id: str | None


@dataclass(frozen=True, slots=True)
class ReceiptEffect:
    """What reports change. `delivery` is None if it stays unchanged."""

    attempts: tuple[AttemptChange, ...]
    delivery: Transition | None


def unmatched_wait_s(tries: int) -> float | None:
    """How long a receipt that matched no attempt in `tries` tries waits now; None: it is an orphan."""
    return UNMATCHED_WAITS_S[tries] if tries < len(UNMATCHED_WAITS_S) else None


def effect_of(
    now: datetime,
    delivery: Delivery,
    reports: Sequence[Report],
    *,
    receipt_deadline_s: float | None,
    content_kept: bool,
    first: bool,
) -> ReceiptEffect:
    """What these reports change. Raises KeyError if one names no attempt of the delivery.

    `receipt_deadline_s`: how long the type waits for a receipt after a send; None: no receipt is expected.
    `content_kept`: the content is still available for another send. `first`: the notification's strategy
    is `first`, so that another channel may wait for this one.
    """
    attempts = {attempt.number: attempt for attempt in delivery.attempts}
    by_attempt: dict[int, list[Report]] = {}
    for report in reports:
        by_attempt.setdefault(report.number, []).append(report)
    changes = tuple(_learn(attempts[number], group) for number, group in sorted(by_attempt.items()))
    for change in changes:
        attempts[change.number] = _applied(attempts[change.number], change)
    delivery = replace(delivery, attempts=tuple(attempts[number] for number in sorted(attempts)))
    if delivery.open_attempt:
        # Closing it takes the receipts of the other attempts into account
        # (storage/functions/ledger_close_v1.sql).
        return ReceiptEffect(changes, None)
    if any(attempt.receipt_status is ReceiptStatus.DELIVERED for attempt in delivery.attempts):
        settled = delivery.status is Status.DELIVERED and delivery.due_at is None
        return ReceiptEffect(changes, None if settled else Transition(Status.DELIVERED, due_at=None))
    sent = None
    if delivery.status is Status.SENDING and any(change.closes for change in changes):
        sent = awaiting_receipt(now, receipt_deadline_s)
        delivery = replace(delivery, status=Status.SENT)
    return ReceiptEffect(changes, _failed(now, delivery, reports, content_kept, first) or sent)


def _learn(attempt: Attempt, reports: Sequence[Report]) -> AttemptChange:
    best = min(reports, key=lambda report: (-RECEIPT_ORDER[report.status], report.at, report.code or ""))
    known = attempt.receipt_status
    moves_up = known is None or RECEIPT_ORDER[best.status] > RECEIPT_ORDER[known]
    return AttemptChange(
        number=attempt.number,
        receipt=best if moves_up else None,
        closes=attempt.outcome is None,
        late=known is None and contradicts(Outcome.ACCEPTED, attempt.outcome),
        provider_message_id=min(
            (report.provider_message_id for report in reports if report.provider_message_id), default=None
        ),
    )


def _applied(attempt: Attempt, change: AttemptChange) -> Attempt:
    return replace(
        attempt,
        outcome=Outcome.ACCEPTED if change.closes else attempt.outcome,
        receipt_status=change.receipt.status if change.receipt else attempt.receipt_status,
        provider_message_id=attempt.provider_message_id or change.provider_message_id,
    )


def _failed(
    now: datetime, delivery: Delivery, reports: Sequence[Report], content_kept: bool, first: bool
) -> Transition | None:
    """The transition of failing reports about the delivery's current attempt; None if nothing changes."""
    current = _current(delivery)
    failures = [
        report
        for report in reports
        if current and report.number == current.number and report.status is ReceiptStatus.UNDELIVERED
    ]
    if not current or not failures:
        return None
    permanent = any(report.permanent for report in failures)
    falling_back = delivery.status is Status.DEFERRED and delivery.reason_code == Reason.UNDELIVERED
    # A permanent failure stops a fallback that has not started, as it would have if it had arrived first.
    if delivery.status is not Status.SENT and not (permanent and falling_back):
        return None
    data = {"number": current.number, "provider": current.provider}
    if permanent or delivery.expires_at <= now or not content_kept:
        why = "permanent" if permanent else "content_gone" if not content_kept else "expired"
        return Transition(
            Status.UNDELIVERED,
            due_at=None,
            reason_code=Reason.UNDELIVERED,
            # The next channel is picked up at once, not after the lease of the current claim.
            release=first,
            event=Event.UNDELIVERED,
            data={**data, "why": why},
        )
    return Transition(
        Status.DEFERRED,
        due_at=now,
        reason_code=Reason.UNDELIVERED,
        next_pass_at=now,
        release=True,
        event=Event.FALLBACK,
        data=data,
    )


def _current(delivery: Delivery) -> Attempt | None:
    """The attempt that `sent` is based on: the last that a provider accepted, or may have accepted.

    Only recorded outcomes count: receipts for earlier attempts must not change it.
    """
    taken = [attempt for attempt in delivery.attempts if attempt.outcome in _MAY_HAVE_BEEN_TAKEN]
    last = max(taken, key=lambda attempt: attempt.number, default=None)
    if delivery.status is Status.DEFERRED and last and last.number != delivery.attempts[-1].number:
        # Another provider has been called since.
        return None
    return last
