"""Which provider is called next, and why. Pure: the providers' health comes in as a Route."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from domain.notification import Attempt, Channel, Delivery, Device, Notification, Target
from domain.outcome import Outcome, ReceiptStatus
from domain.preferences import reachable_devices

AddressOf = Callable[[Device], str | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to make an attempt: a provider, and the target it would send to."""

    provider: str
    target: Target

    def is_of(self, attempt: Attempt) -> bool:
        """Whether the attempt was made through this provider to this device."""
        return (attempt.provider, attempt.device_id) == (self.provider, self.target.device_id)


@dataclass(frozen=True, slots=True)
class Route:
    """The providers of a channel and their health now.

    `order`: the fallback order, configured providers only. `blocked`: why a provider may not be called now
    (`drained`, `retry_after`, `circuit_open`, `rate`). `address_of`: how push providers reach a device.
    `of`: what selected the order: `type`, a country, the first digits of the number, or `general`.
    """

    order: Sequence[str]
    blocked: Mapping[str, str] = field(default_factory=dict[str, str])
    address_of: Mapping[str, AddressOf] = field(default_factory=dict[str, AddressOf])
    of: str = "general"


@dataclass(frozen=True, slots=True)
class Ranked:
    """The candidates of a delivery.

    `known`: all that the recipient and the configuration allow and that no outcome ruled out for good.
    `usable`: those that may be called now in this pass, in order. `skipped`: why the others may not.
    `tried`: whether this pass has called a provider already.
    """

    known: tuple[Candidate, ...]
    usable: tuple[Candidate, ...]
    skipped: Mapping[str, str]
    tried: bool


def rank(notification: Notification, delivery: Delivery, route: Route) -> Ranked:
    """The candidates of a delivery in fallback order, devices before providers.

    Ruled out for good: a target that was refused, and a provider that accepted the message without delivering
    it. Ruled out for this pass: a candidate that was called in it already.
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
    this_pass = [attempt for attempt in delivery.attempts if attempt.pass_number == delivery.pass_number]
    usable: list[Candidate] = []
    for candidate in known:
        if any(candidate.is_of(attempt) for attempt in this_pass):
            skipped[candidate.provider] = "tried_in_this_pass"
        elif reason := route.blocked.get(candidate.provider):
            skipped[candidate.provider] = reason
        else:
            usable.append(candidate)
    tried = any(attempt.receipt_status is not ReceiptStatus.UNDELIVERED for attempt in this_pass)
    # A provider that is usable for one device does not count as skipped for another.
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
        # The token or number is invalid; another push provider may reach the device by another token.
        refused = candidate.target.device_id is None or candidate.is_of(attempt)
        return "recipient_refused" if refused else None
    # It accepted the message, which did not arrive or got no receipt.
    return (
        "accepted_not_delivered" if attempt.outcome is Outcome.ACCEPTED and candidate.is_of(attempt) else None
    )
