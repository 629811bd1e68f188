"""Broadcasts for workers: chunk by chunk, each accepted in one transaction with the cursor.

A chunk that is abandoned before its commit has no effect. After its commit it is never accepted again: a
worker that lost its claim finds the cursor elsewhere. The notifications' idempotency keys are a second guard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from domain.broadcasts import Broadcast, BroadcastRecipient, BroadcastStatus, Refusal
from storage import row_types
from storage.acceptance import accept_rows
from storage.broadcasts import Broadcasts, recipient_from
from storage.records import Acceptance, Submission
from storage.statements import statement

LEASE_S: Final = 60.0
"""A broadcast that no worker continued for this many seconds is due: its workflow is started again."""
_GATHER: Final = 5_000
_CLEAR: Final = 5_000

DUPLICATE: Final = "duplicate_user"


@dataclass(frozen=True, slots=True)
class DueBroadcast:
    """A broadcast whose workflow must be started."""

    id: UUID
    tenant: str
    type: str
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A recipient and its submission."""

    number: int
    submission: Submission


class BroadcastChunks(Broadcasts):
    """The steps of a broadcast. Each compares what it read with what is stored, and may be repeated."""

    async def gather(self, id: UUID) -> bool:
        """Make recipients of the next users that match the query; returns whether these were the last."""
        row = await self._pool.fetchrow(statement("gather_recipients"), id, _GATHER, LEASE_S)
        return row is None or row["whole"]

    async def next(self, broadcast: Broadcast, limit: int) -> list[BroadcastRecipient]:
        """The recipients after the cursor, in order."""
        rows = await self._pool.fetch(
            statement("next_recipients"), broadcast.id, broadcast.upload, broadcast.cursor, limit
        )
        return [recipient_from(row) for row in rows]

    async def accept(
        self, broadcast: Broadcast, lines: Sequence[Line], refusals: Sequence[Refusal], last_number: int
    ) -> int | None:
        """Accept a chunk that ends with recipient `last_number`; returns how many were accepted.

        None: the broadcast is no longer running, or another process advanced its cursor; read it again.
        Raises asyncpg.DataError when a line cannot be stored; then nothing of the chunk is.
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
        """End a running broadcast; False if its status or cursor changed in the meantime."""
        row = await self._pool.fetchrow(
            statement("end_broadcast"), broadcast.id, broadcast.cursor, status.value, reason
        )
        return row is not None

    async def abandon(self, broadcast: Broadcast, reason: str) -> bool:
        """Cancel a draft that was kept for too long; False if an upload has begun in the meantime."""
        return await self._pool.fetchrow(statement("abandon_draft"), broadcast.id, reason) is not None

    async def clear(self, id: UUID) -> bool:
        """Drop recipients of a broadcast that is over; returns whether all of them are gone."""
        return len(await self._pool.fetch(statement("clear_recipients"), id, _CLEAR)) < _CLEAR

    async def ended(self, id: UUID) -> None:
        """Record that a broadcast is over: it is never due again."""
        await self._pool.execute(statement("finish_broadcast"), id)

    async def expected(self, id: UUID, in_s: float) -> None:
        """Record that a worker continues it within `in_s` seconds; it is due LEASE_S seconds after that."""
        await self._pool.execute(statement("expect_broadcast"), id, in_s + LEASE_S)

    async def unstopped(self, id: UUID, after: int) -> tuple[int, list[UUID]] | None:
        """The next chunk of a cancelled broadcast that may still send: its last number and notifications."""
        row = await self._pool.fetchrow(statement("next_unstopped_chunk"), id, after)
        return (row["last_number"], row["notification_ids"]) if row else None

    async def stopped(self, id: UUID, chunk: int) -> None:
        """Record that nothing more of this chunk will be sent."""
        await self._pool.execute(statement("mark_chunk_stopped"), id, chunk)

    async def claim(self, limit: int, lease_s: float) -> list[DueBroadcast]:
        """Claim at most `limit` due broadcasts; they are due again after `lease_s` seconds."""
        rows = await self._pool.fetch(statement("claim_broadcasts"), limit, lease_s)
        return [DueBroadcast(row["id"], row["tenant"], row["type"], tuple(row["channels"])) for row in rows]

    async def tidy(self, rows_max: int, limit: int) -> None:
        """Fold the tallies of at most `limit` broadcasts that have more than `rows_max` rows of them."""
        for row in await self._pool.fetch(statement("list_unfolded_tallies"), rows_max, limit):
            await self._pool.execute(statement("fold_tallies"), row["broadcast_id"])


def _accepted(line: Line, acceptance: Acceptance) -> UUID | None:
    """The line's notification; None if an earlier line of the same user was accepted instead."""
    return acceptance.id if acceptance.fingerprint.digest == line.submission.fingerprint.digest else None
