"""What clients and operators can decide about a delivery: cancel, retry, discard, replay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from domain.masking import mask
from domain.notification import Channel, Delivery, Notification
from domain.reasons import Reason
from domain.snapshot import Snapshot
from domain.status import PARKED, SENDABLE, Status
from domain.transition import Transition, Wait


class Assume(StrEnum):
    """How an operator treats an unknown outcome."""

    SENT = "sent"
    SEND_AGAIN = "send_again"


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel the delivery, unless it is being sent. `by`: see Retry."""

    by: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Send a parked delivery again at once, with a new expiry or to other addresses; or assume that it was
    sent. `by`: who decided it, for the timeline.
    """

    expires_at: datetime | None = None
    to: Mapping[Channel, str] = field(default_factory=dict[Channel, str])
    assume: Assume | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Discard:
    """Close a parked delivery without sending it, and the channels that wait behind it. `by`: see Retry."""

    by: str | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """Send a dead letter again at `at`, as one of many. Unknown outcomes are not touched. `by`: see Retry."""

    at: datetime
    expires_at: datetime | None = None
    by: str | None = None


Command: TypeAlias = Cancel | Retry | Discard | Replay


class CommandRefused(Exception):
    """The notification is not in a status that allows the command.

    `code` is stable; `field` names the field of the request that could make it possible.
    """

    def __init__(self, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.field = field


def after_command(snapshot: Snapshot, command: Command) -> Transition | Wait:
    """The transition of a command; Wait if the command does not concern the delivery."""
    status = snapshot.delivery.status
    by = {"by": command.by} if command.by else {}
    match command:
        case Cancel() if status in SENDABLE or status is Status.WAITING:
            return Transition(
                Status.CANCELLED,
                None,
                Reason.CANCELLED_BY_CLIENT,
                release=True,
                event="cancelled_by_client",
                data=by,
            )
        case Retry(assume=Assume.SENT) if status in PARKED:
            return Transition(Status.SENT, None, release=True, event="assumed_sent", data=by)
        case Retry() if status in PARKED:
            to = {"to": masked(command.to)} if command.to else {}
            return _send_again(snapshot.now, command.expires_at, "retried", {**to, **by})
        case Discard() if status in PARKED:
            return Transition(Status.FAILED, None, Reason.DISCARDED, release=True, event="discarded", data=by)
        case Discard() if status is Status.WAITING:
            return Transition(Status.CANCELLED, None, Reason.DISCARDED)
        case Replay() if status is Status.DEAD_LETTERED:
            data = {"at": command.at.isoformat(), **by}
            return _send_again(command.at, command.expires_at, "replayed", data)
        case _:
            return Wait(snapshot.delivery.due_at)


def masked(to: Mapping[Channel, str]) -> dict[str, str]:
    """Addresses by channel, masked."""
    return {channel.value: mask(channel, address) for channel, address in to.items()}


def _send_again(
    at: datetime, expires_at: datetime | None, event: str, data: Mapping[str, object]
) -> Transition:
    return Transition(
        Status.ACCEPTED,
        at,
        Reason.REPLAYED,
        new_round=True,
        next_pass_at=at,
        expires_at=expires_at,
        release=True,
        event=event,
        data=data,
    )


def check_retry(notification: Notification, retry: Retry) -> None:
    """Raise CommandRefused unless every parked delivery of the notification may be retried like this."""
    parked = [delivery for delivery in notification.deliveries if delivery.status in PARKED]
    if not parked:
        raise not_parked(notification)
    unknown = [delivery for delivery in parked if delivery.status is Status.OUTCOME_UNKNOWN]
    if unknown and retry.assume is None:
        raise CommandRefused(
            "assume_required",
            "A provider may have sent it: choose whether to assume that it was sent, or to send it again.",
            "assume",
        )
    if retry.assume is Assume.SENT:
        if len(unknown) < len(parked):
            raise CommandRefused(
                "wrong_status", "Only an unknown outcome can be assumed sent; this was not sent.", "assume"
            )
    elif notification.content_gone:
        raise CommandRefused(
            "content_gone",
            "Its content was removed when it expired, as its type demands: discard it, and submit a new "
            "notification if it is still needed.",
        )
    elif any(has_expired(delivery, notification.now, retry.expires_at) for delivery in parked):
        raise CommandRefused("expired", "It has expired: a retry needs a new expiry.", "expires_at")
    channels = {delivery.channel for delivery in parked}
    for channel in retry.to:
        if channel not in channels:
            raise CommandRefused(
                "wrong_status",
                f"There is no dead letter over {channel} to send to another address.",
                f"to/{channel}",
            )


def has_expired(delivery: Delivery, at: datetime, expires_at: datetime | None) -> bool:
    """Whether the delivery has expired at `at`. `expires_at`: its new expiry, None to keep the old one."""
    return (expires_at or delivery.expires_at) <= at


def not_parked(notification: Notification) -> CommandRefused:
    """The refusal of a command that needs a parked delivery."""
    detail = f"The notification is {notification.status}: it has no delivery that waits for an operator."
    return CommandRefused("wrong_status", detail)


def in_closing_order(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """The deliveries, last channel first: with `strategy: first`, ending a channel starts the next one."""
    return sorted(deliveries, key=lambda delivery: -delivery.position)
