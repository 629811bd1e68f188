"""Receipts: stored before the provider is answered, applied to the ledger by the receipt processor.

A callback becomes one row of the inbox. The receipt processor claims due rows, finds their attempts, and
applies them in one transaction with the removal of the rows, so that interrupted work is due again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, TypeVar
from uuid import UUID

from domain.ids import parse_attempt_ref
from domain.outcome import AddressVerdict, Receipt, ReceiptStatus
from domain.receipt_policy import Report, unmatched_wait_s
from storage import row_types
from storage.conflicts import CONFLICT, retry_conflicts
from storage.group import GroupCommit, LedgerError, LedgerUnavailable, Observe
from storage.postgres import NOT_STORABLE, UNREACHABLE, Connection, Pool
from storage.receipt_application import apply
from storage.receipt_records import Applied, Matched, Orphan, ReceiptDeadline, Source, none_expected
from storage.statements import statement

LINGER_S = 0.02
"""Seconds that callbacks gather before they are stored: vendors wait longer, and report thousands at once."""
_NUMBER_MAX = 32_767
# The last two: a value in the row that this version does not know.
_BAD_ROW = (*NOT_STORABLE, ValueError, LookupError)

Result = TypeVar("Result")


class UnknownAttempt(LedgerError):
    """A polled receipt names an attempt that is not in the ledger."""


@dataclass(frozen=True, slots=True)
class _Stored:
    provider: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class _PolledReceipt:
    delivery_id: UUID
    number: int
    receipt: Receipt
    source: Source


class Receipts:
    """The inbox of receipts and their application. Raises storage.group.LedgerError, or asyncpg.DataError for
    a bad receipt.

    `receipt_deadline` is needed only for applying: a receipt may prove that an open attempt was accepted,
    and then the notification type says how long to wait for the next receipt.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        receipt_deadline: ReceiptDeadline = none_expected,
        waiting_max: int = 20_000,
        observe: Observe | None = None,
    ) -> None:
        self._pool = pool
        self._receipt_deadline = receipt_deadline
        self._observe = observe
        self._stores = GroupCommit[_Stored, bool](
            "receipt",
            pool,
            _store,
            lambda row: (row.provider, row.receipt.event_key),
            waiting_max=waiting_max,
            linger_s=LINGER_S,
            observe=observe,
        )
        self._polls = GroupCommit[_PolledReceipt, Applied | None](
            "poll",
            pool,
            self._apply_polled,
            lambda row: row.delivery_id.bytes,
            waiting_max=waiting_max,
            observe=observe,
        )

    async def store(self, provider: str, receipts: Sequence[Receipt]) -> int:
        """Store the receipts of a verified callback; returns how many were not in the inbox yet.

        Raises after all of them were tried, so that one bad receipt does not affect the others.
        """
        results = await asyncio.gather(
            *(self._stores.submit(_Stored(provider, receipt)) for receipt in receipts), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return sum(result is True for result in results)

    async def apply_due(self, limit: int, older_than_s: float = 0.0) -> Applied:
        """Apply up to `limit` receipts that have been due for `older_than_s` seconds. Receipt processors may
        do so concurrently.

        A receipt that matches no attempt is due again later (domain.receipt_policy.UNMATCHED_WAITS_S), and
        finally becomes an orphan. One that cannot be applied is treated the same, apart from the others.
        """
        started = perf_counter()
        try:
            applied = await self._transaction(partial(self._apply_due, limit, older_than_s))
        except _BAD_ROW:
            applied = await self._apply_one_by_one(limit, older_than_s)
        if self._observe and applied.taken:
            self._observe("receipt_apply", applied.taken, perf_counter() - started)
        return applied

    async def apply_one(self, delivery_id: UUID, number: int, receipt: Receipt, source: Source) -> Applied:
        """Apply the receipt of a poll or look-up to the attempt it was for. Raises UnknownAttempt."""
        applied = await self._polls.submit(_PolledReceipt(delivery_id, number, receipt, source))
        if applied is None:
            raise UnknownAttempt(
                f"delivery {delivery_id} has no attempt {number}: its receipt was not applied"
            )
        return applied

    async def close(self, timeout_s: float) -> None:
        """Accept no more receipts, and write those already accepted, for at most `timeout_s` seconds each."""
        for group in (self._stores, self._polls):
            await group.close(timeout_s)

    async def _apply_due(self, limit: int, older_than_s: float, connection: Connection) -> Applied:
        return await self._apply_rows(connection, await _claim(limit, older_than_s, None, None, connection))

    async def _apply_key(self, provider: str, event_key: str, connection: Connection) -> Applied:
        return await self._apply_rows(connection, await _claim(1, 0.0, provider, event_key, connection))

    async def _apply_rows(self, connection: Connection, rows: Sequence[Any]) -> Applied:
        matched = [row for row in rows if row["delivery_id"] is not None]
        unmatched = [row for row in rows if row["delivery_id"] is None]
        applied = await apply(connection, [_matched(row) for row in matched], self._receipt_deadline)
        if matched:
            await connection.execute(
                statement("remove_applied_receipts"),
                [row["provider"] for row in matched],
                [row["event_key"] for row in matched],
            )
        return Applied.joined([applied, await _postpone(unmatched, connection)])

    async def _apply_one_by_one(self, limit: int, older_than_s: float) -> Applied:
        """Apply receipts one by one; one that cannot be applied waits, as if it matched no attempt."""
        parts: list[Applied] = []
        for row in await self._transaction(partial(_claim, limit, older_than_s, None, None)):
            try:
                work = partial(self._apply_key, row["provider"], row["event_key"])
                parts.append(await self._transaction(work))
            except _BAD_ROW:
                parts.append(await self._transaction(partial(_postpone, [row])))
        return Applied.joined(parts)

    async def _apply_polled(
        self, connection: Connection, rows: Sequence[_PolledReceipt]
    ) -> list[Applied | None]:
        async with connection.transaction():
            attempts = await connection.fetch(
                statement("find_receipt_attempts"),
                [row.delivery_id for row in rows],
                [row.number for row in rows],
            )
            known = {(row["delivery_id"], row["number"]): row for row in attempts}
            receipts = [
                _matched_poll(known[row.delivery_id, row.number], row)
                for row in rows
                if (row.delivery_id, row.number) in known
            ]
            applied = await apply(connection, receipts, self._receipt_deadline)
        return [
            applied.of(row.delivery_id) if (row.delivery_id, row.number) in known else None for row in rows
        ]

    async def _transaction(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        async def once() -> Result:
            async with self._pool.acquire(timeout=5) as connection, connection.transaction():
                return await work(connection)

        try:
            return await retry_conflicts(once)
        except (*UNREACHABLE, *CONFLICT) as error:
            # Whether it was committed does not matter: applying it again has no effect.
            raise LedgerUnavailable(
                f"receipts: no answer from Postgres ({type(error).__name__}); they stay due"
            ) from error


async def _store(connection: Connection, rows: Sequence[_Stored]) -> list[bool]:
    first: dict[tuple[str, str], _Stored] = {}
    for row in rows:
        first.setdefault((row.provider, row.receipt.event_key), row)
    inserted = await connection.fetch(
        statement("store_receipts"),
        [
            row_types.inbox_receipt(row.provider, row.receipt, _attempt_of(row.receipt))
            for row in first.values()
        ],
    )
    new = {(row["provider"], row["event_key"]) for row in inserted}
    results: list[bool] = []
    for row in rows:
        key = (row.provider, row.receipt.event_key)
        results.append(key in new)
        new.discard(key)
    return results


def _attempt_of(receipt: Receipt) -> tuple[UUID, int] | None:
    attempt = parse_attempt_ref(receipt.attempt_ref) if receipt.attempt_ref else None
    return attempt if attempt and 0 < attempt[1] <= _NUMBER_MAX else None


async def _claim(
    limit: int, older_than_s: float, provider: str | None, event_key: str | None, connection: Connection
) -> list[Any]:
    return await connection.fetch(statement("claim_receipts"), limit, provider, event_key, older_than_s)


async def _postpone(rows: Sequence[Any], connection: Connection) -> Applied:
    if not rows:
        return Applied()
    waits = [unmatched_wait_s(row["tries"]) for row in rows]
    await connection.execute(
        statement("postpone_receipts"),
        [
            row_types.postponed_receipt(row["provider"], row["event_key"], wait)
            for row, wait in zip(rows, waits, strict=True)
        ],
    )
    orphans = tuple(
        Orphan(row["provider"], row["status"]) for row, wait in zip(rows, waits, strict=True) if wait is None
    )
    return Applied(taken=len(rows), orphans=orphans)


def _matched(row: Any) -> Matched:
    report = Report(
        row["number"],
        ReceiptStatus(row["status"]),
        row["occurred_at"] or row["received_at"],
        code=row["code"],
        permanent=row["permanent"],
        provider_message_id=row["provider_message_id"],
    )
    return Matched(
        notification_id=row["notification_id"],
        delivery_id=row["delivery_id"],
        accepted_at=row["accepted_at"],
        provider=row["provider"],
        event_key=row["event_key"],
        report=report,
        address_verdict=AddressVerdict(row["address_verdict"]),
        occurred_at=row["occurred_at"],
        received_at=row["received_at"],
        source="callback",
    )


def _matched_poll(attempt: Any, row: _PolledReceipt) -> Matched:
    receipt = row.receipt
    report = Report(
        row.number,
        receipt.status,
        receipt.occurred_at or attempt["received_at"],
        code=receipt.code,
        permanent=receipt.permanent,
        provider_message_id=receipt.provider_message_id,
    )
    return Matched(
        notification_id=attempt["notification_id"],
        delivery_id=row.delivery_id,
        accepted_at=attempt["accepted_at"],
        provider=attempt["provider"],
        event_key=receipt.event_key,
        report=report,
        address_verdict=receipt.address_verdict,
        occurred_at=receipt.occurred_at,
        received_at=attempt["received_at"],
        source=row.source,
    )
