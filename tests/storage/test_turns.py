"""Whose turn it is with `strategy: first`: ledger_advance_v1, over every combination of three channels."""

import itertools
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from ledger_case import submission

from domain.notification import Channel, Strategy
from domain.status import ACTIVE, PARKED, SENDABLE, Status
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.statements import call

CHANNELS = (Channel.PUSH, Channel.SMS, Channel.EMAIL)
AWAITED = "sent, its receipt awaited"
SITUATIONS = (*Status, AWAITED)
PORTION = 500
Line = tuple[str, ...]


async def test_whose_turn_it_is(ledger: Ledger, pool: Pool) -> None:
    lines: list[Line] = list(itertools.product(SITUATIONS, repeat=len(CHANNELS)))
    accepted = [submission(strategy=Strategy.FIRST, channels=CHANNELS) for _ in lines]
    for start in range(0, len(accepted), PORTION):
        await ledger.accept_all(accepted[start : start + PORTION])
    ids = [each.id for each in accepted]
    await _set(pool, ids, lines)
    await pool.execute(call("ledger_advance_v1"), ids)
    rows = await pool.fetch(
        "SELECT notification_id, array_agg(status::text ORDER BY position) AS statuses"
        " FROM deliveries WHERE notification_id = ANY($1) GROUP BY notification_id",
        ids,
    )
    found = {row["notification_id"]: tuple(row["statuses"]) for row in rows}
    wrong = {
        line: (found[id], _expected(line))
        for id, line in zip(ids, lines, strict=True)
        if found[id] != _expected(line)
    }
    assert wrong == {}


def _expected(line: Line) -> tuple[str, ...]:
    """One that reached the user ends every channel that has not begun to send; a cancelled one ends those
    that wait; one under way keeps them waiting; otherwise the first that waits is next.
    """
    statuses = [_status(situation) for situation in line]
    if any(situation in (Status.DELIVERED, Status.SENT) for situation in line):
        return tuple(Status.CANCELLED if s in SENDABLE | {Status.WAITING} else s for s in statuses)
    if Status.CANCELLED in statuses:
        return tuple(Status.CANCELLED if s is Status.WAITING else s for s in statuses)
    if AWAITED not in line and not (ACTIVE | PARKED) & set(statuses) and Status.WAITING in statuses:
        statuses[statuses.index(Status.WAITING)] = Status.ACCEPTED
    return tuple(statuses)


def _status(situation: str) -> Status:
    return Status.SENT if situation == AWAITED else Status(situation)


async def _set(pool: Pool, ids: Sequence[UUID], lines: Sequence[Line]) -> None:
    rows = [
        (id, position, _status(situation).value, situation == AWAITED)
        for id, line in zip(ids, lines, strict=True)
        for position, situation in enumerate(line)
    ]
    await pool.execute(
        "UPDATE deliveries d SET status = input.status::status,"
        " due_at = CASE WHEN input.awaited THEN now() + $5 END"
        " FROM unnest($1::uuid[], $2::int[], $3::text[], $4::bool[]) AS input (id, position, status, awaited)"
        " WHERE d.notification_id = input.id AND d.position = input.position",
        *map(list, zip(*rows, strict=True)),
        timedelta(hours=1),
    )
