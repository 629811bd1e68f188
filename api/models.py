"""The request and response bodies of notifications."""

from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from api.fields import Email, Metadata, Name, Phone, Request, Shown, Storable, Time, Title
from domain.access import is_test
from domain.masking import mask_token
from domain.notification import LANES, Channel, Lane, Strategy
from domain.outcome import Outcome
from domain.reasons import Reason
from domain.status import Status
from storage.queries import Row

EXAMPLE: dict[str, JsonValue] = {
    "user_id": "user-42",
    "type": "debit_alert",
    "channels": ["sms", "email"],
    "strategy": "first",
    "content": {"title": "Debit alert", "body": "You paid 5,000.00 to Ada's Kitchen."},
    "to": {"sms": "+2348031236789"},
    "metadata": {"transaction": "txn-981"},
}


_CHANNELS: Final = frozenset(Channel)


def _known_channel(channel: Any) -> Any:
    if isinstance(channel, str) and channel not in _CHANNELS:
        raise PydanticCustomError(
            "unknown_channel", "unknown channel; expected one of {known}", {"known": ", ".join(Channel)}
        )
    return channel


KnownChannel = Annotated[Channel, BeforeValidator(_known_channel)]


ReasonCode = Annotated[
    str,
    WithJsonSchema({"type": "string", "title": "Reason code", "enum": [str(code) for code in Reason]}),
]
"""The codes of this version; during an upgrade, the ledger may hold newer ones."""


class ContentIn(Request):
    """The message. `title` is a mail's subject and a push message's headline."""

    body: Annotated[str, Field(min_length=1, max_length=100_000), Storable]
    title: Title | None = None


class ToIn(Request):
    """Addresses for this notification only, instead of the user's own.

    `push`: the id of one of the user's registered devices. `whatsapp` defaults to the user's stored WhatsApp
    number, or else to their phone.
    """

    sms: Phone | None = None
    email: Email | None = None
    push: Name | None = None
    whatsapp: Phone | None = None


class NotificationIn(Request):
    """A notification to deliver. Its idempotency key is unique within its `user_id` and `type`."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    user_id: Name
    type: Name = Field(description="A configured type.", examples=["debit_alert"])
    channels: Annotated[list[KnownChannel], Field(min_length=1, max_length=len(Channel))]
    strategy: Strategy = Field(
        default=Strategy.ALL,
        description="`all`: over every channel. `first`: in the given order, until one reaches the user.",
    )
    content: ContentIn
    to: ToIn | None = None
    lane: Lane | None = Field(
        default=None,
        description="Default: the type's lane. Only types whose lane is `critical` may use `critical`.",
    )
    send_at: Time | None = Field(
        default=None, description="When to send it; at most a year ahead. Default: at once."
    )
    expires_at: Time | None = Field(
        default=None, description="Nothing is sent after this time. Default: the type's expiry."
    )
    metadata: Metadata = Field(default_factory=dict, description="Stored and returned, never sent.")
    idempotency_key: Name | None = Field(
        default=None, description="An alternative to the Idempotency-Key header."
    )

    @field_validator("channels")
    @classmethod
    def _once_each(cls, channels: list[Channel]) -> list[Channel]:
        if len(set(channels)) < len(channels):
            raise PydanticCustomError("not_unique", "each channel may be named once")
        return channels


class BatchIn(Request):
    """Up to 1,000 notifications, each accepted or refused separately. Each needs an `idempotency_key`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"notifications": [{**EXAMPLE, "idempotency_key": "txn-981"}]}]}
    )

    notifications: Annotated[
        list[Annotated[Any, WithJsonSchema({"$ref": "#/components/schemas/NotificationIn"})]],
        Field(min_length=1, max_length=1000),
    ]


class DeliveryView(BaseModel):
    """A notification over one channel. `provider` is the last one called; `next_pass_at`: the next try."""

    channel: Channel
    status: Status
    reason_code: ReasonCode | None = None
    provider: str | None = None
    attempts: int = 0
    next_pass_at: Shown | None = None
    expires_at: Shown


class NotificationView(BaseModel):
    """A notification as it is now; its status is derived from its deliveries."""

    id: UUID
    user_id: str
    type: str
    idempotency_key: str
    lane: Lane
    strategy: Strategy
    channels: list[Channel]
    status: Status
    reason_code: ReasonCode | None = None
    created_at: Shown
    send_at: Shown | None = None
    expires_at: Shown
    final_at: Shown | None = None
    metadata: dict[str, Any]
    test: bool = Field(description="A test key submitted it: only simulated providers see it.")
    deliveries: list[DeliveryView]

    @classmethod
    def of(cls, row: Row) -> Self:
        """Build the view of a row of the statement notification_view."""
        deliveries = [DeliveryView.model_validate(item) for item in row["deliveries"] or ()]
        return cls(
            **{name: row[name] for name in _SAME},
            lane=LANES[row["lane"]],
            channels=[delivery.channel for delivery in deliveries],
            created_at=row["accepted_at"],
            test=is_test(row["tenant"]),
            deliveries=deliveries,
        )


_SAME = (
    *("id", "user_id", "type", "idempotency_key", "strategy", "status", "reason_code"),
    *("send_at", "expires_at", "final_at", "metadata"),
)


class NotificationPage(BaseModel):
    """Notifications, newest first. `next_cursor` requests the next page; it is null on the last one.

    A page examines at most 10,000 notifications: if few of them match, it can be short or even empty without
    being the last.
    """

    notifications: list[NotificationView]
    next_cursor: str | None = None


class AttemptView(BaseModel):
    """One intent to call a provider, and its outcome, which is null while the attempt is open.

    `number` counts the attempts of a delivery, `pass_number` the passes over its providers. `selection`: why
    this provider was chosen. `send_deadline`: until when it may be called. `resolved_by`: how the outcome was
    found out. `late_outcome`: an outcome that arrived after the attempt was closed. `segments` and `encoding`
    are set for SMS; `cost` is an estimate, set for providers whose prices are configured.
    """

    model_config = ConfigDict(extra="ignore")

    channel: Channel
    number: int
    pass_number: int
    provider: str
    device_id: str | None
    target_masked: str
    selection: dict[str, Any]
    segments: int | None = None
    encoding: str | None = None
    cost: str | None = Field(default=None, examples=["0.0990"])
    currency: str | None = Field(default=None, examples=["USD"])
    intended_at: Shown
    send_deadline: Shown
    outcome: Outcome | None
    code: str | None
    http_status: int | None
    provider_message_id: str | None
    resolved_by: str | None
    latency_ms: int | None
    closed_at: Shown | None
    receipt_status: str | None
    receipt_code: str | None
    receipt_at: Shown | None
    late_outcome: str | None
    late_at: Shown | None

    @classmethod
    def of(cls, row: Row, *, clear: bool) -> Self:
        """Build the view of an attempt's row."""
        return cls.model_validate({**row, "provider_message_id": message_id(row, clear=clear)})


def message_id(attempt: Row, *, clear: bool) -> str | None:
    """The provider's id of an attempt's message, as a key may see it."""
    id: str | None = attempt["provider_message_id"]
    return id if clear or not has_number(attempt) else mask_token(str(id))


def has_number(attempt: Row) -> bool:
    """Whether the attempt's message id contains the number that it went to, as WhatsApp's do."""
    return attempt["provider_message_id"] is not None and attempt["channel"] == Channel.WHATSAPP


class AttemptList(BaseModel):
    """A notification's attempts, in order."""

    attempts: list[AttemptView]


class TimelineEntry(BaseModel):
    """One event. `data` depends on `kind`, and contains only ids, codes and masked values."""

    at: Shown
    kind: str = Field(examples=["attempt"])
    channel: Channel | None = None
    data: dict[str, Any]


class Timeline(BaseModel):
    """Every decision about a notification, in order."""

    id: UUID
    status: Status
    reason_code: ReasonCode | None
    workflow_id: str
    temporal_ui_url: str
    entries: list[TimelineEntry]


class BatchItem(BaseModel):
    """The result for one notification. `status` is what a request for it alone would have returned."""

    index: int
    status: int = Field(examples=[202])
    id: UUID | None = None
    replayed: bool = False
    notification: NotificationView | None = None
    problem: dict[str, Any] | None = None


class BatchOut(BaseModel):
    """The results, in the order of the request."""

    accepted: int
    replayed: int
    refused: int
    results: list[BatchItem]
