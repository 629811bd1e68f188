"""Broadcasts for clients: created once per idempotency key, given an audience, read and controlled."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from domain.broadcasts import (
    COMMANDS,
    Audience,
    Broadcast,
    BroadcastRecipient,
    BroadcastStatus,
    Command,
    Ended,
    Refusal,
    Window,
)
from domain.fingerprint import Fingerprint
from domain.notification import Channel, Strategy
from domain.status import Status
from storage import row_types
from storage.acceptance import fingerprint_of
from storage.postgres import Connection, Pool
from storage.queries import VIEWS_AT_ONCE, Position
from storage.records import NewBroadcast
from storage.statements import statement

RECIPIENTS_AT_ONCE: Final = 500
"""How many recipients one statement stores: writing out more would hold the event loop."""
DRAFT_KEPT_S: Final = 7 * 86_400.0
"""A draft whose audience was not uploaded within this time is abandoned, in seconds."""


class Broadcasts:
    """The broadcasts of every tenant. To one tenant, another's do not exist."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def named(self, tenant: str, idempotency_key: str) -> tuple[UUID, Fingerprint] | None:
        """The id of a key's broadcast, and the fingerprint that the key was first used with."""
        return await _named(self._pool, tenant, idempotency_key)

    async def get(self, tenant: str, id: UUID) -> Broadcast | None:
        """The current broadcast; None if the tenant has no broadcast with this id."""
        broadcast = await self.read(id)
        return broadcast if broadcast is not None and broadcast.tenant == tenant else None

    async def read(self, id: UUID) -> Broadcast | None:
        """The current broadcast, of any tenant; None if there is no broadcast with this id."""
        row = await self._pool.fetchrow(statement("broadcast_view"), [id])
        return _broadcast(row) if row else None

    async def list_broadcasts(self, tenant: str, limit: int, after: Position | None) -> list[Broadcast]:
        """A page of a tenant's broadcasts, newest first."""
        place = (after.accepted_at, after.id) if after else (None, None)
        rows = await self._pool.fetch(statement("list_broadcasts"), tenant, limit, *place)
        ids = [row["id"] for row in rows]
        found: dict[UUID, Broadcast] = {}
        for start in range(0, len(ids), VIEWS_AT_ONCE):
            views = await self._pool.fetch(statement("broadcast_view"), ids[start : start + VIEWS_AT_ONCE])
            found |= {row["id"]: _broadcast(row) for row in views}
        return [found[id] for id in ids if id in found]

    async def begin_upload(self, tenant: str, id: UUID) -> int | None:
        """Begin to replace a draft's audience; returns the upload's number, or None if it is not a draft."""
        return await self._pool.fetchval(statement("begin_upload"), id, tenant, DRAFT_KEPT_S)

    async def put(
        self, id: UUID, upload: int, recipients: Sequence[BroadcastRecipient], refusals: Sequence[Refusal]
    ) -> None:
        """Store further lines of an upload."""
        async with self._pool.acquire(timeout=5) as connection, connection.transaction():
            await put_recipients(connection, id, upload, recipients)
            if refusals:
                await connection.execute(
                    statement("add_refusals"),
                    id,
                    upload,
                    [row_types.broadcast_refusal(row) for row in refusals],
                )

    async def refused(self, broadcast: Broadcast, after: int, limit: int) -> list[Refusal]:
        """At most `limit` lines that were not accepted, in order, after line `after`."""
        rows = await self._pool.fetch(
            statement("list_refusals"), broadcast.id, broadcast.upload, after, limit
        )
        return [Refusal(row["number"], row["code"], row["message"], row["pointer"]) for row in rows]


async def create(connection: Connection, new: NewBroadcast) -> tuple[bool, UUID, Fingerprint]:
    """Store a broadcast with its list, in the transaction of this connection; returns whether it is new, its
    id, and the fingerprint that its key was first used with.
    """
    row = await connection.fetchrow(
        statement("create_broadcast"), row_types.broadcast(new, first_status(new), DRAFT_KEPT_S)
    )
    if row is not None:
        await put_recipients(connection, new.id, 0, new.recipients)
        return True, new.id, new.fingerprint
    found = await _named(connection, new.tenant, new.idempotency_key)
    assert found is not None
    return False, *found


def first_status(new: NewBroadcast) -> BroadcastStatus:
    """The status of a new broadcast: it runs at once if its audience is known."""
    return BroadcastStatus.DRAFT if new.audience is Audience.UPLOAD else BroadcastStatus.RUNNING


async def _named(
    connection: Connection | Pool, tenant: str, idempotency_key: str
) -> tuple[UUID, Fingerprint] | None:
    row = await connection.fetchrow(statement("find_broadcast_by_key"), tenant, idempotency_key)
    return (row["id"], fingerprint_of(row)) if row else None


async def apply_command(
    connection: Connection | Pool, tenant: str, id: UUID, command: Command
) -> BroadcastStatus | None:
    """Pause, resume or cancel; returns the status before. None: its status does not allow it, or it does not
    exist.
    """
    change = COMMANDS[command]
    reason = Ended.CANCELLED_BY_CLIENT if command is Command.CANCEL else None
    row = await connection.fetchrow(
        statement("apply_broadcast_command"), id, tenant, [*change.before], change.after.value, reason
    )
    return BroadcastStatus(row["status"]) if row else None


async def end_upload(
    connection: Connection | Pool, id: UUID, upload: int, total: int, refused: int, digest: bytes
) -> bool:
    """Make the upload the audience; False if a newer one has begun, or it is no longer a draft."""
    row = await connection.fetchrow(statement("end_upload"), id, upload, total, refused, digest)
    return row is not None


async def put_recipients(
    connection: Connection, id: UUID, upload: int, recipients: Sequence[BroadcastRecipient]
) -> None:
    """Store recipients of a broadcast's list or upload."""
    for start in range(0, len(recipients), RECIPIENTS_AT_ONCE):
        portion = recipients[start : start + RECIPIENTS_AT_ONCE]
        await connection.execute(
            statement("add_recipients"), id, upload, [row_types.broadcast_recipient(row) for row in portion]
        )


def recipient_from(row: Any) -> BroadcastRecipient:
    """The recipient of a row of next_recipients."""
    return BroadcastRecipient(row["number"], row["user_id"], row["addresses"], row["data"])


_SAME = (
    *("id", "tenant", "idempotency_key", "reason_code", "type", "title", "body", "data", "metadata", "query"),
    *("rate_per_s", "start_at", "expires_at", "next_at", "upload", "digest", "total", "accepted", "refused"),
    *("cursor", "created_at", "started_at", "ended_at", "now", "stopped"),
)


def _broadcast(row: Any) -> Broadcast:
    window = row["window_start"]
    return Broadcast(
        **{name: row[name] for name in _SAME},
        fingerprint=fingerprint_of(row),
        status=BroadcastStatus(row["status"]),
        channels=tuple(Channel(channel) for channel in row["channels"]),
        strategy=Strategy(row["strategy"]),
        audience=Audience(row["audience"]),
        gathered=row["gathered_to"] is None,
        window=Window(window, row["window_end"], row["window_zone"]) if window else None,
        changes={Status(status): change for status, change in (row["changes"] or {}).items()},
    )
