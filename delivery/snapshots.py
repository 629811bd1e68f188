"""Takes the snapshots that decisions are based on."""

import random
from collections.abc import Mapping
from uuid import UUID

from delivery.provider_health import ProviderHealth
from domain.notification import Delivery, Notification
from domain.notification_types import Catalog, ProviderPolicy
from domain.snapshot import DecisionContext, DeliverySnapshot, ProviderTraits
from providers.base import Provider


class Snapshots:
    """Takes snapshots with the catalog of this installation and the health of its providers."""

    def __init__(self, catalog: Catalog, providers: Mapping[str, Provider], health: ProviderHealth) -> None:
        self._catalog = catalog
        self._health = health
        self._traits = {
            name: traits_of(catalog.provider(name), providers.get(name))
            for name in providers.keys() | catalog.providers.keys()
        }

    def of(self, notification: Notification, delivery: Delivery) -> DeliverySnapshot:
        """The snapshot of a loaded delivery. Raises KeyError if its type is not configured."""
        context = DecisionContext.of(self._catalog, notification.type, self._traits)
        return DeliverySnapshot(
            notification,
            delivery,
            notification.now,
            context,
            self._health.route(
                delivery.channel, context.type, notification.recipient, test=notification.is_test
            ),
            random.random(),  # noqa: S311 (spreads retries, no secret)
        )

    def of_id(self, notification: Notification, delivery_id: UUID) -> DeliverySnapshot:
        """The snapshot of a delivery by its id. Raises KeyError if the notification does not have it."""
        return self.of(notification, notification.delivery_by_id(delivery_id))


def traits_of(policy: ProviderPolicy, provider: Provider | None) -> ProviderTraits:
    """What decisions need to know of a provider. Its policy takes precedence over the adapter's declaration.

    `provider` is None for one that has a policy and no account: it may still have open attempts.
    """
    receipts, delay_s = False, policy.visibility_delay_s
    if provider is not None:
        receipts = provider.capabilities.receipts
        delay_s = provider.capabilities.visibility_delay_s if delay_s is None else delay_s
    return ProviderTraits(receipts, delay_s or 0.0, policy.circuit_open_s)
