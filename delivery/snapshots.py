"""Takes the snapshots that decisions rest on."""

import random
from collections.abc import Mapping
from uuid import UUID

from delivery.provider_health import ProviderHealth
from domain.notification import Delivery, Notification
from domain.notification_types import Catalog
from domain.snapshot import DecisionContext, DeliverySnapshot, ProviderTraits
from providers.base import Provider


class Snapshots:
    """Snapshots of deliveries, with the catalog of this installation and the health of its providers."""

    def __init__(self, catalog: Catalog, providers: Mapping[str, Provider], health: ProviderHealth) -> None:
        self._catalog = catalog
        self._health = health
        self._traits = {name: traits_of(provider, catalog) for name, provider in providers.items()}

    def of(self, notification: Notification, delivery: Delivery) -> DeliverySnapshot:
        """A delivery as it was loaded. Raises KeyError for a type that is not configured."""
        context = DecisionContext.of(self._catalog, notification.type, self._traits)
        return DeliverySnapshot(
            notification,
            delivery,
            notification.now,
            context,
            self._health.route(delivery.channel, context.type, notification.recipient),
            random.random(),  # noqa: S311 (spreads retries, no secret)
        )

    def of_id(self, notification: Notification, delivery_id: UUID) -> DeliverySnapshot:
        """The same by the delivery's id. Raises KeyError if the notification has no such delivery."""
        return self.of(notification, notification.delivery_by_id(delivery_id))


def traits_of(provider: Provider, catalog: Catalog) -> ProviderTraits:
    """What decisions need to know of a provider: its adapter's word, unless the catalog says otherwise."""
    policy, can = catalog.provider(provider.name), provider.capabilities
    delay_s = can.settling_s if policy.settling_s is None else policy.settling_s
    return ProviderTraits(can.receipts, delay_s, policy.circuit_open_s)
