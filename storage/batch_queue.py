"""The queue of due notifications for batches: many at once, without a workflow for each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from domain.notification import LANE_RANK, LANES, Lane
from storage import row_types
from storage.group import GroupCommit, Observe
from storage.outages import ask
from storage.postgres import Connection, Pool
from storage.statements import statement


@dataclass(frozen=True, slots=True)
class BatchClaim:
    """A due notification that a batch has claimed."""

    id: UUID
    token: UUID
    late_s: float = field(default=0.0, compare=False)
    """How long after its due time it was claimed, in seconds."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """A claim that a batch gives up. `dedicated_workflow`: its notification has one from now on; otherwise it
    is as if it had not been claimed.
    """

    claim: BatchClaim
    dedicated_workflow: bool


class BatchQueue:
    """Due notifications that need no dedicated workflow. Raises LedgerError when Postgres is unavailable."""

    def __init__(self, pool: Pool, *, observe: Observe | None = None) -> None:
        self._pool = pool
        self._hand_overs = GroupCommit[HandOver, None](
            "hand_over", pool, _hand_over, lambda row: row.claim.id.bytes, observe=observe
        )

    async def claim(self, lane: Lane, limit: int, lease_s: float, batch_id: UUID) -> list[BatchClaim]:
        """Claim the earliest `limit` notifications of a lane for a batch, for `lease_s` seconds."""
        rows = await ask(self._pool, statement("claim_batch"), LANE_RANK[lane], limit, lease_s, batch_id)
        return [BatchClaim(row["id"], row["claim"], row["late_s"]) for row in rows]

    async def hand_over(self, hand_over: HandOver) -> None:
        """Release a claim, unless another process has claimed the notification since."""
        await self._hand_overs.submit(hand_over)

    async def backlog(self, lanes: Sequence[Lane], up_to: int) -> dict[Lane, int]:
        """How many notifications of each lane are due that a batch may take, counted up to `up_to`."""
        rows = await ask(self._pool, statement("count_backlog"), [LANE_RANK[lane] for lane in lanes], up_to)
        return {LANES[row["lane"]]: row["count"] for row in rows}

    async def close(self, timeout_s: float) -> None:
        """Accept no more hand-overs, and write those already accepted, for at most `timeout_s` seconds."""
        await self._hand_overs.close(timeout_s)


async def _hand_over(connection: Connection, rows: Sequence[HandOver]) -> list[None]:
    await connection.fetch(
        statement("hand_over_claims"),
        [
            row_types.hand_over(row.claim.id, row.claim.token, dedicated_workflow=row.dedicated_workflow)
            for row in rows
        ],
    )
    return [None] * len(rows)
