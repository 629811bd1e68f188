"""Notifications, deliveries and attempts: the records that the whole system works on."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.access import is_test
from domain.outcome import Outcome, ReceiptStatus
from domain.status import Status


class Channel(StrEnum):
    """A way to reach a person."""

    SMS = "sms"
    EMAIL = "email"
    PUSH = "push"
    WHATSAPP = "whatsapp"


class AddressKind(StrEnum):
    """The kind of a channel's addresses: it decides their spelling and their mask."""

    PHONE = "phone"
    EMAIL = "email"
    TOKEN = "token"  # noqa: S105 (a kind of address, not a secret)


ADDRESS_KINDS: dict[Channel, AddressKind] = {
    Channel.SMS: AddressKind.PHONE,
    Channel.EMAIL: AddressKind.EMAIL,
    Channel.PUSH: AddressKind.TOKEN,
    Channel.WHATSAPP: AddressKind.PHONE,
}
"""The kind of address of each channel."""


class Lane(StrEnum):
    """The priority of a notification, and the queue that it waits in."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    BULK = "bulk"


LANES: tuple[Lane, ...] = tuple(Lane)
"""The lanes by rank: 0 is `critical`."""
LANE_RANK: dict[Lane, int] = {lane: rank for rank, lane in enumerate(LANES)}
"""How Postgres stores a lane."""


class Strategy(StrEnum):
    """`all` sends over every channel; `first` tries the next channel only if one does not reach the user."""

    ALL = "all"
    FIRST = "first"


@dataclass(frozen=True, slots=True)
class Content:
    """The text. It is kept in the ledger only: never in histories, logs or errors."""

    body: str
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A user's device. If it has several tokens, the route decides which provider is tried first.

    `webpush` is a browser's subscription as one text (domain.web_push).
    """

    device_id: str
    fcm_token: str | None = None
    apns_token: str | None = None
    webpush: str | None = None

    @property
    def tokens(self) -> tuple[str, ...]:
        """All tokens of the device."""
        return tuple(token for token in (self.fcm_token, self.apns_token, self.webpush) if token)

    def without(self, tokens: Collection[str]) -> "Device":
        """The device without these tokens."""
        kept = (
            None if token in tokens else token for token in (self.fcm_token, self.apns_token, self.webpush)
        )
        return Device(self.device_id, *kept)


@dataclass(frozen=True, slots=True)
class Target:
    """Where one attempt goes. `device_id` is set for push only; `address` is clear text."""

    address: str
    device_id: str | None = None


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Local times between which only required types are sent. `start` may be later than `end`."""

    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Recipient:
    """The user's current contacts and preferences, overridden by the notification's own `to`.

    The addresses are named after their channels; push goes to `devices`.
    `settings` holds the opt-ins and opt-outs as {(type, channel): enabled}; type may be `*`.
    `suppressed` holds those of these addresses that are suppressed, with their channels.
    """

    sms: str | None = None
    email: str | None = None
    whatsapp: str | None = None
    devices: tuple[Device, ...] = ()
    time_zone: str | None = None
    quiet_hours: QuietHours | None = None
    settings: Mapping[tuple[str, str], bool] = field(default_factory=dict[tuple[str, str], bool])
    suppressed: frozenset[tuple[Channel, str]] = frozenset()

    def address(self, channel: Channel) -> str | None:
        """The address for a channel; None if it is missing, and for push."""
        return None if channel is Channel.PUSH else getattr(self, channel.value)

    def addresses(self, channel: Channel) -> tuple[str, ...]:
        """All addresses for a channel: the tokens of all devices, or the single address."""
        if channel is Channel.PUSH:
            return tuple(token for device in self.devices for token in device.tokens)
        address = self.address(channel)
        return (address,) if address else ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One intent to call a provider, and its outcome. `outcome` is None while it is open."""

    number: int
    provider: str
    pass_number: int
    device_id: str | None
    intended_at: datetime
    send_deadline: datetime
    outcome: Outcome | None = None
    code: str | None = None
    provider_message_id: str | None = None
    match_key: str | None = None
    receipt_status: ReceiptStatus | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notification over one channel: the row that decides what may happen next.

    Every change compares and increases `version`. `due_at`: the deadline for the next step, None once nothing
    is expected any more. `pass_number` counts all passes; the retry schedule counts from `round_pass`, which
    an operator's retry sets.
    """

    id: UUID
    channel: Channel
    position: int
    status: Status
    reason_code: str | None
    version: int
    pass_number: int
    next_pass_at: datetime
    expires_at: datetime
    due_at: datetime | None
    attempts: tuple[Attempt, ...] = ()
    round_pass: int = 0

    @property
    def open_attempt(self) -> Attempt | None:
        """The attempt whose outcome is not known yet; None if all are closed. There is at most one."""
        return next((attempt for attempt in self.attempts if attempt.outcome is None), None)


@dataclass(frozen=True, slots=True)
class Notification:
    """One notification as read from the ledger, with all that a pass needs to decide and to send."""

    id: UUID
    tenant: str
    user_id: str
    type: str
    lane: Lane
    strategy: Strategy
    status: Status
    accepted_at: datetime
    expires_at: datetime
    content: Content
    recipient: Recipient
    deliveries: tuple[Delivery, ...]
    now: datetime
    """The database's time when it was read: the `now` of every decision made from it."""
    content_gone: bool = False
    """Its content was removed, or may not be used any more: nothing can be sent again."""

    @property
    def is_test(self) -> bool:
        """Whether a test key submitted it, so that no vendor may see it."""
        return is_test(self.tenant)

    def delivery_by_id(self, delivery_id: UUID) -> Delivery:
        """The delivery with this id. Raises KeyError if the notification has none."""
        for delivery in self.deliveries:
            if delivery.id == delivery_id:
                return delivery
        raise KeyError(f"notification {self.id} has no delivery {delivery_id}")
