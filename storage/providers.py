"""The providers as workers see and report them: which are drained, and the state of their circuits."""

from storage.postgres import Pool
from storage.statements import statement


async def drained(pool: Pool) -> frozenset[str]:
    """The names of the providers that an operator took out of use."""
    return frozenset(row["name"] for row in await pool.fetch(statement("list_drained_providers")))


async def record_circuit(pool: Pool, name: str, state: str) -> None:
    """Publish the state of a provider's circuit."""
    await pool.execute(statement("record_circuit"), name, state)
