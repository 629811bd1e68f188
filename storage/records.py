"""The ledger's input and results: one small record for each kind of write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.broadcasts import Audience, BroadcastRecipient, Window
from domain.fingerprint import Fingerprint
from domain.notification import Channel, Lane, Recipient, Strategy
from domain.outcome import Outcome
from domain.status import Status
from domain.transition import Transition


@dataclass(frozen=True, slots=True)
class Submission:
    """A validated notification, ready to be accepted. Without `expires_at`, it expires `expires_s`
    seconds after acceptance or `send_at`, by the database's clock. `scrub` empties its content once final or
    expired, and removes `private_metadata`, keys of its metadata, with it.
    """

    id: UUID
    tenant: str
    user_id: str
    type: str
    idempotency_key: str
    fingerprint: Fingerprint
    lane: Lane
    strategy: Strategy
    channels: tuple[Channel, ...]
    body: str
    title: str | None = None
    to_sms: str | None = None
    to_email: str | None = None
    to_push: str | None = None
    to_whatsapp: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    send_at: datetime | None = None
    expires_at: datetime | None = None
    expires_s: float = 86_400
    scrub: bool = False
    private_metadata: tuple[str, ...] = ()
    broadcast_id: UUID | None = None
    """The broadcast that it belongs to, and whose progress it counts towards."""
    dedicated_workflow: bool = False
    """It has a dedicated workflow from the start: see domain.batching.needs_workflow."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The result of a submission: it is new, or its key was used before, with this fingerprint.

    The times are the database's, and are set for a new notification only.
    """

    id: UUID
    created: bool
    fingerprint: Fingerprint
    accepted_at: datetime | None = None
    expires_at: datetime | None = None
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A due notification that this process claimed. The recipient is included only to be masked."""

    id: UUID
    tenant: str
    type: str
    lane: Lane
    token: UUID
    channels: tuple[Channel, ...]
    recipient: Recipient
    late_s: float = field(default=0.0, compare=False)
    """How long after its due time it was claimed, in seconds."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A sender's intent to call `provider` for a delivery that it read at `version`.

    `suppression_key`: the address as the suppression list spells it (domain.contacts.suppression_key).
    `budget_s`: seconds for the whole HTTP call. No other process acts before it has passed, and
    `visibility_delay_s` after it.
    """

    notification_id: UUID
    delivery_id: UUID
    version: int
    provider: str
    budget_s: float
    visibility_delay_s: float
    suppression_key: str
    target_masked: str
    selection: Mapping[str, Any]
    required: bool
    device_id: str | None = None
    match_key: str | None = None


@dataclass(frozen=True, slots=True)
class Renewal:
    """A sender's intent to repeat the call of an open attempt, under the same idempotency key.

    `key_life_s`: seconds after the intent for which the provider knows the key. Other fields: see Intent.
    """

    notification_id: UUID
    delivery_id: UUID
    number: int
    version: int
    budget_s: float
    visibility_delay_s: float
    key_life_s: float
    suppression_key: str
    required: bool


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """A committed intent. `version` is the delivery's after it."""

    number: int
    version: int
    intended_at: datetime
    send_deadline: datetime


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """An attempt's outcome, and its delivery's transition. Without an outcome the attempt stays open."""

    notification_id: UUID
    delivery_id: UUID
    number: int
    version: int
    outcome: Outcome | None
    transition: Transition
    code: str | None = None
    http_status: int | None = None
    provider_message_id: str | None = None
    latency_ms: int | None = None
    resolved_by: str = "response"


@dataclass(frozen=True, slots=True)
class DeliveryUpdate:
    """A change of a delivery that sends nothing."""

    notification_id: UUID
    delivery_id: UUID
    version: int
    transition: Transition


@dataclass(frozen=True, slots=True)
class Updated:
    """A delivery after a write: its new version and its status, which a receipt may have decided."""

    version: int
    status: Status


@dataclass(frozen=True, slots=True)
class NewBroadcast:
    """A validated broadcast, ready to be stored."""

    id: UUID
    tenant: str
    idempotency_key: str
    fingerprint: Fingerprint
    type: str
    channels: tuple[Channel, ...]
    strategy: Strategy
    title: str | None
    body: str
    audience: Audience
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    query: Mapping[str, Any] | None = None
    recipients: Sequence[BroadcastRecipient] = ()
    rate_per_s: float | None = None
    window: Window | None = None
    start_at: datetime | None = None
    expires_at: datetime | None = None
