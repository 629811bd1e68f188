"""What a delivery comes to after something happened to it. Pure: `now` comes from the ledger's clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from domain.notification import Channel, Delivery, Notification, Strategy
from domain.notification_types import Catalog, NotificationType
from domain.outcome import Outcome, ReceiptStatus, SendResult
from domain.preferences import Verdict
from domain.reasons import Reason
from domain.retry import next_pass_at
from domain.routing import Ranked, Route, rank
from domain.status import Status


@dataclass(frozen=True, slots=True)
class Next:
    """What a delivery comes to. None in `pass_no`, `next_pass_at` or `expires_at` leaves it as it is.

    `due_at`: when something must have happened by, None when nothing is expected any more.
    `new_round`: the retry schedule begins anew with the next pass, as an operator asked.
    `release`: nobody will act on it before `due_at`, so the claim is given back.
    `event` and `data` tell the timeline why; they never hold contacts or content.
    """

    state: Status
    due_at: datetime | None
    reason_code: str | None = None
    pass_no: int | None = None
    new_round: bool = False
    next_pass_at: datetime | None = None
    expires_at: datetime | None = None
    release: bool = False
    event: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Rules:
    """What decisions are made by: the type's promises, and how long others may take to act."""

    type: NotificationType
    lease_s: float
    keep_parked_s: float
    sms_countries: tuple[str, ...] = ()

    @classmethod
    def of(cls, catalog: Catalog, type: NotificationType) -> "Rules":
        """The rules of a type in this installation."""
        return cls(type, catalog.dispatch.lease_s, catalog.parking.keep_s, catalog.sms.countries)

    def soon(self, now: datetime) -> datetime:
        """When somebody must have acted on a delivery that is being worked on."""
        return now + timedelta(seconds=self.lease_s)


def expired() -> Next:
    """Its expiry passed: nothing is sent any more."""
    return Next(Status.EXPIRED, None, Reason.EXPIRED, event="expired")


def unreachable(verdict: Verdict) -> Next:
    """There is nowhere that it may be sent to on this channel."""
    return Next(Status.FAILED, None, verdict.reason, event="failed")


def suppressed(verdict: Verdict) -> Next:
    """The user, or the suppression list, does not want it: nothing is sent, and nothing failed."""
    return Next(Status.SUPPRESSED, None, verdict.reason, event="suppressed")


def defer(delivery: Delivery, until: datetime, reason: Reason | None) -> Next:
    """It waits in the ledger until then, or until it expires."""
    at = min(until, delivery.expires_at)
    return Next(
        Status.DEFERRED,
        at,
        reason,
        next_pass_at=at,
        release=True,
        event="deferred",
        data={"until": at.isoformat()},
    )


def after_acceptance(now: datetime, rules: Rules, *, has_receipts: bool) -> Next:
    """A provider took it: done, unless a receipt is to come by a deadline."""
    deadline_s = rules.type.receipt_deadline_s
    if not has_receipts or deadline_s is None:
        return Next(Status.SENT, None)
    return Next(Status.SENT, now + timedelta(seconds=deadline_s))


def after_refusal(
    notification: Notification,
    delivery: Delivery,
    result: SendResult,
    rules: Rules,
    routes: Route,
    jitter: float,
) -> Next:
    """A provider did not take it. `delivery` carries the closed attempt already.

    The next candidate is asked in the same pass. Without any candidate left for good, the recipient
    was refused; with none left in this pass, the pass failed.
    """
    now = notification.now
    ranked = rank(notification, delivery, routes)
    if ranked.usable:
        return Next(Status.ACCEPTED, rules.soon(now), next_pass_at=delivery.next_pass_at)
    if not ranked.known and result.outcome is not Outcome.REJECTED_RECIPIENT:
        # The address or the device went away while the call was under way.
        return nowhere_left(notification, delivery, rules)
    if not ranked.known:
        return Next(
            Status.UNDELIVERED, None, Reason.RECIPIENT_REJECTED, event="refused", data={"code": result.code}
        )
    # With another provider to ask, one provider's Retry-After keeps only that one out (ProviderGate).
    alone = len({candidate.provider for candidate in ranked.known}) == 1
    return after_failed_pass(notification, delivery, rules, jitter, result.retry_after_s if alone else None)


def after_failed_pass(
    notification: Notification,
    delivery: Delivery,
    rules: Rules,
    jitter: float,
    retry_after_s: float | None = None,
) -> Next:
    """Every provider failed in this pass: the next pass has its time, or the schedule is used up."""
    now, passes_failed = notification.now, delivery.pass_no - delivery.round_pass + 1
    at = next_pass_at(
        now,
        rules.type.retry_s,
        passes_failed,
        rules.type.retry_jitter,
        jitter,
        retry_after_s,
        delivery.expires_at,
    )
    if at is not None:
        return Next(
            Status.DEFERRED,
            rules.soon(at),
            Reason.RETRY,
            pass_no=delivery.pass_no + 1,
            next_pass_at=at,
            event="retry",
            data={"pass": passes_failed, "at": at.isoformat()},
        )
    if any(attempt.receipt_status is not None for attempt in delivery.attempts):
        # A provider took it and reported failure: it is undelivered, and not a dead letter.
        return Next(Status.UNDELIVERED, None, Reason.UNDELIVERED, event="exhausted")
    if has_channel_behind(notification, delivery):
        return Next(Status.UNDELIVERED, None, Reason.PROVIDERS_EXHAUSTED, event="exhausted")
    parked = park(now, rules, Status.DEAD_LETTERED, Reason.PROVIDERS_EXHAUSTED)
    return replace(parked, data={"passes": passes_failed})


def park(now: datetime, rules: Rules, status: Status, reason: Reason) -> Next:
    """Nothing more is done until an operator decides, or it has been parked too long."""
    return Next(status, now + timedelta(seconds=rules.keep_parked_s), reason, event=status.value)


def provider_down(notification: Notification, delivery: Delivery, ranked: Ranked, wait_s: float) -> Next:
    """No provider may be asked now: it waits in the ledger, without using up a pass.

    With a channel behind it, that one's turn has come: `first` promises to reach, not to wait.
    """
    if has_channel_behind(notification, delivery) and "rate" not in ranked.skipped.values():
        return Next(
            Status.UNDELIVERED,
            None,
            Reason.PROVIDER_DOWN,
            event="provider_down",
            data={"skipped": ranked.skipped},
        )
    at = min(notification.now + timedelta(seconds=wait_s), delivery.expires_at)
    return Next(
        Status.DEFERRED,
        at,
        Reason.PROVIDER_DOWN,
        next_pass_at=at,
        release=True,
        event="provider_down",
        data={"skipped": ranked.skipped, "at": at.isoformat()},
    )


def nowhere_left(notification: Notification, delivery: Delivery, rules: Rules) -> Next:
    """No candidate is left for good: why, by what the attempts came to."""
    outcomes = {attempt.outcome for attempt in delivery.attempts}
    if Outcome.ACCEPTED in outcomes:
        reported = any(attempt.receipt_status is ReceiptStatus.UNDELIVERED for attempt in delivery.attempts)
        reason = Reason.UNDELIVERED if reported else Reason.NO_RECEIPT
        return Next(Status.UNDELIVERED, None, reason, event="exhausted")
    if Outcome.REJECTED_RECIPIENT in outcomes:
        reason = Reason.NO_DEVICE if delivery.channel is Channel.PUSH else Reason.RECIPIENT_REJECTED
        return Next(Status.UNDELIVERED, None, reason, event="exhausted")
    if not notification.recipient.addresses(delivery.channel):
        return Next(Status.FAILED, None, Reason.NO_CONTACT, event="failed")
    if has_channel_behind(notification, delivery):
        return Next(Status.FAILED, None, Reason.NO_PROVIDER, event="failed")
    return park(notification.now, rules, Status.DEAD_LETTERED, Reason.NO_PROVIDER)


def has_channel_behind(notification: Notification, delivery: Delivery) -> bool:
    """Whether another channel of a `strategy: first` notification waits for this one."""
    return notification.strategy is Strategy.FIRST and any(
        other.state is Status.WAITING and other.position > delivery.position
        for other in notification.deliveries
    )
