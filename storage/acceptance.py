"""Acceptance: stores notifications, one for each idempotency key."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from domain.fingerprint import Fingerprint
from domain.status import Status
from storage import row_types
from storage.postgres import Connection
from storage.records import Acceptance, Submission
from storage.statements import statement


async def accept_rows(connection: Connection, rows: Sequence[Submission]) -> list[Acceptance]:
    """Accept over this connection, in its transaction if there is one. Results are in the given order."""
    first: dict[UUID, Submission] = {}
    for row in rows:
        first.setdefault(row.id, row)
    unique = list(first.values())
    inserted = await connection.fetch(
        statement("accept_notifications"),
        [row_types.submission(row) for row in unique],
        {str(row.id): row.private_metadata for row in unique if row.private_metadata},
    )
    created = {row["id"]: row for row in inserted}
    stored = {row.id: (row.id, row.fingerprint) for row in unique if row.id in created}
    stored |= await _stored(connection, [row for row in unique if row.id not in created])
    answers: list[Acceptance] = []
    for row in rows:
        new = created.pop(row.id, None)
        if new is None:
            id, fingerprint = stored[row.id]
            answers.append(Acceptance(id, False, fingerprint))
            continue
        status = Status(new["status"])
        answers.append(
            Acceptance(row.id, True, row.fingerprint, new["accepted_at"], new["expires_at"], status)
        )
    return answers


async def _stored(connection: Connection, rows: Sequence[Submission]) -> dict[UUID, tuple[UUID, Fingerprint]]:
    """The notifications accepted earlier under the same keys: stored id and fingerprint, by the rows' ids.

    The stored id differs when the secret that ids are derived from has changed. It is still the
    notification of that key; no second one is created.
    """
    if not rows:
        return {}
    found = await connection.fetch(
        statement("find_accepted_by_key"), [row_types.submission_key(row) for row in rows]
    )
    return {row["asked"]: (row["id"], fingerprint_of(row)) for row in found}


def fingerprint_of(row: Any) -> Fingerprint:
    """The fingerprint that a row holds."""
    return Fingerprint(row["fingerprint"], row["fingerprint_key_id"], row["fingerprint_version"])
