"""Why a delivery has its status: every `reason_code` of the API, the ledger and the timeline."""

from enum import StrEnum


class Reason(StrEnum):
    """The reason codes. A code is stable: clients and operators filter by it. Listed in docs/api.md."""

    NO_CONTACT = "no_contact"
    """The user has no address on this channel, and the notification brought none."""

    COUNTRY_NOT_ALLOWED = "country_not_allowed"
    """The number belongs to a country that SMS may not go to (`[sms] countries`)."""

    NUMBER_TYPE_REFUSED = "number_type_refused"
    """The number is of a type that SMS do not go to, such as premium rate (`[sms] refuse_number_types`)."""

    OPTED_OUT = "opted_out"
    """The user opted out of this type on this channel."""

    SUPPRESSED_ADDRESS = "suppressed_address"
    """The address is suppressed: it bounced, complained, answered STOP, or an operator entered it."""

    QUIET_HOURS = "quiet_hours"
    """Deferred to the end of the user's quiet hours."""

    RATE_LIMITED = "rate_limited"
    """The user reached the limit of this type on this channel: dropped, or deferred until there is room."""

    VELOCITY_LIMITED = "velocity_limited"
    """A limit over all users was reached (`limits`): of the number, its prefix, its country or the tenant.
    Dropped, or deferred until there is room.
    """

    SPEND_CAP = "spend_cap"
    """The day's spend cap was reached (`[sms] spend`): dropped, or deferred to the next day (UTC)."""

    LIMIT_STORE_LOST = "limit_store_lost"
    """Deferred: limits cannot be checked now, and only critical types are sent unchecked."""

    EXPIRED = "expired"
    """It expired before it could be sent."""

    CANCELLED_BY_CLIENT = "cancelled_by_client"
    """The client cancelled it before it was sent."""

    NOT_NEEDED = "not_needed"
    """An earlier channel of a `strategy: first` notification reached the user."""

    PROVIDER_DOWN = "provider_down"
    """Every provider of this channel is drained, at its rate limit, has an open circuit, or asked for a pause
    (`Retry-After`). Deferred, or `undelivered` if another channel follows and no provider is at its rate
    limit.
    """

    RETRY = "retry"
    """The last pass failed; the next one is scheduled."""

    PROVIDERS_EXHAUSTED = "providers_exhausted"
    """Every pass of the retry schedule failed through every provider."""

    OUTCOME_UNKNOWN = "outcome_unknown"
    """A provider may have sent it, and this cannot be found out."""

    UNDELIVERED = "undelivered"
    """A provider accepted it and later reported that it did not arrive."""

    NO_RECEIPT = "no_receipt"
    """A provider accepted it, and no receipt came by the deadline."""

    RECIPIENT_REJECTED = "recipient_rejected"
    """The provider refused this recipient permanently: the number, address or token is not valid."""

    DISCARDED = "discarded"
    """An operator closed the dead letter without sending it."""

    PARKED_TOO_LONG = "parked_too_long"
    """No operator acted on the parked delivery within `[parking] keep_s`."""

    NO_DEVICE = "no_device"
    """No device is left to send to, and one was refused earlier. If the last call refused it, the reason is
    `recipient_rejected`.
    """

    NO_PROVIDER = "no_provider"
    """No provider of this channel is configured."""

    REPLAYED = "replayed"
    """An operator sent the dead letter again."""
