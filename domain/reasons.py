"""Why a delivery stands as it does: every `reason_code` of the API, the ledger and the timeline."""

from enum import StrEnum


class Reason(StrEnum):
    """The reason codes, in one place. A code is stable: clients and operators filter by it."""

    NO_CONTACT = "no_contact"
    """The user has no address on this channel, and the notification brought none."""

    COUNTRY_NOT_ALLOWED = "country_not_allowed"
    """The number is of a country that SMS do not go to (`[sms] countries`)."""

    OPTED_OUT = "opted_out"
    """The user does not want this type on this channel."""

    SUPPRESSED_ADDRESS = "suppressed_address"
    """The address is on the suppression list: it bounced, complained or was entered by an operator."""

    QUIET_HOURS = "quiet_hours"
    """It waits for the end of the user's quiet hours."""

    RATE_LIMITED = "rate_limited"
    """The user's limit for this type and channel is used up: dropped, or waiting for a place."""

    LIMIT_STORE_LOST = "limit_store_lost"
    """Limits cannot be checked now, and only critical types go out unchecked."""

    EXPIRED = "expired"
    """Its expiry passed before it could be sent."""

    CANCELLED_BY_CLIENT = "cancelled_by_client"
    """The client cancelled it before it was sent."""

    NOT_NEEDED = "not_needed"
    """An earlier channel of a `strategy: first` notification reached the user."""

    PROVIDER_DOWN = "provider_down"
    """No provider of this channel can be used now: circuits open, drained, or out of tokens."""

    RETRY = "retry"
    """The last pass failed; the next one has its time."""

    PROVIDERS_EXHAUSTED = "providers_exhausted"
    """Every pass of the schedule failed through every provider."""

    OUTCOME_UNKNOWN = "outcome_unknown"
    """A provider may have taken it, and nobody can tell."""

    UNDELIVERED = "undelivered"
    """A provider took it and later reported that it did not arrive."""

    NO_RECEIPT = "no_receipt"
    """A provider took it, and no receipt came by the deadline."""

    RECIPIENT_REJECTED = "recipient_rejected"
    """Refused for this recipient for good: the number, address or token is bad."""

    DISCARDED = "discarded"
    """An operator closed the dead letter without sending it."""

    PARKED_TOO_LONG = "parked_too_long"
    """Nobody decided about the dead letter within the time that they are kept."""

    NO_DEVICE = "no_device"
    """Every device token of the user was refused: none is left to send to."""

    NO_PROVIDER = "no_provider"
    """No provider of this channel is configured."""

    REPLAYED = "replayed"
    """An operator sent the dead letter again."""
