"""Reads the audit log: pages of entries for operators, and the whole chain to verify it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from domain.audit import Origin, StoredEntry
from storage.outages import ask
from storage.postgres import Pool
from storage.statements import statement

CHAIN_ROWS: Final = 1000
"""How many entries of the chain are read at once."""


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

    async def chain(self) -> AsyncIterator[StoredEntry]:
        """Every entry, in the order of the chain."""
        last = 0
        while found := await self._pool.fetch(statement("read_audit_chain"), last, CHAIN_ROWS):
            for row in found:
                yield _stored(row)
            last = found[-1]["sequence"]


def _stored(row: Any) -> StoredEntry:
    origin = Origin(row["actor"], row["actor_name"], row["tenant"], row["reason"], row["request_id"])
    what = (row["action"], row["subject"], row["before"], row["after"])
    return StoredEntry(row["sequence"], row["at"], origin, *what, row["previous"], row["hash"])
