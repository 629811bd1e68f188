"""The request and response bodies of broadcasts."""

from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SkipValidation, field_validator, model_validator
from pydantic_core import PydanticCustomError

from api.fields import (
    RATE_PER_S_MIN,
    LocalTime,
    Metadata,
    Name,
    Request,
    Shown,
    Storable,
    Time,
    TimeZone,
    Title,
)
from api.models import KnownChannel, ToIn
from domain.access import is_test
from domain.broadcasts import Audience, Broadcast, BroadcastStatus, Refusal, Waits, Window
from domain.notification import Channel, Strategy
from domain.template_language import TEMPLATE_BYTES_MAX, TemplateRefused
from domain.templates import BODY_CHARS_MAX, TITLE_CHARS_MAX, compiled

LIST_MAX: Final = 10_000

EXAMPLE: dict[str, JsonValue] = {
    "type": "marketing",
    "channels": ["sms"],
    "template": {"body": "Hello {{ name }}, our branch in {{ city }} opens on Monday."},
    "data": {"city": "Lagos"},
    "audience": {
        "kind": "list",
        "recipients": [
            {"user_id": "user-42", "data": {"name": "Ada"}},
            {"user_id": "user-43", "to": {"sms": "+2348031236789"}, "data": {"name": "Bola"}},
        ],
    },
    "rate_per_s": 200,
    "window": {"start": "09:00", "end": "20:00", "time_zone": "Africa/Lagos"},
}


def _template(chars_max: int) -> Any:
    def check(source: str) -> str:
        try:
            compiled(source, chars_max)
        except TemplateRefused as error:
            raise PydanticCustomError("template_invalid", "{reason}", {"reason": str(error)}) from None
        return source

    return check


class RecipientIn(Request):
    """One recipient: a user, and the template values for them."""

    user_id: Name
    to: ToIn | None = None
    data: Metadata = Field(
        default_factory=dict, description="Template values; they override the broadcast's `data`."
    )


class ListIn(Request):
    """A list of recipients in the request itself."""

    # Each recipient is validated by itself (api.broadcasts): all at once would hold the event loop.
    kind: Literal["list"]
    recipients: Annotated[
        list[SkipValidation[RecipientIn]],
        Field(min_length=1, max_length=LIST_MAX),
    ]


class UploadIn(Request):
    """An audience that `PUT /v1/broadcasts/{id}/audience` uploads; until then the broadcast is a draft."""

    kind: Literal["upload"]


class SettingIn(Request):
    """A preference that is stored exactly like this: users who never set it do not match."""

    type: Name = Field(description="A type, or `*` for the setting that covers all types.")
    channel: KnownChannel
    enabled: bool


class QueryIn(Request):
    """The tenant's users who match every condition given here when the broadcast starts."""

    kind: Literal["query"]
    has_contact: KnownChannel | None = Field(
        default=None, description="Users with a number, an address or a device for this channel."
    )
    time_zone: TimeZone | None = None
    setting: SettingIn | None = None


class TemplateIn(Request):
    """The message, in a subset of Jinja2: values, filters, `if` and `for`. See docs/broadcasts.md."""

    body: Annotated[str, Field(min_length=1, max_length=TEMPLATE_BYTES_MAX), Storable]
    title: Title | None = None

    @field_validator("body")
    @classmethod
    def _body_compiles(cls, source: str) -> str:
        return _template(BODY_CHARS_MAX)(source)

    @field_validator("title")
    @classmethod
    def _title_compiles(cls, source: str | None) -> str | None:
        return source and _template(TITLE_CHARS_MAX)(source)


class WindowIn(Request):
    """Times of day between which recipients are accepted. An `end` before `start` is on the next day."""

    start: LocalTime
    end: LocalTime
    time_zone: TimeZone

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.start == self.end:
            raise PydanticCustomError(
                "window_empty", "`start` and `end` are the same; omit `window` for all day"
            )
        return self


class BroadcastIn(Request):
    """One message to many recipients. It uses lane `bulk`, whatever the lane of its type."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    type: Name = Field(description="A configured type.", examples=["marketing"])
    channels: Annotated[list[KnownChannel], Field(min_length=1, max_length=len(Channel))]
    strategy: Strategy = Strategy.ALL
    template: TemplateIn
    data: Metadata = Field(
        default_factory=dict,
        description="Template values that all recipients share. `locale` is that of numbers and dates.",
    )
    audience: Annotated[ListIn | UploadIn | QueryIn, Field(discriminator="kind")]
    rate_per_s: Annotated[float, Field(ge=RATE_PER_S_MIN, le=100_000)] | None = Field(
        default=None, description="At most this many recipients are accepted per second."
    )
    window: WindowIn | None = None
    start_at: Time | None = Field(
        default=None, description="When to start accepting recipients; at most a year ahead."
    )
    expires_at: Time | None = Field(
        default=None,
        description="Nothing is sent after this time. Default: the type's expiry, from acceptance.",
    )
    metadata: Metadata = Field(
        default_factory=dict, description="Stored and returned with each notification, never sent."
    )
    idempotency_key: Name | None = Field(
        default=None, description="An alternative to the Idempotency-Key header."
    )

    @field_validator("channels")
    @classmethod
    def _once_each(cls, channels: list[Channel]) -> list[Channel]:
        if len(set(channels)) < len(channels):
            raise PydanticCustomError("not_unique", "each channel may be named once")
        return channels


class WindowView(BaseModel):
    """Times of day between which recipients are accepted."""

    start: str
    end: str
    time_zone: str


class Progress(BaseModel):
    """The recipients counted by status. Each accepted one counts once, in a field from `active` to `parked`.

    `active`: not finished. `sent`: accepted by a provider, and no receipt has said more. `failed` includes
    the expired ones, `suppressed` those above a limit. `parked`: waiting for an operator.
    """

    total: int = Field(description="Recipients known so far; for a query this grows until all are gathered.")
    accepted: int
    refused: int
    active: int
    sent: int
    delivered: int
    failed: int
    suppressed: int
    cancelled: int
    parked: int
    waits_for: Waits | None = None
    waits_until: Shown | None = None
    eta_s: float | None = Field(
        description="Seconds until all is finished, at the pace so far; null if unknown."
    )


class BroadcastView(BaseModel):
    """A broadcast as it is now. `reason_code` says why it was cancelled."""

    id: UUID
    status: BroadcastStatus
    reason_code: str | None
    type: str
    channels: list[Channel]
    strategy: Strategy
    audience: Audience
    rate_per_s: float | None
    window: WindowView | None
    start_at: Shown | None
    expires_at: Shown | None
    metadata: dict[str, Any]
    test: bool = Field(description="A test key created it: only simulated providers see it.")
    idempotency_key: str
    created_at: Shown
    started_at: Shown | None
    ended_at: Shown | None = Field(description="When its last notification finished.")
    progress: Progress
    workflow_id: str
    temporal_ui_url: str


class BroadcastPage(BaseModel):
    """Broadcasts, newest first. `next_cursor` requests the next page; it is null on the last one."""

    broadcasts: list[BroadcastView]
    next_cursor: str | None = None


class RefusedLine(BaseModel):
    """A refused recipient. `line` is its line in the upload or its position in the list, from 1."""

    line: int
    code: str = Field(examples=["invalid_contact"])
    pointer: str = Field(examples=["/to/sms"])
    message: str

    @classmethod
    def of(cls, refusal: Refusal) -> Self:
        """Build the view of a refusal."""
        return cls(line=refusal.number, code=refusal.code, pointer=refusal.pointer, message=refusal.message)


class RefusedPage(BaseModel):
    """Refused lines, in order. `next_cursor` requests the next page; it is null on the last one."""

    refused: list[RefusedLine]
    next_cursor: str | None = None


def view(broadcast: Broadcast, workflow_id: str, workflow_url: str) -> BroadcastView:
    """Build the view of a broadcast."""
    counts, waits = broadcast.counts, broadcast.waits
    eta = broadcast.eta_s
    return BroadcastView(
        **{name: getattr(broadcast, name) for name in _SAME},
        status=broadcast.status,
        channels=list(broadcast.channels),
        metadata=dict(broadcast.metadata),
        test=is_test(broadcast.tenant),
        window=_window(broadcast.window),
        progress=Progress(
            total=broadcast.total,
            accepted=broadcast.accepted,
            refused=broadcast.refused,
            **{name: getattr(counts, name) for name in _COUNTS},
            waits_for=waits[0] if waits else None,
            waits_until=waits[1] if waits else None,
            eta_s=None if eta is None else round(eta, 1),
        ),
        workflow_id=workflow_id,
        temporal_ui_url=f"{workflow_url}{workflow_id}",
    )


def _window(window: Window | None) -> WindowView | None:
    return WindowView(start=window.start, end=window.end, time_zone=window.time_zone) if window else None


_COUNTS = ("active", "sent", "delivered", "failed", "suppressed", "cancelled", "parked")
_SAME = (
    *("id", "reason_code", "type", "strategy", "audience", "rate_per_s", "start_at", "expires_at"),
    *("idempotency_key", "created_at", "started_at", "ended_at"),
)
