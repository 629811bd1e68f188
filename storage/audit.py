"""Appends to the audit log: acts together with their entries, and readings in groups.

An act and its entries are one transaction. Appending is its last statement: it locks the end of the log until
the transaction ends, so that the lock is held only briefly, and nothing waits for a row while holding it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from domain.audit import GENESIS, AuditEntry, StoredEntry, linked
from storage import row_types
from storage.group import GroupCommit, Observe
from storage.postgres import Connection, Pool
from storage.statements import statement

Result = TypeVar("Result")
Act: TypeAlias = Callable[[Connection], Awaitable[tuple[Result, Sequence[AuditEntry]]]]
"""Changes something over this connection. Returns its result and the entries about it; none if it changed
nothing. It may run again after a deadlock, and must not append itself."""
Appended: TypeAlias = Callable[[Sequence[StoredEntry]], None]


class AuditLog:
    """The audit log of one installation."""

    def __init__(
        self,
        pool: Pool,
        key: bytes,
        *,
        appended: Appended | None = None,
        observe: Observe | None = None,
    ) -> None:
        """`key`: domain.audit.chain_key. `appended` is called with entries once they are committed."""
        self._key = key
        self._appended = appended
        self._acts = GroupCommit[Act[Any], Any]("act", pool, self._perform, _as_given, observe=observe)
        self._readings = GroupCommit[AuditEntry, None](
            "reading", pool, self._record, _as_given, observe=observe
        )

    async def perform(self, act: Act[Result]) -> Result:
        """Run an act and append its entries, in one transaction: both are committed, or neither.

        Raises what the act raises, or LedgerError.
        """
        (result,) = await self._acts.submit_together([act])
        return result

    async def record_reading(self, entry: AuditEntry) -> None:
        """Append the entry of a reading: call it before the answer. Raises LedgerError."""
        await self._readings.submit(entry)

    async def close(self, timeout_s: float) -> None:
        """Accept no more entries, and write those already accepted, for at most `timeout_s` seconds."""
        for group in (self._acts, self._readings):
            await group.close(timeout_s)

    async def _perform(self, connection: Connection, acts: Sequence[Act[Any]]) -> list[Any]:
        results: list[Any] = []
        entries: list[AuditEntry] = []
        async with connection.transaction(isolation="read_committed"):
            for act in acts:
                result, about = await act(connection)
                results.append(result)
                entries += about
            stored = await self._append(connection, entries)
        self._announce(stored)
        return results

    async def _record(self, connection: Connection, entries: Sequence[AuditEntry]) -> list[None]:
        async with connection.transaction(isolation="read_committed"):
            stored = await self._append(connection, entries)
        self._announce(stored)
        return [None] * len(entries)

    async def _append(self, connection: Connection, entries: Sequence[AuditEntry]) -> list[StoredEntry]:
        if not entries:
            return []
        head = await connection.fetchrow(statement("lock_audit_log"))
        assert head is not None
        sequence, previous = head["sequence"] or 0, head["hash"] or GENESIS
        stored = linked(self._key, entries, sequence, previous, head["next_at"])
        await connection.execute(
            statement("append_audit_entries"), [row_types.audit_entry(entry) for entry in stored]
        )
        return stored

    def _announce(self, stored: Sequence[StoredEntry]) -> None:
        if stored and self._appended:
            self._appended(stored)


def _as_given(_: object) -> int:
    """A key under which a group keeps its order."""
    return 0
