"""Which provider is asked next, and why. Pure: what is known of the providers comes in as a Route."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from domain.notification import Attempt, Channel, Delivery, Device, Notification, Target
from domain.outcome import Outcome, ReceiptStatus
from domain.preferences import reachable_devices

AddressOf = Callable[[Device], str | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to make an attempt: a provider, and where it would send to."""

    provider: str
    target: Target

    def is_of(self, attempt: Attempt) -> bool:
        """Whether the attempt was made this way."""
        return (attempt.provider, attempt.device_id) == (self.provider, self.target.device_id)


@dataclass(frozen=True, slots=True)
class Route:
    """The providers of a channel as they are now.

    `order`: the fallback order, configured providers only. `blocked`: why a provider may not be asked
    now (`drained`, `circuit_open`, `rate`). `address_of`: how push providers reach a device. `of`: what
    the order was chosen by: `type`, a country, the first digits of the number, or `general`.
    """

    order: Sequence[str]
    blocked: Mapping[str, str] = field(default_factory=dict[str, str])
    address_of: Mapping[str, AddressOf] = field(default_factory=dict[str, AddressOf])
    of: str = "general"


@dataclass(frozen=True, slots=True)
class Ranked:
    """The candidates of a delivery.

    `known`: all that its recipient and the configuration allow and that no refusal ruled out for good.
    `usable`: those that may be asked now in this pass, in order. `skipped`: why the others are not.
    `tried`: whether this pass has asked somebody already.
    """

    known: tuple[Candidate, ...]
    usable: tuple[Candidate, ...]
    skipped: Mapping[str, str]
    tried: bool


def rank(notification: Notification, delivery: Delivery, route: Route) -> Ranked:
    """The candidates of a delivery in fallback order, devices before providers.

    Ruled out for good: a target that was refused, and a provider that took the message to no avail.
    Ruled out for this pass: whoever was asked in it already.
    """
    known: list[Candidate] = []
    skipped = dict.fromkeys(route.order, "no_address")
    for candidate in _candidates(notification, delivery.channel, route):
        if reason := next(
            filter(None, (_ruled_out(attempt, candidate) for attempt in delivery.attempts)), None
        ):
            skipped[candidate.provider] = reason
        else:
            known.append(candidate)
    this_pass = [attempt for attempt in delivery.attempts if attempt.pass_no == delivery.pass_no]
    usable: list[Candidate] = []
    for candidate in known:
        if any(candidate.is_of(attempt) for attempt in this_pass):
            skipped[candidate.provider] = "tried_in_this_pass"
        elif reason := route.blocked.get(candidate.provider):
            skipped[candidate.provider] = reason
        else:
            usable.append(candidate)
    tried = any(attempt.receipt_status is not ReceiptStatus.UNDELIVERED for attempt in this_pass)
    # A provider that is of use for one device is not skipped for another.
    for candidate in usable:
        skipped.pop(candidate.provider, None)
    return Ranked(tuple(known), tuple(usable), skipped, tried)


def _candidates(notification: Notification, channel: Channel, route: Route) -> Sequence[Candidate]:
    if channel is not Channel.PUSH:
        address = notification.recipient.address(channel)
        return [Candidate(provider, Target(address)) for provider in route.order] if address else []
    return [
        Candidate(provider, Target(token, device.device_id))
        for device in reachable_devices(notification.recipient)
        for provider in route.order
        if (token := route.address_of[provider](device))
    ]


def _ruled_out(attempt: Attempt, candidate: Candidate) -> str | None:
    """Why an attempt rules the candidate out for good; None if it does not."""
    if attempt.outcome is Outcome.REJECTED_RECIPIENT:
        # The token or the number is bad; on push another provider reaches the device by another token.
        refused = candidate.target.device_id is None or candidate.is_of(attempt)
        return "recipient_refused" if refused else None
    # It took the message, and yet here we are again: it did not arrive, or nobody says so.
    return "took_it_in_vain" if attempt.outcome is Outcome.ACCEPTED and candidate.is_of(attempt) else None
