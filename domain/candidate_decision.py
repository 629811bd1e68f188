"""Which provider is called next for a sendable delivery, and what follows if none can be."""

from dataclasses import replace
from datetime import datetime, timedelta

from domain.notification import Channel
from domain.outcome import Outcome, ReceiptStatus
from domain.reasons import Reason
from domain.retry import next_pass_at
from domain.routing import Ranked, rank
from domain.snapshot import DecisionContext, DeliverySnapshot
from domain.status import Status
from domain.transition import Call, Transition

RATE_WAIT_S = 1.0
"""How long a delivery waits, in seconds, if only a provider's rate limit blocks it."""


def next_candidate(snapshot: DeliverySnapshot) -> Call | Transition:
    """The next candidate of this pass, or the transition without one."""
    ranked = rank(snapshot.notification, snapshot.delivery, snapshot.route)
    if ranked.usable:
        return Call(ranked.usable[0], ranked.skipped)
    if not ranked.known:
        return nowhere_left(snapshot)
    return failed_pass(snapshot) if ranked.tried else _provider_down(snapshot, ranked)


def failed_pass(snapshot: DeliverySnapshot, retry_after_s: float | None = None) -> Transition:
    """Every provider failed in this pass: schedule the next one, or end if the schedule is used up.

    `retry_after_s`: the wait that the only provider asked for.
    """
    delivery, type, now = snapshot.delivery, snapshot.context.type, snapshot.now
    passes_failed = delivery.pass_number - delivery.round_pass + 1
    at = next_pass_at(
        now,
        type.retry_s,
        passes_failed,
        type.retry_jitter,
        snapshot.jitter,
        retry_after_s,
        delivery.expires_at,
    )
    if at is not None:
        return Transition(
            Status.DEFERRED,
            snapshot.context.lease_after(at),
            Reason.RETRY,
            pass_number=delivery.pass_number + 1,
            next_pass_at=at,
            event="retry",
            data={"pass": delivery.pass_number + 1, "at": at.isoformat()},
        )
    if any(attempt.receipt_status is not None for attempt in delivery.attempts):
        # A provider accepted it and reported a failure: undelivered, not a dead letter.
        return Transition(Status.UNDELIVERED, None, Reason.UNDELIVERED, event="exhausted")
    if snapshot.has_channel_behind:
        return Transition(Status.UNDELIVERED, None, Reason.PROVIDERS_EXHAUSTED, event="exhausted")
    parked = park(now, snapshot.context, Status.DEAD_LETTERED, Reason.PROVIDERS_EXHAUSTED)
    return replace(parked, data={"passes": passes_failed})


def park(now: datetime, context: DecisionContext, status: Status, reason: Reason) -> Transition:
    """Park the delivery until an operator acts, or until it has been parked too long."""
    return Transition(status, now + timedelta(seconds=context.keep_parked_s), reason, event=status.value)


def nowhere_left(snapshot: DeliverySnapshot) -> Transition:
    """No candidate is left at all. The reason follows from the attempts."""
    delivery = snapshot.delivery
    outcomes = {attempt.outcome for attempt in delivery.attempts}
    if Outcome.ACCEPTED in outcomes:
        reported = any(attempt.receipt_status is ReceiptStatus.UNDELIVERED for attempt in delivery.attempts)
        reason = Reason.UNDELIVERED if reported else Reason.NO_RECEIPT
        return Transition(Status.UNDELIVERED, None, reason, event="exhausted")
    if Outcome.REJECTED_RECIPIENT in outcomes:
        reason = Reason.NO_DEVICE if delivery.channel is Channel.PUSH else Reason.RECIPIENT_REJECTED
        return Transition(Status.UNDELIVERED, None, reason, event="exhausted")
    if not snapshot.notification.recipient.addresses(delivery.channel):
        return Transition(Status.FAILED, None, Reason.NO_CONTACT, event="failed")
    if snapshot.has_channel_behind:
        return Transition(Status.FAILED, None, Reason.NO_PROVIDER, event="failed")
    return park(snapshot.now, snapshot.context, Status.DEAD_LETTERED, Reason.NO_PROVIDER)


def _provider_down(snapshot: DeliverySnapshot, ranked: Ranked) -> Transition:
    """Every provider is blocked: the delivery waits in the ledger without using up a pass.

    If another channel waits behind it, that one takes over: `first` promises to reach the user, not to wait.
    """
    rate_limited = "rate" in ranked.skipped.values()
    if snapshot.has_channel_behind and not rate_limited:
        return Transition(
            Status.UNDELIVERED,
            None,
            Reason.PROVIDER_DOWN,
            event="provider_down",
            data={"skipped": ranked.skipped},
        )
    wait_s = (
        RATE_WAIT_S if rate_limited else snapshot.context.provider(ranked.known[0].provider).circuit_open_s
    )
    at = min(snapshot.now + timedelta(seconds=wait_s), snapshot.delivery.expires_at)
    return Transition(
        Status.DEFERRED,
        at,
        Reason.PROVIDER_DOWN,
        next_pass_at=at,
        release=True,
        event="provider_down",
        data={"skipped": ranked.skipped, "at": at.isoformat()},
    )
