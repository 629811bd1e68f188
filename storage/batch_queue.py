"""The queue of due notifications for batches: many at once, without a workflow for each."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from domain.fairness import EQUAL, Shares
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
    turn: int = field(default=0, compare=False)
    """The tenant's turn (domain.fairness.turn_of)."""
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

    async def claim(
        self,
        lane: Lane,
        limit: int,
        lease_s: float,
        batch_id: UUID,
        turns: Collection[int] | None = None,
        shares: Shares = EQUAL,
    ) -> list[BatchClaim]:
        """Claim `limit` notifications of a lane for a batch, for `lease_s` seconds, in turns by tenant.

        `turns`: whose; None: everyone's. `shares`: how they divide it.
        """
        own, known = None if turns is None else list(turns), [*{*shares.weights, *shares.rooms}]
        rows = await ask(
            self._pool,
            statement("claim_batch"),
            *(LANE_RANK[lane], limit, lease_s, batch_id, own),
            *(known, [shares.weights.get(turn, 1) for turn in known]),
            *([shares.rooms.get(turn) for turn in known], shares.after),
        )
        return [BatchClaim(row["id"], row["claim"], row["turn"], row["late_s"]) for row in rows]

    async def hand_over(self, hand_over: HandOver) -> None:
        """Release a claim, unless another process has claimed the notification since."""
        await self._hand_overs.submit(hand_over)

    async def backlog(self, lanes: Sequence[Lane], up_to: int, after: int = 0) -> dict[Lane, dict[int, int]]:
        """How many notifications of each lane and turn are due that a batch may take, counted up to `up_to`.
        Turns without any are missing. `after`: the turn before the first that is examined.
        """
        ranks = [LANE_RANK[lane] for lane in lanes]
        rows = await ask(self._pool, statement("count_backlog"), ranks, up_to, after)
        backlog: dict[Lane, dict[int, int]] = {lane: {} for lane in lanes}
        for row in rows:
            backlog[LANES[row["lane"]]][row["turn"]] = row["count"]
        return backlog

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
