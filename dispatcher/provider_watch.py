"""Keeps a worker's view of drained providers, and publishes how its circuits stand."""

import structlog

from activities.provider_gate import ProviderGate
from dispatcher.away import LEDGER_AWAY
from dispatcher.listener import Listener
from domain.circuit import CircuitState
from storage.postgres import Pool
from storage.providers import drained, record_circuit
from telemetry.logs import alert
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)

SWEEP_S = 2.0
_LEVEL = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


class ProviderWatch:
    """The loop between the gate of one worker process and the table `provider_states`."""

    def __init__(self, pool: Pool, gate: ProviderGate, listener: Listener, metrics: Metrics) -> None:
        self._pool = pool
        self._gate = gate
        self._listener = listener
        self._metrics = metrics

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self._once()
            except LEDGER_AWAY as error:
                log.warning("provider_watch_failed", why=type(error).__name__)
            await self._listener.wait("herald_providers", SWEEP_S)

    async def _once(self) -> None:
        self._gate.drain(await drained(self._pool))
        for name, state in self._gate.circuit_changes().items():
            self._metrics.circuit_state.set(_LEVEL[state], provider=name)
            if state is CircuitState.OPEN:
                alert("circuit_open", provider=name)
            else:
                log.info("circuit_changed", provider=name, state=state)
            await record_circuit(self._pool, name, state.value)
