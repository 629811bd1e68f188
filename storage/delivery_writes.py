"""The ledger's grouped writes of deliveries: each is one call of a function in storage/functions.

Every function here is a Flush (storage/group.py): it gets a group sorted by delivery and returns a result for
each row; None for one that did not find the delivery as its caller saw it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from domain.status import FINAL, Status
from storage import row_types
from storage.postgres import Connection
from storage.records import AttemptOutcome, DeliveryUpdate, Intent, OpenAttempt, Updated
from storage.statements import call

Change = TypeVar("Change", Intent, AttemptOutcome, DeliveryUpdate)
Result = TypeVar("Result")


async def intend(connection: Connection, group: Sequence[Intent]) -> list[OpenAttempt | None]:
    """Open an attempt for each intent."""
    places = _newest(group)
    intents = [row_types.intent(group[place]) for place in places.values()]
    written = await connection.fetch(call("ledger_intend_v1"), intents)
    return _in_place(group, places, {row["id"]: open_attempt(row) for row in written})


async def close(connection: Connection, group: Sequence[AttemptOutcome]) -> list[Updated | None]:
    """Close each attempt and update its delivery."""
    places = _newest(group)
    outcomes = [row_types.attempt_outcome(group[place]) for place in places.values()]
    return _in_place(group, places, _updated(await connection.fetch(call("ledger_close_v1"), outcomes)))


async def update(connection: Connection, group: Sequence[DeliveryUpdate]) -> list[Updated | None]:
    """Change each delivery without sending."""
    places = _newest(group)
    updates = [row_types.delivery_update(group[place]) for place in places.values()]
    return _in_place(group, places, _updated(await connection.fetch(call("ledger_update_v1"), updates)))


def open_attempt(row: Any) -> OpenAttempt:
    """The attempt that an intent or a renewal returned."""
    return OpenAttempt(row["number"], row["version"], row["intended_at"], row["send_deadline"])


def check_comes_back(row: AttemptOutcome | DeliveryUpdate) -> None:
    """Raise ValueError if the delivery is not over and so it would never be picked up."""
    if row.transition.due_at is None and row.transition.status not in FINAL:
        raise ValueError(
            f"delivery {row.delivery_id}: {row.transition.status} without due_at, so it would never be picked up"
        )


def _newest(group: Sequence[Change]) -> dict[UUID, int]:
    """The place of each delivery's row. Of several in one group only the one that saw the newest version
    can have seen what the ledger has, and of equals the first is as good as any: the others have lost.
    """
    places: dict[UUID, int] = {}
    for place, row in enumerate(group):
        best = places.setdefault(row.delivery_id, place)
        if row.version > group[best].version:
            places[row.delivery_id] = place
    return places


def _in_place(
    group: Sequence[Change], places: Mapping[UUID, int], by_delivery: Mapping[UUID, Result]
) -> list[Result | None]:
    """Each row's result; None for those that lost."""
    results: list[Result | None] = [None] * len(group)
    for delivery, place in places.items():
        results[place] = by_delivery.get(delivery)
    return results


def _updated(rows: Sequence[Any]) -> dict[UUID, Updated]:
    return {row["id"]: Updated(row["version"], Status(row["status"])) for row in rows}
