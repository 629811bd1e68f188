"""The ledger: the only authority on what may happen next. Everything else only wakes processes that read it.

Each write is one statement: its locks are never held across a round trip, so that a stalled sender blocks no
other. Acceptances, intents, outcomes and updates go through groups (storage/group.py); renewals, late
outcomes and returned claims are written one by one, and operators' commands with their audit entries
(delivery/operator_commands.py). Intents, renewals, outcomes and
updates call a function of storage/functions/, and return None when the delivery has changed since the caller
read it: another process was first; read it again.
"""

from collections.abc import Callable, Collection, Sequence
from typing import TypedDict
from uuid import UUID

from domain.fairness import EQUAL, Shares
from domain.fingerprint import Fingerprint
from domain.notification import LANE_RANK, LANES, Channel, Lane, Notification, Recipient
from domain.outcome import Outcome
from domain.status import Status
from storage import delivery_writes, row_types
from storage.acceptance import accept_rows, fingerprint_of
from storage.group import GroupCommit, Observe
from storage.outages import ask
from storage.postgres import Connection, Pool
from storage.records import (
    Acceptance,
    AttemptOutcome,
    Claim,
    DeliveryUpdate,
    Intent,
    OpenAttempt,
    Renewal,
    Submission,
    Updated,
)
from storage.row_mapping import known_addresses, notification_from
from storage.statements import call, statement


class _Common(TypedDict):
    waiting_max: int
    observe: Observe | None


class _Passes(TypedDict):
    linger_s: float
    urgent: Callable[[], bool]


class Ledger:
    """Reads and writes of notifications, deliveries, attempts and what is due."""

    def __init__(
        self,
        pool: Pool,
        *,
        waiting_max: int = 20_000,
        linger_s: float = 0.0,
        urgent: Callable[[], bool] = lambda: False,
        observe: Observe | None = None,
    ) -> None:
        """`linger_s`: for the reads and writes of passes, in a process whose callers do not wait for single
        rows; `urgent`: while it is true they do (storage/group.py).
        """
        self.pool = pool
        common: _Common = {"waiting_max": waiting_max, "observe": observe}
        passes: _Passes = {"linger_s": linger_s, "urgent": urgent}
        self._accepts = GroupCommit[Submission, Acceptance](
            "accept", pool, accept_rows, lambda row: row.id.bytes, **common
        )
        self._intents = GroupCommit[Intent, OpenAttempt | None](
            "intent", pool, delivery_writes.intend, _by_delivery, **passes, **common
        )
        self._outcomes = GroupCommit[AttemptOutcome, Updated | None](
            "outcome", pool, delivery_writes.close, _by_delivery, **passes, **common
        )
        self._updates = GroupCommit[DeliveryUpdate, Updated | None](
            "update", pool, delivery_writes.update, _by_delivery, **passes, **common
        )
        self._loads = GroupCommit[UUID, Notification | None](
            "load", pool, _load, lambda row: row.bytes, **passes, **common
        )

    async def accept(self, submission: Submission) -> Acceptance:
        """Store a notification, once per idempotency key."""
        return await self._accepts.submit(submission)

    async def accept_all(self, submissions: Sequence[Submission]) -> list[Acceptance]:
        """Store notifications in one separate transaction, all or none. Results are in the given order."""
        return await self._accepts.submit_together(submissions)

    async def accepted(self, ids: Sequence[UUID]) -> dict[UUID, Fingerprint]:
        """The fingerprints of those notifications that were accepted before, by id; others are missing."""
        rows = await ask(self.pool, statement("find_accepted"), list(ids))
        return {row["id"]: fingerprint_of(row) for row in rows}

    async def claim(
        self,
        lane: Lane,
        limit: int,
        lease_s: float,
        *,
        dedicated_only: bool = False,
        batched: Collection[int] = (),
        shares: Shares = EQUAL,
    ) -> list[Claim]:
        """Claim up to `limit` notifications of a lane that are due, in turns by tenant, for `lease_s` s.

        `dedicated_only`: only those that no batch may take. `batched`: the turns for which this holds anyway.
        """
        turns = [*{*shares.weights, *shares.rooms}]
        rows = await ask(
            self.pool,
            statement("claim_due"),
            *(LANE_RANK[lane], limit, lease_s, [True] if dedicated_only else [True, False], list(batched)),
            *(turns, [shares.weights.get(turn, 1) for turn in turns]),
            *([shares.rooms.get(turn, shares.room) for turn in turns], shares.room, shares.after),
        )
        return [
            Claim(
                id=row["id"],
                tenant=row["tenant"],
                type=row["type"],
                lane=LANES[row["lane"]],
                token=row["claim"],
                channels=tuple(Channel(channel) for channel in row["channels"] or ()),
                recipient=Recipient(**known_addresses(row["addresses"])),
                late_s=row["late_s"],
            )
            for row in rows
        ]

    async def give_back(self, claim: Claim, after_s: float) -> None:
        """Make a claim due again in `after_s` seconds, unless another process has claimed it since."""
        await self.pool.execute(statement("give_back_claim"), claim.id, claim.token, after_s)

    async def load(self, notification_id: UUID) -> Notification | None:
        """The current notification with its recipient; None if there is no notification with this id."""
        return await self._loads.submit(notification_id)

    async def intend(self, intent: Intent) -> OpenAttempt | None:
        """Commit to a provider call. Only a sender that gets an attempt back may make the call."""
        return await self._intents.submit(intent)

    async def renew(self, renewal: Renewal) -> OpenAttempt | None:
        """Commit to the same call again, for an attempt that is still open. None: read again."""
        rows = await ask(self.pool, call("ledger_renew_v1"), row_types.renewal(renewal))
        return delivery_writes.open_attempt(rows[0]) if rows else None

    async def close_attempt(self, outcome: AttemptOutcome) -> Updated | None:
        """Record an attempt's outcome, and update its delivery.

        Raises asyncpg.UniqueViolationError when the provider's message belongs to another attempt, and
        ValueError when the attempt would stay open in a delivery that is not `sending`, or the reverse.
        """
        if (outcome.outcome is None) != (outcome.transition.status is Status.SENDING):
            raise ValueError(
                f"delivery {outcome.delivery_id}: it is `sending` exactly while an attempt is open, "
                f"not {outcome.transition.status} with outcome {outcome.outcome}"
            )
        delivery_writes.check_comes_back(outcome)
        return await self._outcomes.submit(outcome)

    async def record_late_outcome(
        self, delivery_id: UUID, number: int, outcome: Outcome, message_id: str | None
    ) -> str | None:
        """Keep an outcome that arrived after its attempt was resolved; returns the recorded outcome.

        The message of a late acceptance becomes this attempt's, so that no look-up claims it. None: the
        attempt does not exist or is not resolved; read again and close it.
        """
        rows = await ask(
            self.pool, statement("record_late_outcome"), delivery_id, number, outcome.value, message_id
        )
        return rows[0]["outcome"] if rows else None

    async def update(self, update: DeliveryUpdate) -> Updated | None:
        """Change a delivery without sending. Raises ValueError for `sending`: that takes an intent."""
        if update.transition.status is Status.SENDING:
            raise ValueError(f"delivery {update.delivery_id}: only an intent makes it `sending`")
        delivery_writes.check_comes_back(update)
        return await self._updates.submit(update)

    async def claimed_messages(self, provider: str, message_ids: Sequence[str]) -> set[str]:
        """Which of a provider's messages already belong to attempts."""
        rows = await ask(self.pool, statement("find_claimed_messages"), provider, list(message_ids))
        return {row["provider_message_id"] for row in rows}

    async def indistinguishable_attempts(self, match_key: str, delivery_id: UUID) -> int:
        """How many open attempts of other deliveries a look-up could not distinguish from this delivery's."""
        (row,) = await ask(self.pool, statement("count_indistinguishable_attempts"), match_key, delivery_id)
        return row["count"]

    async def has_attempts(self) -> bool:
        """Whether this installation ever made an attempt."""
        return await self.pool.fetchval(statement("has_attempts"))

    async def parked_count(self) -> int:
        """How many notifications wait for an operator."""
        (row,) = await ask(self.pool, statement("count_parked"))
        return row[0]

    async def close(self, timeout_s: float) -> None:
        """Accept no more writes, and write those already accepted, for at most `timeout_s` seconds each."""
        for group in (self._accepts, self._intents, self._outcomes, self._updates, self._loads):
            await group.close(timeout_s)


def _by_delivery(row: Intent | AttemptOutcome | DeliveryUpdate) -> bytes:
    return row.delivery_id.bytes


async def _load(connection: Connection, rows: Sequence[UUID]) -> list[Notification | None]:
    found = {row["id"]: row for row in await connection.fetch(statement("load_notifications"), list(rows))}
    return [notification_from(found[id]) if id in found else None for id in rows]
