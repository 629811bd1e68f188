"""What follows from the result of a call to a provider."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.candidate_decision import failed_pass, nowhere_left
from domain.notification import Attempt
from domain.outcome import Outcome, SendResult
from domain.reasons import Reason
from domain.routing import rank
from domain.snapshot import DecisionContext, DeliverySnapshot
from domain.status import Status
from domain.transition import Closure, Transition


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call to a provider ended with this result. `attempt` is the one it was made for, still open."""

    attempt: Attempt
    result: SendResult


def after_call(snapshot: DeliverySnapshot, call: CallEnded) -> Transition:
    """What the delivery comes to. An ambiguous result leaves the attempt open, to be resolved."""
    attempt, result = call.attempt, call.result
    if result.outcome is Outcome.AMBIGUOUS:
        # Whoever retries the delivery resolves it at that time; if nobody does, the dispatcher comes after.
        due_at = snapshot.context.lease_after(snapshot.visible_at(attempt))
        return Transition(Status.SENDING, due_at, event="ambiguous", data={"code": result.code})
    if result.outcome is Outcome.ACCEPTED:
        after = accepted(snapshot.now, snapshot.context, attempt.provider)
    else:
        after = refused(snapshot, attempt, result)
    return replace(after, closes=Closure(attempt.no, result.outcome, "response"))


def accepted(now: datetime, context: DecisionContext, provider: str) -> Transition:
    """A provider took the message: nothing more is expected, unless a receipt is, by the type's deadline."""
    reports = context.provider(provider).receipts
    return awaiting_receipt(now, context.type.receipt_deadline_s if reports else None)


def awaiting_receipt(now: datetime, deadline_s: float | None) -> Transition:
    """Sent: a receipt is to come within `deadline_s`; None: none is expected."""
    return Transition(Status.SENT, None if deadline_s is None else now + timedelta(seconds=deadline_s))


def refused(snapshot: DeliverySnapshot, attempt: Attempt, result: SendResult) -> Transition:
    """A provider did not take the message: the next candidate is asked in the same pass.

    Without any candidate left for good the recipient was refused; with none left in this pass, the pass
    failed.
    """
    snapshot = snapshot.with_attempt(replace(attempt, outcome=result.outcome))
    ranked = rank(snapshot.notification, snapshot.delivery, snapshot.route)
    if not ranked.known:
        if result.outcome is Outcome.REJECTED_RECIPIENT:
            return Transition(
                Status.UNDELIVERED,
                None,
                Reason.RECIPIENT_REJECTED,
                event="refused",
                data={"code": result.code},
            )
        # The address or the device was removed while the call was under way.
        return nowhere_left(snapshot)
    if ranked.usable:
        return Transition(
            Status.ACCEPTED,
            snapshot.context.lease_after(snapshot.now),
            next_pass_at=snapshot.delivery.next_pass_at,
        )
    # With another provider to ask, a provider's Retry-After keeps only that one out (ProviderHealth).
    alone = len({candidate.provider for candidate in ranked.known}) == 1
    return failed_pass(snapshot, result.retry_after_s if alone else None)
