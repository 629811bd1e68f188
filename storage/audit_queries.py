"""Reads the audit log: pages of entries for operators, and the whole chain to verify it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeGuard

from domain.audit import Details, Origin, StoredEntry
from storage.outages import ask
from storage.postgres import Pool
from storage.statements import statement

CHAIN_ROWS: Final = 1000
"""How many entries of the chain are read at once."""
_UNREADABLE: Final[Details] = {"unreadable": True}
"""In place of details that no entry has."""
_NO_TIME: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Conditions on entries. None: any value. `until` itself is excluded."""

    tenant: str | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditPosition:
    """The last entry of a page; the next page begins after it."""

    at: datetime
    sequence: int


class AuditReader:
    """Reads of the audit log."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(
        self, matching: AuditFilter, limit: int, after: AuditPosition | None = None
    ) -> list[StoredEntry]:
        """A page of matching entries, newest first. Raises LedgerUnavailable."""
        values: list[Any] = [limit]
        asked = {
            "tenant = {}": matching.tenant,
            "actor = {}": matching.actor,
            "action = {}": matching.action,
            "subject = {}": matching.subject,
        }
        # The condition of the index for lists without a filter (0008_before_audit_log.sql).
        conditions = "" if any(value is not None for value in asked.values()) else " AND sequence > 0"
        for condition, value in {**asked, "at >= {}": matching.since, "at < {}": matching.until}.items():
            if value is not None:
                values.append(value)
                conditions += f" AND {condition.format(f'${len(values)}')}"
        if after is not None:
            values += (after.at, after.sequence)
            conditions += f" AND (at, sequence) < (${len(values) - 1}, ${len(values)})"
        query = statement("list_audit_entries").replace("/* conditions */", conditions)
        return [_stored(row) for row in await ask(self._pool, query, *values)]

    async def read_chain(self, take: Callable[[StoredEntry], object]) -> None:
        """Pass every entry to `take`, in the order of the chain.

        Each row is passed, also one that Herald did not write. What no entry has is replaced so that it does
        not fit its hash: a missing number is 0, and a missing hash is empty.
        """
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            async for row in connection.cursor(statement("read_audit_chain"), prefetch=CHAIN_ROWS):
                take(_stored(row))


def _stored(row: Any) -> StoredEntry:
    origin = Origin(row["actor"], row["actor_name"], row["tenant"], row["reason"], row["request_id"])
    what = (row["action"], row["subject"], _details(row["before"]), _details(row["after"]))
    hashes = (row["previous"] or b"", row["hash"] or b"")
    return StoredEntry(row["sequence"] or 0, row["at"] or _NO_TIME, origin, *what, *hashes)


def _details(text: str | None) -> Details | None:
    """The details in this JSON. Where Herald did not write it, it may be too large or too deep to read."""
    if text is None:
        return None
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return _UNREADABLE
    return read if _are_details(read) else _UNREADABLE


def _are_details(read: object) -> TypeGuard[Details]:
    return isinstance(read, dict) and all(map(_is_value, read.values()))


def _is_value(value: object) -> bool:
    inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return not isinstance(value, float) and all(isinstance(one, str) for one in inner)
