"""The input of decisions about a delivery. Nothing else may influence them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from domain.notification import Attempt, Channel, Delivery, Notification, Strategy
from domain.notification_types import Catalog, NotificationType
from domain.preferences import PermissionCheck, check_permission
from domain.routing import Route
from domain.sms_policy import EVERYWHERE, SmsPolicy
from domain.status import Status


@dataclass(frozen=True, slots=True)
class ProviderTraits:
    """What decisions need to know about a provider. Durations are in seconds.

    `receipts`: it reports deliveries. `visibility_delay_s`: how long after a call "not found" does not prove
    "not sent". `circuit_open_s`: how long its open circuit admits no call.
    """

    receipts: bool = False
    visibility_delay_s: float = 0.0
    circuit_open_s: float = 30.0


UNKNOWN_PROVIDER = ProviderTraits()
"""A provider that is no longer configured: it cannot be asked."""


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """The notification's type, and the settings of this installation. Durations are in seconds.

    `limited`: the channels on which the type has any limit.
    """

    type: NotificationType
    lease_s: float
    keep_parked_s: float
    sms: SmsPolicy = EVERYWHERE
    providers: Mapping[str, ProviderTraits] = field(default_factory=dict[str, ProviderTraits])
    limited: frozenset[Channel] = frozenset()

    @classmethod
    def of(
        cls, catalog: Catalog, type_name: str, providers: Mapping[str, ProviderTraits]
    ) -> "DecisionContext":
        """The context of a type in this installation. Raises KeyError for a type that is not configured."""
        return cls(
            catalog.types[type_name],
            catalog.dispatch.lease_s,
            catalog.parking.keep_s,
            catalog.sms,
            providers,
            catalog.limited_channels(type_name),
        )

    def lease_after(self, at: datetime) -> datetime:
        """When the dispatcher takes over a delivery that should be acted on at `at`."""
        return at + timedelta(seconds=self.lease_s)

    def provider(self, name: str) -> ProviderTraits:
        """The traits of a provider by name."""
        return self.providers.get(name, UNKNOWN_PROVIDER)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One delivery as read from the ledger at `now`, the database's time."""

    notification: Notification
    delivery: Delivery
    now: datetime

    @property
    def is_expired(self) -> bool:
        """Whether nothing may be sent any more."""
        return self.now >= self.delivery.expires_at or self.notification.content_gone

    @property
    def has_channel_behind(self) -> bool:
        """Whether another channel of a `strategy: first` notification waits for this one."""
        return self.notification.strategy is Strategy.FIRST and any(
            other.status is Status.WAITING and other.position > self.delivery.position
            for other in self.notification.deliveries
        )


@dataclass(frozen=True, slots=True)
class DeliverySnapshot(Snapshot):
    """A delivery with its type, and its route under the providers' current health.

    `jitter`, 0 to 1, spreads retries: the part of the type's `retry_jitter` that is added to the next wait.
    """

    context: DecisionContext
    route: Route
    jitter: float = 0.0

    @property
    def permission(self) -> PermissionCheck:
        """Whether preferences, contacts, the rules for SMS and the clock allow a send."""
        return check_permission(
            self.now,
            self.context.type,
            self.notification.type,
            self.delivery.channel,
            self.notification.recipient,
            self.context.sms.of(self.notification.tenant),
        )

    def with_blocked(self, provider: str, reason: str) -> "DeliverySnapshot":
        """A copy with one more provider that may not be called now."""
        return replace(self, route=replace(self.route, blocked={**self.route.blocked, provider: reason}))

    def with_attempt(self, attempt: Attempt) -> "DeliverySnapshot":
        """A copy with this attempt added, or replacing the one with its number."""
        others = (other for other in self.delivery.attempts if other.number != attempt.number)
        attempts = tuple(sorted((*others, attempt), key=lambda each: each.number))
        return replace(self, delivery=replace(self.delivery, attempts=attempts))

    def after_call(self, version: int, now: datetime, route: Route) -> "DeliverySnapshot":
        """A copy after a provider call: the new version, the estimated database time, and the
        current route.
        """
        return replace(self, delivery=replace(self.delivery, version=version), now=now, route=route)

    def visible_at(self, attempt: Attempt) -> datetime:
        """The time from which "not found" means that the attempt was not sent."""
        delay_s = self.context.provider(attempt.provider).visibility_delay_s
        return attempt.send_deadline + timedelta(seconds=delay_s)
