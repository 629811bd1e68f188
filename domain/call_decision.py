"""What follows from the result of a provider call."""

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
    """A provider call ended with this result. `attempt` is the one it was made for, still open."""

    attempt: Attempt
    result: SendResult


def after_call(snapshot: DeliverySnapshot, call: CallEnded) -> Transition:
    """The transition that follows. An ambiguous result leaves the attempt open, to be resolved."""
    attempt, result = call.attempt, call.result
    if result.outcome is Outcome.AMBIGUOUS:
        # The retried activity resolves it at that time; without it, the dispatcher does so a lease later.
        due_at = snapshot.context.lease_after(snapshot.visible_at(attempt))
        return Transition(Status.SENDING, due_at, event="ambiguous", data={"code": result.code})
    if result.outcome is Outcome.ACCEPTED:
        after = accepted(snapshot.now, snapshot.context, attempt.provider)
    else:
        after = refused(snapshot, attempt, result)
    return replace(after, closes=Closure(attempt.number, result.outcome, "response"))


def accepted(now: datetime, context: DecisionContext, provider: str) -> Transition:
    """A provider accepted the message. A receipt may be expected by the type's deadline."""
    reports = context.provider(provider).receipts
    return awaiting_receipt(now, context.type.receipt_deadline_s if reports else None)


def awaiting_receipt(now: datetime, deadline_s: float | None) -> Transition:
    """Sent; a receipt is expected within `deadline_s` seconds, None if there will be no receipt."""
    return Transition(Status.SENT, None if deadline_s is None else now + timedelta(seconds=deadline_s))


def refused(snapshot: DeliverySnapshot, attempt: Attempt, result: SendResult) -> Transition:
    """A provider did not accept the message: the next candidate is called in the same pass.

    If no candidate is left at all, the recipient was refused; if none is left in this pass, the pass failed.
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
    # If there are other providers, a Retry-After only blocks the one that sent it (ProviderHealth).
    alone = len({candidate.provider for candidate in ranked.known}) == 1
    return failed_pass(snapshot, result.retry_after_s if alone else None)
