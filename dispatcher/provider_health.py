"""Reads which providers are drained, and publishes the state of this process's circuits."""

import structlog

from delivery.provider_health import ProviderHealth
from dispatcher.listener import Listener
from dispatcher.loop import Rounds
from domain.circuit import CircuitState
from storage.postgres import Pool
from storage.providers import Providers
from telemetry.logs import alert
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)

SWEEP_S = 2.0
_LEVEL = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


class ProviderHealthPublisher(Rounds):
    """The loop that synchronises one worker process with the table `providers`."""

    failure = "provider_health_failed"

    def __init__(self, pool: Pool, health: ProviderHealth, listener: Listener, metrics: Metrics) -> None:
        self._providers = Providers(pool)
        self._health = health
        self._listener = listener
        self._metrics = metrics

    async def rest(self) -> None:
        """Wait until an operator changes a provider, or for one sweep interval."""
        await self._listener.wait("herald_providers", SWEEP_S)

    async def round(self) -> None:
        """Read which providers are drained, and publish the circuits that changed."""
        self._health.drain(await self._providers.drained())
        for name, state in self._health.circuit_changes().items():
            self._metrics.circuit_state.set(_LEVEL[state], provider=name)
            if state is CircuitState.OPEN:
                alert("circuit_open", provider=name)
            else:
                log.info("circuit_changed", provider=name, state=state)
            await self._providers.record_circuit(name, state.value)
