"""The last check before a call: what a test key sends reaches no vendor, and nothing else a simulated one."""

from delivery.provider_health import ProviderHealth
from domain.notification import Notification
from providers.base import Provider
from telemetry.logs import alert


class WrongMode(Exception):
    """The chosen provider must not be reached by this notification: a fault of ours. Nothing is sent."""


def refuse_wrong_mode(health: ProviderHealth, provider: Provider, notification: Notification) -> None:
    """Release the reserved call and raise WrongMode, unless both are for test keys or neither is."""
    if provider.capabilities.simulated is notification.is_test:
        return
    health.leave(provider.name)
    alert("wrong_mode", notification_id=str(notification.id), provider=provider.name)
    raise WrongMode(f"{provider.name} must not be called for notification {notification.id}")
