"""The outcomes of provider calls. Each adapter translates its vendor's answers into these."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of one attempt."""

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
"""Outcomes that count against the provider's health, unless the result says otherwise."""
SEND_DEADLINE_PASSED = "send_deadline_passed"
"""The code of a call that was not made, because its attempt's send deadline had passed."""


def contradicts(outcome: Outcome, resolved: str | None) -> bool:
    """Whether a late outcome shows that a message was sent which the ledger does not count as sent.

    `resolved`: how the attempt had been closed; None if it was open.
    """
    if outcome is Outcome.ACCEPTED:
        return resolved not in (None, Outcome.ACCEPTED)
    return outcome is Outcome.AMBIGUOUS and resolved == Outcome.NOT_SENT


class AddressVerdict(StrEnum):
    """What an outcome or a receipt means for the address."""

    KEEP = "keep"
    DEACTIVATE_TOKEN = "deactivate_token"  # noqa: S105 (a verdict, not a secret)
    SUPPRESS = "suppress"
    STOPPED = "stopped"
    """The user asked the sender to stop, and may ask to start again: like a reply (domain.replies)."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """The outcome of one call to a provider.

    `code` is the vendor's own, normalised to `[a-z0-9_.:-]` and free of personal data. The vendor's
    text is never kept. `retry_after_s`: how long the provider asked us to wait, in seconds.
    `about_provider`: False for a failure of this message or its recipient alone, which does not count against
    the provider's health; its `retry_after_s` then delays only this delivery.
    `segments`: how many SMS the provider made of the text. `dead_since`: since when the vendor knows the
    address to be dead; an address registered after that is kept. `asked`: False if the adapter refused the
    message without calling the provider.
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
    """What a provider reports after it accepted a message, in ascending order of precedence.

    A later report moves an attempt's receipt up this order, never down: `delivered` wins over a failure,
    whichever came first.
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
    """One report of a provider about one message, reduced to what may be kept.

    `event_key` identifies the report, so that a repeated one is dropped. `attempt_ref` is our reference, if
    the provider returned it (domain.ids.attempt_ref). `permanent`: no provider would reach this recipient.
    """

    event_key: str
    status: ReceiptStatus
    provider_message_id: str | None = None
    attempt_ref: str | None = None
    code: str | None = None
    permanent: bool = False
    address_verdict: AddressVerdict = AddressVerdict.KEEP
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A message at a provider that may be ours. `certain`: it carries our reference."""

    provider_message_id: str
    certain: bool
    receipt: Receipt | None = None
