"""Queries for clients and operators: notifications, their attempts and their timelines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from domain.notification import Channel
from domain.status import PARKED, SENDABLE, Status
from storage.group import GroupCommit, Observe
from storage.postgres import Connection, Pool
from storage.statements import statement

VIEWS_AT_ONCE = 25
"""How many views are read before others may run: their metadata, of 16 KB each, is decoded at once."""
LOOKS_MAX = 10_000
"""How many notifications are examined for a page: some 20 ms, whatever the size of the ledger."""

Row = dict[str, Any]
"""A row with the columns of its statement in storage/sql/. Nested JSON is decoded; its times are text."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on notifications. None: any value. `parked`: only those that wait for an operator."""

    user_id: str | None = None
    type: str | None = None
    status: Status | None = None
    channel: Channel | None = None
    provider: str | None = None
    reason_code: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """The last entry of a page; the next page begins after it."""

    accepted_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Page:
    """The matches, and the position after which the next page begins; None after the last page."""

    positions: Sequence[Position]
    next: Position | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything stored about one notification."""

    notification: Row
    attempts: Sequence[Row]
    events: Sequence[Row]
    receipts: Sequence[Row]


_PARKED: Final = "n.status IN ('outcome_unknown', 'dead_lettered')"
_LIVE: Final = PARKED | SENDABLE | {Status.SENDING}
_PLACES: Final = {
    "user_id": "n.user_id = {}",
    "created_after": "n.accepted_at > {}",
    "created_before": "n.accepted_at < {}",
}
"""Conditions that an index answers."""
_MATCHES: Final = {
    "type": "n.type = {}",
    "status": "n.status = {}::text::status",
    "reason_code": "n.reason_code = {}",
    # Scalar subqueries, because EXISTS may become a join that scans every delivery.
    "channel": "(SELECT true FROM deliveries d WHERE d.accepted_at = n.accepted_at"
    " AND d.notification_id = n.id AND d.channel = {})",
    "provider": "(SELECT true FROM deliveries d"
    " CROSS JOIN LATERAL (SELECT provider FROM notification_attempts a"
    " WHERE a.delivery_id = d.id AND a.accepted_at = d.accepted_at OFFSET 0) a"
    " WHERE d.accepted_at = n.accepted_at AND d.notification_id = n.id AND a.provider = {} LIMIT 1)",
}
"""Conditions that are checked on each notification."""


class Queries:
    """Queries for the API, each for one tenant: to it, another tenant's objects do not exist."""

    def __init__(self, pool: Pool, *, waiting_max: int = 20_000, observe: Observe | None = None) -> None:
        self._pool = pool
        self._shown = GroupCommit[UUID, Row | None](
            "show", pool, _shown, lambda id: id.bytes, waiting_max=waiting_max, observe=observe
        )

    async def notification(self, tenant: str, id: UUID) -> Row | None:
        """A notification's current view (statement notification_view); None if it does not exist."""
        row = await self._shown.submit(id)
        return row if row is not None and row["tenant"] == tenant else None

    async def notifications(self, tenant: str, ids: Sequence[UUID]) -> dict[UUID, Row]:
        """The views of several notifications by id; those that do not exist are missing."""
        found: dict[UUID, Row] = {}
        for start in range(0, len(ids), VIEWS_AT_ONCE):
            rows = await self._pool.fetch(
                statement("notification_view"), list(ids[start : start + VIEWS_AT_ONCE])
            )
            found |= {row["id"]: dict(row) for row in rows if row["tenant"] == tenant}
        return found

    async def list_positions(
        self, tenant: str, matching: Filter, limit: int, after: Position | None = None
    ) -> list[Position]:
        """The newest matches, however many must be examined: for notifications that wait for an operator."""
        return await self._list(tenant, matching, limit, None, after)

    async def list_page(
        self,
        tenant: str,
        matching: Filter,
        limit: int,
        after: Position | None = None,
        looks_max: int = LOOKS_MAX,
    ) -> Page:
        """A page of the matches, newest first, among the next `looks_max` notifications.

        With few matches the page is shorter than `limit`: to fill it would take a scan of the whole history.
        """
        found = await self._list(tenant, matching, limit + 1, looks_max, after)
        if len(found) > limit:
            return Page(found[:limit], found[limit - 1])
        if _is_live(matching) or not _conditions(matching, _MATCHES):
            return Page(found, None)
        places, values = _places(matching, after, 3)
        query = statement("last_notification_looked_at").replace("/* places */", places)
        end = await self._pool.fetchrow(query, tenant, looks_max, *values)
        return Page(found, Position(end["accepted_at"], end["id"]) if end else None)

    async def _list(
        self, tenant: str, matching: Filter, limit: int, looks_max: int | None, after: Position | None
    ) -> list[Position]:
        values: list[Any] = [tenant, limit]
        if _is_live(matching):
            text = statement("list_live_notifications")
        else:
            text = statement("list_notifications")
            values.append(looks_max)
        places, placed = _places(matching, after, len(values) + 1)
        values += placed
        matches = ""
        for condition, value in _conditions(matching, _MATCHES):
            values.append(value)
            matches += f" AND {condition.format(f'${len(values)}')}"
        if _is_live(matching):
            places, matches = "", places + matches
        query = text.replace("/* places */", places).replace("/* conditions */", matches)
        return [Position(row["accepted_at"], row["id"]) for row in await self._pool.fetch(query, *values)]

    async def attempts(self, tenant: str, id: UUID) -> list[Row] | None:
        """A notification's attempts in order; None if there is no such notification."""
        if await self.notification(tenant, id) is None:
            return None
        return [dict(row) for row in await self._pool.fetch(statement("list_attempts"), id)]

    async def timeline(self, tenant: str, id: UUID) -> Timeline | None:
        """Everything about a notification, in one snapshot; None if there is no such notification."""
        async with (
            self._pool.acquire(timeout=5) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            row = await connection.fetchrow(statement("notification_view"), [id])
            if row is None or row["tenant"] != tenant:
                return None
            attempts = await connection.fetch(statement("list_attempts"), id)
            events = await connection.fetch(statement("list_timeline"), id, row["accepted_at"])
            receipts = await connection.fetch(statement("list_receipts"), id)
        return Timeline(
            dict(row), *([dict(item) for item in items] for items in (attempts, events, receipts))
        )

    async def close(self, timeout_s: float) -> None:
        """Accept no more queries of `notification`, and answer those already accepted."""
        await self._shown.close(timeout_s)


async def _shown(connection: Connection, ids: Sequence[UUID]) -> list[Row | None]:
    found = {
        row["id"]: dict(row) for row in await connection.fetch(statement("notification_view"), list(ids))
    }
    return [found.get(id) for id in ids]


def _is_live(matching: Filter) -> bool:
    # One user has few notifications, whatever their status.
    return matching.status in _LIVE and matching.user_id is None


def _conditions(matching: Filter, known: Mapping[str, str]) -> list[tuple[str, Any]]:
    """Those of the known conditions that the filter sets, with their values."""
    asked = (
        (known[field.name], getattr(matching, field.name))
        for field in fields(matching)
        if field.name in known
    )
    return [(condition, value) for condition, value in asked if value is not None]


def _places(matching: Filter, after: Position | None, first: int) -> tuple[str, list[Any]]:
    """The indexed conditions as SQL, with parameters numbered from `first`, and their values."""
    text, values = f" AND {_PARKED}" if matching.parked else "", list[Any]()
    for condition, value in _conditions(matching, _PLACES):
        text += f" AND {condition.format(f'${first + len(values)}')}"
        values.append(value)
    if after is not None:
        text += f" AND (n.accepted_at, n.id) < (${first + len(values)}, ${first + len(values) + 1})"
        values += (after.accepted_at, after.id)
    return text, values
