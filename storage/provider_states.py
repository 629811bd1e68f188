"""What operators and circuits say of the providers."""

from dataclasses import dataclass
from datetime import datetime

from storage.postgres import Pool, statement


@dataclass(frozen=True, slots=True)
class ProviderState:
    """A provider as operators and the circuits see it."""

    state: str
    circuit: str
    circuit_at: datetime | None


class ProviderStates:
    """The states of one installation's providers."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self) -> dict[str, ProviderState]:
        """What is stored of the providers. One that is missing is active, its circuit closed."""
        rows = await self._pool.fetch(statement("provider_states"))
        return {row["name"]: ProviderState(row["state"], row["circuit"], row["circuit_at"]) for row in rows}

    async def set(self, name: str, state: str) -> None:
        """Make a provider `active` or `drained`; the workers are notified."""
        await self._pool.execute(statement("set_provider_state"), name, state)
