"""Broadcasts as workers carry them on: chunk by chunk, each accepted in one transaction with the cursor.

So a chunk that is given up before its commit was never accepted, one after it is never accepted again, and a
worker that lost its time finds the cursor elsewhere. The notifications' own keys say the same a second time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from domain.broadcasts import Broadcast, BroadcastStatus, Recipient, Refusal
from storage import row_types
from storage.acceptance import accept_rows
from storage.broadcasts import Broadcasts, recipient_from
from storage.records import Acceptance, Submission
from storage.statements import statement

LEASE_S: Final = 60.0
"""A broadcast that nobody carried on for so long is due: its workflow is started again."""
_GATHER: Final = 5_000
_CLEAR: Final = 5_000

DUPLICATE: Final = "duplicate_user"


@dataclass(frozen=True, slots=True)
class DueBroadcast:
    """A broadcast that somebody must come back to now."""

    id: UUID
    tenant: str
    type: str
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A recipient as it is submitted."""

    number: int
    submission: Submission


class BroadcastChunks(Broadcasts):
    """What carries broadcasts on. Every step compares what it saw with what is, and may be repeated."""

    async def gather(self, id: UUID) -> bool:
        """Make recipients of the next users that match the query; whether that was all of them."""
        row = await self._pool.fetchrow(statement("gather_recipients"), id, _GATHER, LEASE_S)
        return row is None or row["whole"]

    async def next(self, broadcast: Broadcast, limit: int) -> list[Recipient]:
        """The recipients after the cursor, in order."""
        rows = await self._pool.fetch(
            statement("next_recipients"), broadcast.id, broadcast.upload, broadcast.cursor, limit
        )
        return [recipient_from(row) for row in rows]

    async def accept(
        self, broadcast: Broadcast, lines: Sequence[Line], refusals: Sequence[Refusal], last_number: int
    ) -> int | None:
        """Accept a chunk that ends with recipient `last_no`; how many were accepted.

        None: it does not run any more, or somebody else moved its cursor. Read it again. Raises
        asyncpg.DataError when a line holds what cannot be stored: nothing of the chunk was.
        """
        async with self._pool.acquire(timeout=5) as connection, connection.transaction():
            if not await connection.fetch(statement("lock_broadcast"), broadcast.id, broadcast.cursor):
                return None
            acceptances = await accept_rows(connection, [line.submission for line in lines]) if lines else []
            ours = [id for line, a in zip(lines, acceptances, strict=True) if (id := _accepted(line, a))]
            twice = [
                Refusal(line.number, DUPLICATE, "an earlier line is for the same user", "/user_id")
                for line, acceptance in zip(lines, acceptances, strict=True)
                if not _accepted(line, acceptance)
            ]
            await connection.execute(
                statement("advance_broadcast"),
                *(broadcast.id, broadcast.upload, broadcast.cursor, last_number, ours),
                [row_types.broadcast_refusal(refusal) for refusal in (*refusals, *twice)],
                LEASE_S,
            )
            return len(ours)

    async def end(self, broadcast: Broadcast, status: BroadcastStatus, reason: str | None = None) -> bool:
        """Bring a running broadcast to its end; False if it moved meanwhile."""
        row = await self._pool.fetchrow(
            statement("end_broadcast"), broadcast.id, broadcast.cursor, status.value, reason
        )
        return row is not None

    async def abandon(self, broadcast: Broadcast, reason: str) -> bool:
        """Cancel a draft whose time is over; False if its upload began meanwhile."""
        return await self._pool.fetchrow(statement("abandon_draft"), broadcast.id, reason) is not None

    async def clear(self, id: UUID) -> bool:
        """Drop recipients of a broadcast that is over; whether none is left."""
        return len(await self._pool.fetch(statement("clear_recipients"), id, _CLEAR)) < _CLEAR

    async def ended(self, id: UUID) -> None:
        """Nothing is expected of it any more."""
        await self._pool.execute(statement("finish_broadcast"), id)

    async def expected(self, id: UUID, in_s: float) -> None:
        """Somebody comes back to it in so many seconds; it is due a while later."""
        await self._pool.execute(statement("expect_broadcast"), id, in_s + LEASE_S)

    async def unstopped(self, id: UUID, after: int) -> tuple[int, list[UUID]] | None:
        """The next chunk of a cancelled broadcast that may still send: its number and notifications."""
        row = await self._pool.fetchrow(statement("next_unstopped_chunk"), id, after)
        return (row["last_number"], row["notification_ids"]) if row else None

    async def stopped(self, id: UUID, chunk: int) -> None:
        """Nothing of this chunk will be sent any more."""
        await self._pool.execute(statement("mark_chunk_stopped"), id, chunk)

    async def claim(self, limit: int, lease_s: float) -> list[DueBroadcast]:
        """Claim broadcasts that somebody must come back to; they are due again after `lease_s` seconds."""
        rows = await self._pool.fetch(statement("claim_broadcasts"), limit, lease_s)
        return [DueBroadcast(row["id"], row["tenant"], row["type"], tuple(row["channels"])) for row in rows]

    async def tidy(self, rows_max: int, limit: int) -> None:
        """Fold the tallies of broadcasts that have more rows of them than that, so many at most."""
        for row in await self._pool.fetch(statement("list_unfolded_tallies"), rows_max, limit):
            await self._pool.execute(statement("fold_tallies"), row["broadcast_id"])


def _accepted(line: Line, acceptance: Acceptance) -> UUID | None:
    """The line's notification; None if an earlier line of the same user has its place."""
    return acceptance.id if acceptance.fingerprint.digest == line.submission.fingerprint.digest else None
