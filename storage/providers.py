"""What operators and circuits say of the providers."""

from dataclasses import dataclass
from datetime import datetime

from storage.postgres import Pool
from storage.statements import statement


@dataclass(frozen=True, slots=True)
class ProviderState:
    """A provider as operators and the circuits see it."""

    status: str
    circuit: str
    circuit_at: datetime | None


class Providers:
    """The providers of one installation, as stored."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def states(self) -> dict[str, ProviderState]:
        """What is stored. A provider that is missing is active, its circuit closed."""
        rows = await self._pool.fetch(statement("list_provider_states"))
        return {row["name"]: ProviderState(row["status"], row["circuit"], row["circuit_at"]) for row in rows}

    async def set_status(self, name: str, status: str) -> None:
        """Make a provider `active` or `drained`; the workers are notified."""
        await self._pool.execute(statement("set_provider_status"), name, status)

    async def drained(self) -> frozenset[str]:
        """The names of the providers that an operator took out of use."""
        return frozenset(row["name"] for row in await self._pool.fetch(statement("list_drained_providers")))

    async def record_circuit(self, name: str, state: str) -> None:
        """Publish the state of a provider's circuit."""
        await self._pool.execute(statement("record_circuit"), name, state)
