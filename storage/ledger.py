"""The ledger: the only authority on what may happen next. Everything else is a wake-up.

Every write goes through a group (storage/group.py) and is one call of a function in storage/functions: its
locks are never held across a round trip, so that a stopped sender holds up nobody. A write that did not
find the delivery as its caller saw it returns None: somebody else moved, read again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, TypeVar
from uuid import UUID

import asyncpg

from domain.fingerprint import Fingerprint
from domain.ids import delivery_id
from domain.notification import LANE_RANK, Channel, Lane, Notification, Recipient
from domain.outcome import Outcome
from domain.status import FINAL, Status
from storage.group import Group, LedgerUnavailable, Observe
from storage.postgres import UNREACHABLE, Connection, Pool, call, statement
from storage.rows import Acceptance, Claim, Closing, Intent, Move, Moved, OpenAttempt, Renewal, Submission
from storage.snapshot import notification_from

LANES = tuple(Lane)

Change = TypeVar("Change", Intent, Closing, Move)
Result = TypeVar("Result")


class _Common(TypedDict):
    waiting_max: int
    observe: Observe | None


class Ledger:
    """Reads and writes of notifications, deliveries, attempts and what is due."""

    def __init__(
        self,
        pool: Pool,
        *,
        waiting_max: int = 20_000,
        pace_s: float = 0.0,
        observe: Observe | None = None,
    ) -> None:
        """`pace_s`: of what passes read and write, for a process in which nobody waits for the single one."""
        self.pool = pool
        common: _Common = {"waiting_max": waiting_max, "observe": observe}
        self._accepts = Group[Submission, Acceptance](
            "accept", pool, accept_rows, lambda row: row.id.bytes, **common
        )
        self._intents = Group[Intent, OpenAttempt | None](
            "intent", pool, _intend, lambda row: row.delivery_id.bytes, pace_s=pace_s, **common
        )
        self._closings = Group[Closing, Moved | None](
            "outcome", pool, _close, lambda row: row.delivery_id.bytes, pace_s=pace_s, **common
        )
        self._moves = Group[Move, Moved | None](
            "move", pool, _move, lambda row: row.delivery_id.bytes, pace_s=pace_s, **common
        )
        self._loads = Group[UUID, Notification | None](
            "load", pool, _load, lambda row: row.bytes, pace_s=pace_s, **common
        )

    async def accept(self, submission: Submission) -> Acceptance:
        """Make a notification durable, once for its id."""
        return await self._accepts.submit(submission)

    async def accept_all(self, submissions: Sequence[Submission]) -> list[Acceptance]:
        """Make a batch durable in one transaction of its own; results in the order given."""
        return await self._accepts.submit_together(submissions)

    async def accepted(self, ids: Sequence[UUID]) -> dict[UUID, Fingerprint]:
        """The fingerprints of those that were accepted before; the others are missing."""
        return {row["id"]: _fingerprint(row) for row in await self._ask("accepted", list(ids))}

    async def claim(self, lane: Lane, limit: int, lease_s: float, *, solo_only: bool = False) -> list[Claim]:
        """Claim up to `limit` notifications of a lane that are due, for `lease_s` seconds.

        `solo_only`: only those that no page may take.
        """
        kinds = [True] if solo_only else [True, False]
        rows = await self._ask("claim", LANE_RANK[lane], limit, lease_s, kinds)
        return [
            Claim(
                id=row["id"],
                tenant=row["tenant"],
                user_id=row["user_id"],
                type=row["type"],
                lane=LANES[row["lane"]],
                accepted_at=row["accepted_at"],
                token=row["claim"],
                channels=tuple(Channel(channel) for channel in row["channels"] or ()),
                recipient=Recipient(**row["addresses"]),
                late_s=row["late_s"],
            )
            for row in rows
        ]

    async def give_back(self, claim: Claim, after_s: float) -> None:
        """Let a claim that could not be acted on be due again soon, unless somebody has claimed it since."""
        await self.pool.execute(statement("give_back"), claim.id, claim.token, after_s)

    async def load(self, notification_id: UUID) -> Notification | None:
        """A notification as it is now, with its recipient; None if there is none with this id."""
        return await self._loads.submit(notification_id)

    async def intend(self, intent: Intent) -> OpenAttempt | None:
        """Commit to a call. Only a sender that gets an attempt back may make it."""
        return await self._intents.submit(intent)

    async def renew(self, renewal: Renewal) -> OpenAttempt | None:
        """Commit to the same call again, for an attempt that is still open. None: read again."""
        rows = await self._fetch(
            call("ledger_renew", 9),
            renewal.notification_id,
            renewal.delivery_id,
            renewal.no,
            renewal.version,
            renewal.budget_s,
            renewal.settling_s,
            renewal.key_life_s,
            renewal.suppression_key,
            renewal.required,
        )
        return next(
            (OpenAttempt(r["no"], r["version"], r["intended_at"], r["hold_until"]) for r in rows), None
        )

    async def close_attempt(self, closing: Closing) -> Moved | None:
        """Record what came of an attempt, and move its delivery on.

        Raises asyncpg.UniqueViolationError when the provider's message belongs to another attempt, and
        ValueError when the attempt would stay open in a delivery that is not `sending`, or the reverse.
        """
        if (closing.outcome is None) != (closing.next.state is Status.SENDING):
            raise ValueError(
                f"delivery {closing.delivery_id}: it is `sending` exactly while an attempt is open, "
                f"not {closing.next.state} with outcome {closing.outcome}"
            )
        _check_comes_back(closing)
        return await self._closings.submit(closing)

    async def keep_late(
        self, delivery_id: UUID, no: int, outcome: Outcome, message_id: str | None
    ) -> str | None:
        """Keep an outcome that came after its attempt was resolved; returns how it had been resolved.

        The message of an accepted one becomes this attempt's, so that nobody else adopts it. None: the
        attempt is not resolved (or there is none); read again and close it.
        """
        rows = await self._ask("late", delivery_id, no, outcome.value, message_id)
        return rows[0]["outcome"] if rows else None

    async def move(self, move: Move) -> Moved | None:
        """Change a delivery without sending. Raises ValueError for `sending`: that takes an intent."""
        if move.next.state is Status.SENDING:
            raise ValueError(f"delivery {move.delivery_id}: only an intent makes it `sending`")
        _check_comes_back(move)
        return await self._moves.submit(move)

    async def claimed_messages(self, provider: str, message_ids: Sequence[str]) -> set[str]:
        """Which of a provider's messages belong to attempts already."""
        rows = await self._ask("claimed_messages", provider, list(message_ids))
        return {row["provider_message_id"] for row in rows}

    async def open_twins(self, match_key: str, delivery_id: UUID) -> int:
        """How many other open attempts a look-up could not tell apart from this delivery's."""
        (row,) = await self._ask("open_twins", match_key, delivery_id)
        return row["count"]

    async def readdress(self, notification_id: UUID, to: Mapping[Channel, str]) -> None:
        """Send a notification to these addresses instead, by channel."""
        await self.pool.execute(statement("readdress"), notification_id, dict(to))

    async def has_attempts(self) -> bool:
        """Whether anything was ever sent by this installation."""
        return await self.pool.fetchval(statement("has_attempts"))

    async def parked_count(self) -> int:
        """How many notifications wait for an operator."""
        (row,) = await self._ask("parked_count")
        return row[0]

    async def close(self, timeout_s: float) -> None:
        """Take nothing more in, and write what was taken in."""
        for group in (self._accepts, self._intents, self._closings, self._moves, self._loads):
            await group.close(timeout_s)

    async def _ask(self, name: str, *arguments: Any) -> "list[asyncpg.Record]":
        return await self._fetch(statement(name), *arguments)

    async def _fetch(self, query: str, *arguments: Any) -> "list[asyncpg.Record]":
        try:
            async with self.pool.acquire(timeout=5) as connection:
                return await connection.fetch(query, *arguments)
        except (*UNREACHABLE, asyncpg.OperatorInterventionError) as error:
            raise LedgerUnavailable(f"no answer from Postgres ({type(error).__name__})") from error


async def accept_rows(connection: Connection, rows: Sequence[Submission]) -> list[Acceptance]:
    """Accept over this connection, in its transaction if it has one; results in the order given."""
    first: dict[UUID, Submission] = {}
    for row in rows:
        first.setdefault(row.id, row)
    unique = list(first.values())
    lines = [
        (row.id, delivery_id(row.id, channel.value), channel.value, position)
        for row in unique
        for position, channel in enumerate(row.channels)
    ]
    inserted = await connection.fetch(
        statement("accept"),
        [row.id for row in unique],
        [row.tenant for row in unique],
        [row.user_id for row in unique],
        [row.type for row in unique],
        [row.idempotency_key for row in unique],
        [row.fingerprint.digest for row in unique],
        [row.fingerprint.key_id for row in unique],
        [row.fingerprint.version for row in unique],
        [LANE_RANK[row.lane] for row in unique],
        [row.strategy.value for row in unique],
        [row.scrub for row in unique],
        [row.send_at for row in unique],
        [row.expires_at for row in unique],
        [row.expires_s for row in unique],
        [row.title for row in unique],
        [row.body for row in unique],
        [row.to_sms for row in unique],
        [row.to_email for row in unique],
        [row.to_push for row in unique],
        [row.to_whatsapp for row in unique],
        [json.dumps(dict(row.metadata)) for row in unique],
        [line[1] for line in lines],
        [line[0] for line in lines],
        [line[2] for line in lines],
        [line[3] for line in lines],
        [row.broadcast_id for row in unique],
        [row.solo for row in unique],
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
    """What was accepted before under the names of these rows, by the rows' ids.

    The stored id is another one when the secret that ids are derived from was changed: still the
    notification of that key, and never a second one.
    """
    if not rows:
        return {}
    found = await connection.fetch(
        statement("accepted_before"),
        [row.id for row in rows],
        [row.tenant for row in rows],
        [row.user_id for row in rows],
        [row.type for row in rows],
        [row.idempotency_key for row in rows],
    )
    return {row["asked"]: (row["id"], _fingerprint(row)) for row in found}


def _fingerprint(row: Any) -> Fingerprint:
    return Fingerprint(row["fingerprint"], row["fingerprint_key_id"], row["fingerprint_version"])


async def _intend(connection: Connection, group: Sequence[Intent]) -> list[OpenAttempt | None]:
    places = _newest(group)
    rows = [group[place] for place in places.values()]
    written = await connection.fetch(
        call("ledger_intend", 12),
        [row.notification_id for row in rows],
        [row.delivery_id for row in rows],
        [row.version for row in rows],
        [row.provider for row in rows],
        [row.budget_s for row in rows],
        [row.settling_s for row in rows],
        [row.device_id for row in rows],
        [row.suppression_key for row in rows],
        [row.target_masked for row in rows],
        [row.match_key for row in rows],
        [json.dumps(dict(row.selection)) for row in rows],
        [row.required for row in rows],
    )
    opened = {
        row["id"]: OpenAttempt(row["no"], row["version"], row["intended_at"], row["hold_until"])
        for row in written
    }
    return _in_place(group, places, opened)


async def _close(connection: Connection, group: Sequence[Closing]) -> list[Moved | None]:
    places = _newest(group)
    rows = [group[place] for place in places.values()]
    moved = await connection.fetch(
        call("ledger_close", 18),
        [row.notification_id for row in rows],
        _released(rows),
        [row.delivery_id for row in rows],
        [row.no for row in rows],
        [row.version for row in rows],
        [row.outcome.value if row.outcome else None for row in rows],
        [row.code for row in rows],
        [row.http_status for row in rows],
        [row.provider_message_id for row in rows],
        [row.latency_ms for row in rows],
        [row.resolved_by for row in rows],
        [row.next.state.value for row in rows],
        [row.next.reason_code for row in rows],
        [row.next.pass_no for row in rows],
        [row.next.next_pass_at for row in rows],
        [row.next.due_at for row in rows],
        [row.next.event for row in rows],
        [json.dumps(dict(row.next.data)) for row in rows],
    )
    return _in_place(group, places, _moved(moved))


async def _move(connection: Connection, group: Sequence[Move]) -> list[Moved | None]:
    places = _newest(group)
    rows = [group[place] for place in places.values()]
    moved = await connection.fetch(
        call("ledger_move", 13),
        [row.notification_id for row in rows],
        _released(rows),
        [row.delivery_id for row in rows],
        [row.version for row in rows],
        [row.next.state.value for row in rows],
        [row.next.reason_code for row in rows],
        [row.next.pass_no for row in rows],
        [row.next.new_round for row in rows],
        [row.next.next_pass_at for row in rows],
        [row.next.due_at for row in rows],
        [row.next.expires_at for row in rows],
        [row.next.event for row in rows],
        [json.dumps(dict(row.next.data)) for row in rows],
    )
    return _in_place(group, places, _moved(moved))


async def _load(connection: Connection, rows: Sequence[UUID]) -> list[Notification | None]:
    found = {row["id"]: row for row in await connection.fetch(statement("load"), list(rows))}
    return [notification_from(found[id]) if id in found else None for id in rows]


def _released(rows: Sequence[Closing] | Sequence[Move]) -> list[UUID]:
    return [row.notification_id for row in rows if row.next.release]


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


def _check_comes_back(row: Closing | Move) -> None:
    if row.next.due_at is None and row.next.state not in FINAL:
        raise ValueError(
            f"delivery {row.delivery_id}: {row.next.state} without due_at, nobody would come back to it"
        )


def _moved(rows: Sequence[Any]) -> dict[UUID, Moved]:
    return {row["id"]: Moved(row["version"], Status(row["state"])) for row in rows}
