"""The ledger's grouped writes of deliveries: each calls one function of storage/functions/.

Each is a Flush (storage/group.py): it gets a group sorted by delivery and returns a result for each row, None
for one whose delivery has changed since the caller read it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from domain.notification import Channel
from domain.status import FINAL, Status
from storage import row_types
from storage.postgres import Connection
from storage.records import AttemptOutcome, DeliveryUpdate, Intent, OpenAttempt, Updated
from storage.statements import call, statement

Change = TypeVar("Change", Intent, AttemptOutcome, DeliveryUpdate)
Result = TypeVar("Result")


async def intend(connection: Connection, group: Sequence[Intent]) -> list[OpenAttempt | None]:
    """Open an attempt for each intent."""
    indexes = _newest(group)
    intents = [row_types.intent(group[index]) for index in indexes.values()]
    written = await connection.fetch(call("ledger_intend_v1"), intents)
    return _in_order(group, indexes, {row["id"]: open_attempt(row) for row in written})


async def close(connection: Connection, group: Sequence[AttemptOutcome]) -> list[Updated | None]:
    """Close each attempt and update its delivery."""
    indexes = _newest(group)
    outcomes = [row_types.attempt_outcome(group[index]) for index in indexes.values()]
    return _in_order(group, indexes, _updated(await connection.fetch(call("ledger_close_v1"), outcomes)))


async def update(connection: Connection, group: Sequence[DeliveryUpdate]) -> list[Updated | None]:
    """Change each delivery without sending."""
    indexes = _newest(group)
    updates = [row_types.delivery_update(group[index]) for index in indexes.values()]
    return _in_order(group, indexes, _updated(await connection.fetch(call("ledger_update_v1"), updates)))


async def readdress(connection: Connection, notification_id: UUID, to: Mapping[Channel, str]) -> None:
    """Send a notification to these addresses instead, by channel. Its deliveries must be locked already: the
    content is emptied under the same lock.
    """
    await connection.execute(statement("readdress"), notification_id, dict(to))


def open_attempt(row: Any) -> OpenAttempt:
    """The attempt that an intent or a renewal returned."""
    return OpenAttempt(row["number"], row["version"], row["intended_at"], row["send_deadline"])


def check_comes_back(row: AttemptOutcome | DeliveryUpdate) -> None:
    """Raise ValueError for a delivery that is not over and has no `due_at`: it would never be picked up."""
    if row.transition.due_at is None and row.transition.status not in FINAL:
        raise ValueError(
            f"delivery {row.delivery_id}: {row.transition.status} without due_at,"
            " so it would never be picked up"
        )


def _newest(group: Sequence[Change]) -> dict[UUID, int]:
    """The index of each delivery's row. Of several rows for one delivery, only one with the newest version
    can match the ledger: the first of those is written, the others get None.
    """
    indexes: dict[UUID, int] = {}
    for index, row in enumerate(group):
        best = indexes.setdefault(row.delivery_id, index)
        if row.version > group[best].version:
            indexes[row.delivery_id] = index
    return indexes


def _in_order(
    group: Sequence[Change], indexes: Mapping[UUID, int], by_delivery: Mapping[UUID, Result]
) -> list[Result | None]:
    """Each row's result; None for rows that were not written."""
    results: list[Result | None] = [None] * len(group)
    for delivery, index in indexes.items():
        results[index] = by_delivery.get(delivery)
    return results


def _updated(rows: Sequence[Any]) -> dict[UUID, Updated]:
    return {row["id"]: Updated(row["version"], Status(row["status"])) for row in rows}
