"""What follows from asking a provider about an attempt whose outcome is not known."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from domain.call_decision import accepted, refused
from domain.candidate_decision import park
from domain.notification import Attempt
from domain.notification_types import OnUnknown
from domain.outcome import Match, Outcome, SendResult
from domain.reasons import Reason
from domain.snapshot import DeliverySnapshot
from domain.status import Status
from domain.transition import Closure, Transition, Wait

ASK_AGAIN_S = 30.0
"""How long after an inconclusive look-up the provider is asked again, in seconds."""
FIRST_ASKS_S = (0.5, 2.0, 5.0)
"""Shorter waits for a young attempt, as most look-ups succeed within seconds: each applies while less than
twice the wait has passed since the intent. A call that took longer than 10 s is looked up at once, then
every ASK_AGAIN_S.
"""


class Finding(StrEnum):
    """The result of asking about an open attempt."""

    ACCEPTED = "accepted"
    """The provider has the message, and it belongs to this attempt."""
    RECIPIENT_REJECTED = "recipient_rejected"
    """The repeated call was refused for this recipient: nothing was sent."""
    NOT_FOUND = "not_found"
    """The provider has no such message. This means "not sent" only if it is conclusive."""
    INDISTINGUISHABLE = "indistinguishable"
    """There are several messages, or several open attempts, and nothing distinguishes them."""
    INCONCLUSIVE = "inconclusive"
    """The provider could not be asked, or its answer does not settle it."""
    UNRESOLVABLE = "unresolvable"
    """There is no way to ask."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """An open attempt was asked about.

    `conclusive`: see domain.transition.Resolve. `result`: of the repeated call, if that was the way of
    asking. `event` and `data` record in the timeline how an accepted message was found.
    """

    attempt: Attempt
    finding: Finding
    conclusive: bool
    result: SendResult | None = None
    event: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


def may_repeat(
    snapshot: DeliverySnapshot, attempt: Attempt, match_key: str, *, key_life_s: float, budget_s: float
) -> bool:
    """Whether the call of an open attempt may be repeated under its idempotency key: it is certain to send at
    most once, and the message may still be sent.

    `match_key`: of the message as it would be sent now; it differs once the address or the text changed.
    `key_life_s`: how long after the intent the provider knows the key; a call takes up to `budget_s`.
    storage/functions/ledger_renew_v1.sql checks the same again, except for the match key.
    """
    forgotten_at = attempt.intended_at + timedelta(seconds=key_life_s - budget_s)
    return (
        not snapshot.is_expired
        and attempt.match_key == match_key
        and snapshot.now < forgotten_at
        and not snapshot.permission.is_withdrawn
    )


def answered(outcome: Outcome) -> Finding:
    """The finding of a repeated call. Only an acceptance, or a refusal of this recipient, settles the first
    call: any other refusal may have been given before the key was checked.
    """
    match outcome:
        case Outcome.ACCEPTED:
            return Finding.ACCEPTED
        case Outcome.REJECTED_RECIPIENT:
            return Finding.RECIPIENT_REJECTED
        case _:
            return Finding.INCONCLUSIVE


def own_match(
    found: Sequence[Match], claimed: Collection[str], *, is_distinguishable: bool
) -> tuple[Finding, Match | None]:
    """Which of the messages that a look-up found is the attempt's: a certain one, else a single one that no
    other attempt has claimed.

    `claimed`: the ids of those that belong to attempts. `is_distinguishable`: no other open attempt could
    have sent the same message.
    """
    if certain := next((match for match in found if match.certain), None):
        return Finding.ACCEPTED, certain
    left = [match for match in found if match.provider_message_id not in claimed]
    if not is_distinguishable or len(left) > 1:
        return Finding.INDISTINGUISHABLE, None
    return (Finding.ACCEPTED, left[0]) if left else (Finding.NOT_FOUND, None)


def after_resolution(snapshot: DeliverySnapshot, resolved: Resolved) -> Transition | Wait:
    """The transition that closes the attempt, or how long to wait before asking again."""
    attempt = resolved.attempt
    match resolved.finding:
        case Finding.ACCEPTED:
            after = accepted(snapshot.now, snapshot.context, attempt.provider)
            by = "lookup" if resolved.result is None else "response"
            closes = Closure(attempt.number, Outcome.ACCEPTED, by)
            return replace(after, event=resolved.event, data=resolved.data, closes=closes)
        case Finding.RECIPIENT_REJECTED:
            return _unsent(snapshot, attempt, Outcome.REJECTED_RECIPIENT, "response")
        case Finding.INCONCLUSIVE:
            return _inconclusive(snapshot, resolved)
        case _ if not resolved.conclusive:
            return _ask_again(snapshot, attempt, snapshot.visible_at(attempt))
        case Finding.NOT_FOUND:
            return _unsent(snapshot, attempt, Outcome.NOT_SENT, "lookup")
        case Finding.INDISTINGUISHABLE:
            return _give_up(snapshot, attempt)
        case Finding.UNRESOLVABLE:
            may_report = snapshot.context.provider(attempt.provider).receipts
            if snapshot.context.type.on_unknown is OnUnknown.RECONCILE and may_report:
                return _inconclusive(snapshot, resolved)
            return _give_up(snapshot, attempt)


def _unsent(snapshot: DeliverySnapshot, attempt: Attempt, outcome: Outcome, resolved_by: str) -> Transition:
    after = refused(snapshot, attempt, SendResult(outcome))
    return replace(after, closes=Closure(attempt.number, outcome, resolved_by))


def _inconclusive(snapshot: DeliverySnapshot, resolved: Resolved) -> Transition | Wait:
    """A type that reconciles keeps asking until its expiry; others decide once asking is conclusive."""
    attempt, result = resolved.attempt, resolved.result
    patient = snapshot.context.type.on_unknown is OnUnknown.RECONCILE and not snapshot.is_expired
    if resolved.conclusive and not patient:
        return _give_up(snapshot, attempt)
    again = _ask_again(snapshot, attempt, snapshot.delivery.expires_at)
    if result is not None and result.retry_after_s is not None and again.until is not None:
        left_s = (snapshot.delivery.expires_at - snapshot.now).total_seconds()
        asked_for = snapshot.now + timedelta(seconds=min(result.retry_after_s, left_s))
        again = replace(again, until=max(again.until, asked_for))
    if again.until is None or not (resolved.conclusive or result is not None):
        return again
    return replace(again, postponement=Transition(Status.SENDING, snapshot.context.lease_after(again.until)))


def _give_up(snapshot: DeliverySnapshot, attempt: Attempt) -> Transition:
    """The outcome cannot be found out: the type decides whether another provider may send it."""
    if snapshot.context.type.on_unknown is OnUnknown.FAILOVER and not snapshot.is_expired:
        return _unsent(snapshot, attempt, Outcome.UNKNOWN, "policy")
    after = park(snapshot.now, snapshot.context, Status.OUTCOME_UNKNOWN, Reason.OUTCOME_UNKNOWN)
    return replace(after, closes=Closure(attempt.number, Outcome.UNKNOWN, "policy"))


def _ask_again(snapshot: DeliverySnapshot, attempt: Attempt, latest: datetime) -> Wait:
    """When the provider is asked next: sooner the less time has passed since the intent, and no later than
    `latest` while that is in the future.
    """
    age_s = (snapshot.now - attempt.intended_at).total_seconds()
    wait_s = next((ask_s for ask_s in FIRST_ASKS_S if age_s < ask_s * 2), ASK_AGAIN_S)
    left_s = (latest - snapshot.now).total_seconds()
    if left_s > 0:
        wait_s = max(0.1, min(wait_s, left_s))
    return Wait(
        snapshot.now + timedelta(seconds=wait_s),
        f"{attempt.provider}: the outcome of attempt {attempt.number} is being looked up",
    )
