"""The configured kinds of notification, and the rules of each. Read from `herald.toml`."""

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.api_limits import ApiPolicy
from domain.countries import CountryKey, key_for
from domain.fairness import turn_of
from domain.limit_policy import DEFAULT_LIMITS, Limit, PerSecond, Seconds, SharedLimit
from domain.notification import Channel, Content, Lane
from domain.sms_policy import SmsPolicy
from domain.tenant_names import Tenant

Price = Annotated[Decimal, Field(ge=0, max_digits=12)]


class OnUnknown(StrEnum):
    """What to do if the outcome or the receipt of a send cannot be found out."""

    RECONCILE = "reconcile"
    """Keep asking, or wait for a receipt, until the expiry; then park. Park at once without a way to find
    out: no look-up and no receipts, or messages that cannot be distinguished. A receipt that stays missing
    ends as `sent`.
    """
    FAILOVER = "failover"
    """Send through another provider, also if only the receipt is missing: the message may arrive twice."""
    STOP = "stop"
    """Never send again automatically: park it for an operator. A missing receipt ends as `sent`."""


class TemplateParameter(BaseModel):
    """What fills one parameter of a template: a field of the content, or the part of it that
    `match` finds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Literal["title", "body"] = "body"
    match: re.Pattern[str] | None = None
    """A regular expression; its first group is used, if it has one."""

    def value(self, content: Content) -> str | None:
        """The text for this content; None if there is no match."""
        text: str | None = getattr(content, self.field)
        if self.match is None or text is None:
            return text
        found = self.match.search(text)
        return found and found[min(1, self.match.groups)]


class WhatsAppTemplate(BaseModel):
    """The approved template that a type's WhatsApp messages use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,512}$")]
    language: str = "en"
    """As the template has it: `en`, `en_US`."""
    parameters: tuple[TemplateParameter, ...] = ()
    """What its {{1}}, {{2}}, … become, in order."""
    copy_code: bool = False
    """An authentication template: its button takes the first parameter as well."""

    @model_validator(mode="after")
    def _a_code_to_copy(self) -> "WhatsAppTemplate":
        if self.copy_code and not self.parameters:
            raise ValueError("copy_code needs parameters: the first one is the code")
        return self


class NotificationType(BaseModel):
    """One kind of notification. Durations are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lane: Lane = Lane.NORMAL
    required: bool = False
    """Ignores opt-outs and quiet hours; suppressions still hold."""
    retry_s: tuple[Seconds, ...] = (30, 120, 600)
    """How long after each failed pass the next one starts; after the last, it is dead-lettered."""
    retry_jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """The most that is added to a retry's wait, as a share of it."""
    on_unknown: OnUnknown = OnUnknown.RECONCILE
    await_receipt: bool = False
    """The workflow stays open until the receipt, or its deadline."""
    receipt_deadline_s: Seconds | None = None
    """How long after the send a receipt must have come; None: no receipt is expected."""
    expires_s: Seconds = 86_400
    """The default expiry, from acceptance (or from `send_at`)."""
    scrub_when_final: bool = False
    """Delete the content once the notification is final or has expired (one-time passwords)."""
    scrub_metadata: bool | tuple[str, ...] = False
    """The keys of the metadata that are deleted with the content; true: all of them."""
    limits: tuple[Limit, ...] = ()
    routes: dict[Channel, tuple[str, ...]] = Field(default_factory=dict[Channel, tuple[str, ...]])
    """The providers of a channel in fallback order, where this type differs from the general routes."""
    whatsapp: WhatsAppTemplate | None = None
    """The WhatsApp template; None: free text, only to users who recently wrote to us."""

    def private_keys(self, metadata: Mapping[str, object]) -> tuple[str, ...]:
        """The keys of this metadata that are deleted with the content."""
        if isinstance(self.scrub_metadata, bool):
            return tuple(metadata) if self.scrub_metadata else ()
        return tuple(key for key in self.scrub_metadata if key in metadata)

    @model_validator(mode="after")
    def _awaiting_needs_a_deadline(self) -> "NotificationType":
        if self.await_receipt and self.receipt_deadline_s is None:
            raise ValueError("await_receipt needs receipt_deadline_s")
        return self

    @model_validator(mode="after")
    def _metadata_goes_with_the_content(self) -> "NotificationType":
        if self.scrub_metadata and not self.scrub_when_final:
            raise ValueError("scrub_metadata needs scrub_when_final = true")
        return self


class Prices(BaseModel):
    """What a provider charges for one SMS segment, in the account's currency. For estimates only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    """ISO 4217, such as USD."""
    per_segment: Price | None = None
    """For numbers that `by_country` does not cover; None: not known."""
    by_country: dict[CountryKey, Price] = Field(default_factory=dict[CountryKey, Price])
    """By country, or by the first digits of the number: domain.countries.key_for."""

    def of(self, number: str) -> Decimal | None:
        """The price of one segment to an E.164 number; None if it is not known."""
        key = key_for(number, self.by_country)
        return self.by_country[key] if key else self.per_segment


class ProviderPolicy(BaseModel):
    """How one provider is called. Durations are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_s: Seconds = 10
    """The whole budget of one call: pool, connect, write and read."""
    connections_max: Annotated[int, Field(ge=1, le=10_000)] = 100
    """The most HTTP/1.1 connections of one process to it."""
    pool_s: Seconds = 2
    """The longest wait for one of them. Waiting and connecting share `pool_s` + `connect_s`."""
    connect_s: Seconds = 3
    """The longest that connecting to one address may take, with TLS."""
    write_s: Seconds = 5
    """The longest that sending a request's body may take."""
    read_s: Seconds = 30
    """The longest silence while waiting for the answer."""
    rate_per_s: PerSecond | None = None
    """The most sends per second over all workers; None: unlimited."""
    visibility_delay_s: Seconds | None = None
    """How long after a call "not found" does not prove "not sent"; None: as the adapter declares."""
    circuit_failures: Annotated[int, Field(gt=0)] = 20
    """This many consecutive failures within `circuit_window_s` open the circuit."""
    circuit_window_s: Seconds = 30
    circuit_open_s: Seconds = 30
    """How long an open circuit admits no call; then one probe at a time."""
    prices: Prices | None = None
    """What an SMS costs; None: attempts record no cost."""


_DEFAULT_POLICY = ProviderPolicy()


class DispatchPolicy(BaseModel):
    """How the dispatcher claims what is due. Durations are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batching: Literal["spike", "bulk", "never"] = "spike"
    """Which lanes are batched, many notifications in one workflow. `bulk`: only the lane of that name.
    `spike`: also every lane but `critical`, once `batch_threshold` are due in it.
    """
    batch_threshold: Annotated[int, Field(gt=0, le=100_000)] = 200
    batch_size: Annotated[int, Field(gt=0, le=1_000_000)] = 20_000
    """The most notifications of one batch; then the next batch starts."""
    batch_concurrency: Annotated[int, Field(gt=0, le=1000)] = 64
    """The most notifications that one batch sends at once; an OTP may queue behind this many operations."""
    promotions_per_s: Annotated[float, Field(ge=1, le=10_000_000)] = 20
    """The most unsettled notifications of batches that get dedicated workflows, per second and worker
    process, while batches have a backlog in the lane.
    """
    claim_max: Annotated[int, Field(gt=0, le=2000)] = 200
    """The most notifications that one claim of the dispatcher takes."""
    lease_s: Seconds = 15
    """How long after its claim a notification is due again, unless it was changed in between."""
    sweep_s: Seconds = 1
    """How often the dispatcher looks without being woken."""
    in_flight_max: Annotated[int, Field(gt=0, le=1000)] = 50
    """The most first passes that run at once in one worker process."""
    weights: dict[Lane, Annotated[int, Field(gt=0)]] = Field(
        default_factory=lambda: {Lane.CRITICAL: 8, Lane.HIGH: 4, Lane.NORMAL: 2, Lane.BULK: 1}
    )
    tenant_weights: dict[Tenant, Annotated[int, Field(gt=0, le=1000)]] = Field(default_factory=dict[str, int])
    """Each tenant's share of a lane and of a provider's rate, where it is not 1."""
    contended_slowdown: Annotated[float, Field(ge=1.1, le=1000)] = 1.4
    """While several tenants are active in a lane: how many times as long as usual requests to Temporal and
    the ledger may take before a burst of one of them is slowed down.
    """

    @cached_property
    def turn_weights(self) -> dict[int, int]:
        """`tenant_weights` by turn."""
        return {turn_of(tenant): weight for tenant, weight in self.tenant_weights.items()}


class ParkingPolicy(BaseModel):
    """How long, and how many, dead letters and unknown outcomes wait for an operator."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_s: Seconds = 14 * 86_400
    """A delivery that was parked longer than this fails."""
    open_workflows_max: Annotated[int, Field(ge=0)] = 1000
    """The most parked notifications that keep a waiting workflow; the rest wait in the ledger only."""


class RetentionPolicy(BaseModel):
    """How long finished notifications are kept, in whole calendar months (UTC) before the current one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_months: Annotated[int, Field(ge=1, le=1200)] = 12
    """Contents, attempts, receipts and timelines. A month with a notification that is still live is kept."""
    idempotency_months: Annotated[int, Field(ge=1, le=1200)] = 24
    """Notifications and their deliveries: a used idempotency key is known for this long."""

    @model_validator(mode="after")
    def _keys_outlive_the_evidence(self) -> "RetentionPolicy":
        if self.idempotency_months < self.keep_months:
            raise ValueError(
                f"idempotency_months ({self.idempotency_months}) is less than keep_months "
                f"({self.keep_months}): attempts would outlive the notification that they belong to"
            )
        return self


class Catalog(BaseModel):
    """The whole of `herald.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    types: dict[str, NotificationType]
    providers: dict[str, ProviderPolicy] = Field(default_factory=dict[str, ProviderPolicy])
    dispatch: DispatchPolicy = Field(default_factory=DispatchPolicy)
    parking: ParkingPolicy = Field(default_factory=ParkingPolicy)
    retention: RetentionPolicy = Field(default_factory=RetentionPolicy)
    sms: SmsPolicy = Field(default_factory=SmsPolicy)
    limits: tuple[SharedLimit, ...] = DEFAULT_LIMITS
    """The limits over all users."""
    api: ApiPolicy = Field(default_factory=ApiPolicy)

    @model_validator(mode="after")
    def _limits_name_types(self) -> "Catalog":
        wrong = sorted({name for limit in self.limits for name in limit.types} - self.types.keys())
        if wrong:
            raise ValueError(f"`limits` names types that do not exist: {', '.join(wrong)}")
        return self

    def shared_limits(self, type_name: str, channel: Channel) -> tuple[SharedLimit, ...]:
        """The limits over all users that a type counts under on a channel."""
        return self._shared_limits.get((type_name, channel), ())

    def limited_channels(self, type_name: str) -> frozenset[Channel]:
        """The channels on which a type has any limit."""
        return self._limited_channels[type_name]

    @cached_property
    def _shared_limits(self) -> dict[tuple[str, Channel], tuple[SharedLimit, ...]]:
        return {
            (name, channel): found
            for name, type in self.types.items()
            for channel in Channel
            if (found := tuple(limit for limit in self.limits if limit.covers(name, type.lane, channel)))
        }

    @cached_property
    def _limited_channels(self) -> dict[str, frozenset[Channel]]:
        return {
            name: frozenset(limit.channel for limit in type.limits)
            | frozenset(channel for channel in Channel if self.shared_limits(name, channel))
            for name, type in self.types.items()
        }

    def receipt_deadline_s(self, type_name: str) -> float | None:
        """How long after a send a receipt must have come, in seconds; None: no receipt is expected."""
        return self.types[type_name].receipt_deadline_s

    def provider(self, name: str) -> ProviderPolicy:
        """The policy of a provider; the default if the file does not configure it."""
        return self.providers.get(name, _DEFAULT_POLICY)
