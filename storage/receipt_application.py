"""Applies receipts to the ledger, inside the caller's transaction.

Like every change of a delivery it first locks its notifications in id order (ledger_lock_v1); last,
notifications of strategy `first` advance (ledger_advance_v1) and the queue is refreshed (ledger_refresh_v1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from domain.contacts import verdict_on
from domain.masking import mask
from domain.notification import Attempt, Channel, Delivery
from domain.outcome import AddressVerdict, Outcome, ReceiptStatus
from domain.receipt_policy import AttemptChange, ReceiptEffect, effect_of
from domain.status import Status
from storage import row_types
from storage.address_verdicts import apply_verdict
from storage.postgres import Connection
from storage.receipt_records import Applied, Changed, LateAcceptance, Matched, ReceiptDeadline
from storage.statements import call, statement


@dataclass(frozen=True, slots=True)
class _Case:
    """A delivery, and what else the decision needs. `proven`: attempts with a recorded late acceptance."""

    delivery: Delivery
    notification_id: UUID
    tenant: str
    type: str
    accepted_at: datetime
    now: datetime
    content_kept: bool
    proven: frozenset[int]


async def apply(
    connection: Connection, receipts: Sequence[Matched], receipt_deadline: ReceiptDeadline
) -> Applied:
    """Apply receipts; those that were applied before have no effect."""
    if not receipts:
        return Applied()
    notifications = list({row.notification_id for row in receipts})
    first = set(await connection.fetchval(call("ledger_lock_v1"), notifications))
    fresh = await _keep(connection, receipts)
    if not fresh:
        return Applied(taken=len(receipts))
    cases = await _read(connection, list(fresh))
    effects = {id: _effect(cases[id], rows, receipt_deadline, first) for id, rows in fresh.items()}
    await _write_attempts(connection, cases, effects, fresh)
    await _judge_addresses(connection, [row for rows in fresh.values() for row in rows])
    updated = {id: effect for id, effect in effects.items() if effect.delivery}
    await _write_deliveries(connection, cases, updated, first)
    return Applied(
        taken=len(receipts),
        changed=tuple(_changed(cases[id], effect, first) for id, effect in updated.items()),
        late=tuple(
            _late(cases[id], change)
            for id, effect in effects.items()
            for change in effect.attempts
            if _proves(cases[id], change)
        ),
    )


async def _keep(connection: Connection, receipts: Sequence[Matched]) -> dict[UUID, list[Matched]]:
    """Store receipts as evidence; returns the new ones, by delivery."""
    by_key = {(row.delivery_id, row.provider, row.event_key): row for row in reversed(receipts)}
    rows = [by_key[key] for key in sorted(by_key)]
    kept = await connection.fetch(statement("keep_receipts"), [row_types.kept_receipt(row) for row in rows])
    fresh: dict[UUID, list[Matched]] = {}
    for row in kept:
        key = (row["delivery_id"], row["provider"], row["event_key"])
        fresh.setdefault(row["delivery_id"], []).append(by_key[key])
    return fresh


async def _read(connection: Connection, delivery_ids: Sequence[UUID]) -> dict[UUID, _Case]:
    rows = await connection.fetch(statement("read_deliveries"), list(delivery_ids))
    return {id: _case(list(group)) for id, group in groupby(rows, key=lambda row: row["id"])}


def _case(rows: Sequence[Any]) -> _Case:
    row = rows[0]
    delivery = Delivery(
        id=row["id"],
        channel=Channel(row["channel"]),
        position=row["position"],
        status=Status(row["status"]),
        reason_code=row["reason_code"],
        version=row["version"],
        pass_number=row["pass_number"],
        next_pass_at=row["next_pass_at"],
        expires_at=row["expires_at"],
        due_at=row["due_at"],
        attempts=tuple(_attempt(item) for item in rows),
    )
    return _Case(
        delivery,
        notification_id=row["notification_id"],
        tenant=row["tenant"],
        type=row["type"],
        accepted_at=row["accepted_at"],
        now=row["now"],
        content_kept=row["content_kept"],
        proven=frozenset(item["number"] for item in rows if item["late_outcome"] == Outcome.ACCEPTED),
    )


def _attempt(row: Any) -> Attempt:
    return Attempt(
        number=row["number"],
        provider=row["provider"],
        pass_number=row["attempt_pass_number"],
        device_id=row["device_id"],
        intended_at=row["intended_at"],
        send_deadline=row["send_deadline"],
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        code=row["code"],
        provider_message_id=row["provider_message_id"],
        match_key=row["match_key"],
        receipt_status=ReceiptStatus(row["receipt_status"]) if row["receipt_status"] else None,
    )


def _effect(
    case: _Case, receipts: Sequence[Matched], receipt_deadline: ReceiptDeadline, first: set[UUID]
) -> ReceiptEffect:
    return effect_of(
        case.now,
        case.delivery,
        [row.report for row in receipts],
        receipt_deadline_s=receipt_deadline(case.type),
        content_kept=case.content_kept,
        first=case.notification_id in first,
    )


def _proves(case: _Case, change: AttemptChange) -> bool:
    return change.late and change.number not in case.proven


async def _write_attempts(
    connection: Connection,
    cases: Mapping[UUID, _Case],
    effects: Mapping[UUID, ReceiptEffect],
    fresh: Mapping[UUID, Sequence[Matched]],
) -> None:
    rows = [
        row_types.attempt_receipt(
            id,
            cases[id].accepted_at,
            change,
            resolved_by="callback" if fresh[id][0].source == "callback" else "lookup",
            late=_proves(cases[id], change),
        )
        for id, effect in effects.items()
        for change in effect.attempts
    ]
    await connection.execute(statement("record_attempt_receipts"), rows)


async def _judge_addresses(connection: Connection, receipts: Sequence[Matched]) -> None:
    """Suppress addresses and empty tokens, if they are still those that the attempts went to."""
    verdicts = {
        (row.delivery_id, row.report.number): row
        for row in receipts
        if row.address_verdict is not AddressVerdict.KEEP
    }
    if not verdicts:
        return
    rows = await connection.fetch(
        statement("find_addresses"), [id for id, _ in verdicts], [number for _, number in verdicts]
    )
    # In one order everywhere, so that two receipt processors cannot deadlock.
    for row in sorted(rows, key=lambda row: (row["tenant"], row["channel"], row["address"] or "")):
        channel, receipt = Channel(row["channel"]), verdicts[row["delivery_id"], row["number"]]
        if not row["address"] or mask(channel, row["address"]) != row["target_masked"]:
            continue
        await apply_verdict(
            connection,
            verdict_on(channel, receipt.address_verdict),
            tenant=row["tenant"],
            user_id=row["user_id"],
            channel=channel,
            address=row["address"],
            code=receipt.report.code or receipt.report.status.value,
            provider=row["provider"],
            intended_at=row["intended_at"],
        )


async def _write_deliveries(
    connection: Connection,
    cases: Mapping[UUID, _Case],
    updated: Mapping[UUID, ReceiptEffect],
    first: set[UUID],
) -> None:
    """Update deliveries, then advance and refresh their notifications."""
    rows = [(cases[id], effect.delivery) for id, effect in updated.items() if effect.delivery]
    if not rows:
        return
    updates = [
        row_types.update(case.notification_id, case.delivery.id, case.delivery.version, change)
        for case, change in rows
    ]
    await connection.execute(statement("update_deliveries_by_receipts"), updates)
    notifications = list({case.notification_id for case, _ in rows})
    advancing = [id for id in notifications if id in first]
    if advancing:
        await connection.execute(call("ledger_advance_v1"), advancing)
    released = [case.notification_id for case, change in rows if change.release]
    await connection.execute(statement("refresh_notifications"), notifications, released)


def _changed(case: _Case, effect: ReceiptEffect, first: set[UUID]) -> Changed:
    assert effect.delivery is not None
    return Changed(
        case.notification_id,
        case.delivery.id,
        case.type,
        case.delivery.channel,
        effect.delivery.status,
        first=case.notification_id in first,
    )


def _late(case: _Case, change: AttemptChange) -> LateAcceptance:
    attempt = {attempt.number: attempt for attempt in case.delivery.attempts}[change.number]
    assert attempt.outcome is not None
    return LateAcceptance(case.notification_id, case.delivery.id, attempt.provider, attempt.outcome)
