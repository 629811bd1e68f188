"""The status and the circuit of each provider, as stored."""

from dataclasses import dataclass
from datetime import datetime

from storage.postgres import Connection, Pool
from storage.statements import statement


@dataclass(frozen=True, slots=True)
class StoredProvider:
    """A provider's status, set by operators, and its circuit, published by workers."""

    status: str
    circuit: str
    circuit_at: datetime | None


class Providers:
    """The providers of one installation, as stored."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def stored(self) -> dict[str, StoredProvider]:
        """The stored providers by name. One that is missing is active, and its circuit is closed."""
        rows = await self._pool.fetch(statement("list_providers"))
        return {row["name"]: StoredProvider(row["status"], row["circuit"], row["circuit_at"]) for row in rows}

    async def drained(self) -> frozenset[str]:
        """The names of the providers that operators drained."""
        return frozenset(row["name"] for row in await self._pool.fetch(statement("list_drained_providers")))

    async def record_circuit(self, name: str, state: str) -> None:
        """Publish the state of a provider's circuit."""
        await self._pool.execute(statement("record_circuit"), name, state)


async def set_status(connection: Connection, name: str, status: str) -> bool:
    """Make a provider `active` or `drained`, and notify the workers; False if it was so already."""
    return await connection.fetchrow(statement("set_provider_status"), name, status) is not None
