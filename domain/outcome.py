"""What can come of a call to a provider, in our words. Each adapter translates its vendor's into these."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Outcome(StrEnum):
    """What came of one attempt."""

    ACCEPTED = "accepted"
    """The provider accepted the message."""

    REJECTED_RECIPIENT = "rejected_recipient"
    """Refused for this recipient by any provider: the number, address or token is not valid."""

    REJECTED = "rejected"
    """Refused as this provider is configured (credentials, sender, route); another may accept it."""

    THROTTLED = "throttled"
    """Refused for now and not processed (429)."""

    UNAVAILABLE = "unavailable"
    """The provider answered that it cannot process the message now; not processed."""

    AMBIGUOUS = "ambiguous"
    """The request was written, and it is not known whether it was processed: the attempt stays open."""

    NOT_SENT = "not_sent"
    """Nothing was written, or a look-up showed that nothing was processed."""

    UNKNOWN = "unknown"
    """It was ambiguous, could not be resolved, and the type's `on_unknown` closed the attempt."""


HEALTH_FAILURES = frozenset(
    {Outcome.REJECTED, Outcome.THROTTLED, Outcome.UNAVAILABLE, Outcome.AMBIGUOUS, Outcome.NOT_SENT}
)
"""Outcomes that speak about the provider's health, unless the result says that they do not."""


class AddressVerdict(StrEnum):
    """What an outcome or a receipt means for the address it went to."""

    KEEP = "keep"
    DEACTIVATE_TOKEN = "deactivate_token"  # noqa: S105 (a verdict, not a secret)
    SUPPRESS = "suppress"
    STOPPED = "stopped"
    """The person told the sender to stop, and may tell it to start again: as a reply (domain.replies)."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """The outcome of one call to a provider.

    `code` is the vendor's own, normalised to `[a-z0-9_.:-]` and free of personal data. The vendor's
    text is never kept. `retry_after_s` is how long the provider asked us to stay away, in seconds.
    `about_provider`: False for a failure of this message or its recipient alone, which says nothing
    about the provider's health; its `retry_after_s` then keeps away this delivery and no other.
    `segments`: how many SMS the provider says it made of the text. `dead_since`: since when the vendor knows
    the address as dead; one that was given again after that is kept. `asked`: False for a message that the
    adapter refused by itself: nothing is learnt about the provider.
    """

    outcome: Outcome
    code: str | None = None
    http_status: int | None = None
    provider_message_id: str | None = None
    retry_after_s: float | None = None
    address_verdict: AddressVerdict = AddressVerdict.KEEP
    about_provider: bool = True
    segments: int | None = None
    dead_since: datetime | None = None
    asked: bool = True


class ReceiptStatus(StrEnum):
    """What a provider reports after it accepted a message, from the least to the most telling.

    A later report moves an attempt's receipt up this order and never down: `delivered` wins over
    a failure, whichever came first.
    """

    QUEUED = "queued"
    SENT = "sent"
    UNDELIVERED = "undelivered"
    DELIVERED = "delivered"


RECEIPT_ORDER: dict[ReceiptStatus, int] = {status: rank for rank, status in enumerate(ReceiptStatus)}
FINAL_RECEIPTS = frozenset({ReceiptStatus.UNDELIVERED, ReceiptStatus.DELIVERED})


def advance(known: ReceiptStatus | None, reported: ReceiptStatus) -> ReceiptStatus:
    """The receipt status after a report: the greater of what was known and what is reported."""
    if known is None:
        return reported
    return max(known, reported, key=RECEIPT_ORDER.__getitem__)


@dataclass(frozen=True, slots=True)
class Receipt:
    """One report of a provider about one message, in our words, reduced to what may be kept.

    `event_key` identifies the report among the provider's own, so that a repeated one is dropped.
    `attempt_ref` is our reference, where the provider carried it back (domain.ids.attempt_ref).
    `permanent` says that no provider would reach this recipient.
    """

    event_key: str
    status: ReceiptStatus
    provider_message_id: str | None = None
    attempt_ref: str | None = None
    code: str | None = None
    permanent: bool = False
    address_verdict: AddressVerdict = AddressVerdict.KEEP
    occurred_at: datetime | None = None
