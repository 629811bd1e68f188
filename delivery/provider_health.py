"""Which providers may be called now: configured, not drained, circuit closed, below their rate, quick."""

import time
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from domain.circuit import Circuit, CircuitState
from domain.countries import key_for
from domain.notification import Channel, Recipient
from domain.notification_types import Catalog, NotificationType
from domain.outcome import HEALTH_FAILURES, SEND_DEADLINE_PASSED, Outcome, SendResult
from domain.routing import Route
from providers.base import Provider
from ratelimit.limiter import Limiter

SLOW_S = 2.0
"""A provider whose recent p95 latency is above this is not called from a workflow task."""
IN_FLIGHT_MAX = 40
"""Nor is one with this many calls under way in this process."""
AWAY_S_MAX = 900.0
"""The longest that a Retry-After blocks its provider; then it is called again."""
_RECENT = 50


class ProviderHealth:
    """What this process knows about the providers' health. Times are monotonic seconds."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        catalog: Catalog,
        routes: Mapping[Channel, tuple[str, ...]],
        limiter: Limiter,
        sms_routes: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """`sms_routes`: SMS routes by country or first digits (domain.countries.key_for)."""
        self._providers = providers
        self._catalog = catalog
        self._routes = routes
        self._limiter = limiter
        self._sms_routes = sms_routes or {}
        self._simulated = {
            channel: tuple(
                name
                for name, provider in providers.items()
                if provider.capabilities.simulated and provider.capabilities.channel is channel
            )
            for channel in Channel
        }
        self._circuits = {name: self._circuit(name) for name in providers}
        self._seen: dict[str, CircuitState] = dict.fromkeys(providers, CircuitState.CLOSED)
        self._latencies: dict[str, deque[float]] = {name: deque(maxlen=_RECENT) for name in providers}
        self._in_flight = dict.fromkeys(providers, 0)
        self._drained: frozenset[str] = frozenset()
        self._away_until = dict.fromkeys(providers, 0.0)

    def drain(self, names: frozenset[str]) -> None:
        """Block exactly these providers for new sends."""
        self._drained = names

    def route(
        self, channel: Channel, type: NotificationType, recipient: Recipient, *, test: bool = False
    ) -> Route:
        """The channel's providers in fallback order, and why some may not be called now.

        The type's order takes precedence over that of the number's country, and that over the general one.
        `test`: what test keys send has its own providers, whatever the orders.
        """
        now = time.monotonic()
        of, names = ("test", self._simulated[channel]) if test else self._order(channel, type, recipient)
        order = [name for name in names if name in self._providers]
        blocked: dict[str, str] = {}
        for name in order:
            if name in self._drained:
                blocked[name] = "drained"
            elif now < self._away_until[name]:
                blocked[name] = "retry_after"
            elif not self._circuits[name].admits(now):
                blocked[name] = "circuit_open"
        return Route(order, blocked, {name: self._providers[name].address_of for name in order}, of)

    def _order(
        self, channel: Channel, type: NotificationType, recipient: Recipient
    ) -> tuple[str, tuple[str, ...]]:
        """What selects the order, and the order."""
        if own := type.routes.get(channel):
            return "type", own
        if channel is Channel.SMS and recipient.sms and (key := key_for(recipient.sms, self._sms_routes)):
            return key, self._sms_routes[key]
        return "general", self._routes[channel]

    def is_fast(self, name: str) -> bool:
        """Whether the provider was quick recently, and has few calls under way."""
        latencies = sorted(self._latencies[name])
        slow = bool(latencies) and latencies[int(len(latencies) * 0.95)] > SLOW_S
        return not slow and self._in_flight[name] < IN_FLIGHT_MAX

    async def enter(self, name: str, tenant: str) -> str | None:
        """Reserve a call for a tenant. Returns the reason if refused.

        Else `call`, `leave` or `give_back` must follow.
        """
        if not self._circuits[name].enter(time.monotonic()):
            return "circuit_open"
        rate = self._catalog.provider(name).rate_per_s
        weight = self._catalog.dispatch.tenant_weights.get(tenant, 1)
        if rate is not None and await self._limiter.take(name, rate, tenant, weight) > 0:
            self._circuits[name].left()
            return "rate"
        return None

    def leave(self, name: str) -> None:
        """Release the reservation of a call that was not made."""
        self._circuits[name].left()

    async def give_back(self, name: str) -> None:
        """Release the reservation of a call that was not made, and its token: others may use it."""
        self.leave(name)
        if self._catalog.provider(name).rate_per_s is not None:
            await self._limiter.give_back(name)

    @contextmanager
    def call(self, name: str, *, counts_in_flight: bool = True) -> Generator[None]:
        """Measure one call. `counts_in_flight`: whether it counts as under way (`is_fast`)."""
        started = time.monotonic()
        self._in_flight[name] += counts_in_flight
        try:
            yield
        finally:
            self._in_flight[name] -= counts_in_flight
            self._latencies[name].append(time.monotonic() - started)

    def report(self, name: str, result: SendResult) -> None:
        """Count the result of a call for the provider's health."""
        circuit, now = self._circuits[name], time.monotonic()
        if result.retry_after_s is not None and result.about_provider:
            self._away_until[name] = now + min(result.retry_after_s, AWAY_S_MAX)
        if is_ours(result):
            circuit.left()
        elif result.outcome in HEALTH_FAILURES and result.about_provider:
            circuit.failed(now)
        else:
            circuit.succeeded()

    def circuit_changes(self) -> dict[str, CircuitState]:
        """The circuits that changed since the last call of this method."""
        now = time.monotonic()
        changed: dict[str, CircuitState] = {}
        for name, circuit in self._circuits.items():
            state = circuit.state(now)
            if state is not self._seen[name]:
                self._seen[name] = changed[name] = state
        return changed

    def _circuit(self, name: str) -> Circuit:
        policy = self._catalog.provider(name)
        return Circuit(policy.circuit_failures, policy.circuit_window_s, policy.circuit_open_s)


def is_ours(result: SendResult) -> bool:
    """Whether we refused the call ourselves, so that it does not concern the provider: no time was left, or
    the adapter refused the message.
    """
    return not result.asked or (result.outcome is Outcome.NOT_SENT and result.code == SEND_DEADLINE_PASSED)
