"""The cost of the hot statements alone: notifications go through the ledger in groups of a fixed size."""

import asyncio
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from domain.fingerprint import Fingerprint
from domain.notification import Channel, Lane, Strategy
from domain.outcome import Outcome
from domain.status import Status
from domain.transition import Transition
from storage.ledger import Ledger
from storage.postgres import Pool, open_pool
from storage.records import AttemptOutcome, Intent, OpenAttempt, Submission

HOT: Final = {
    "accept": "INSERT INTO notifications (",
    "claim": "FOR UPDATE SKIP LOCKED",
    "load": "json_agg(d ORDER BY d.position)",
    "intend": "ledger_intend_v1(",
    "close": "ledger_close_v1(",
}
"""The statements that every notification needs, by text that identifies each."""

_COUNTED = """
SELECT query, calls, total_exec_time AS ms, wal_bytes::float8 AS wal_bytes,
       shared_blks_hit + shared_blks_read AS blocks, shared_blks_read AS missed
FROM pg_stat_statements WHERE toplevel
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a statement per notification: milliseconds in Postgres, bytes of WAL, blocks touched, and
    how many of those were not in shared buffers (`missed`).
    """

    ms: float
    wal_bytes: float
    blocks: float
    missed: float


async def measure(database_url: str, group: int, rounds: int) -> dict[str, Cost]:
    """Take `rounds` groups of `group` notifications through the ledger on one connection. No worker may run.

    Needs pg_stat_statements, and resets it.
    """
    pool = await open_pool(database_url, size_max=1)
    ledger = Ledger(pool)
    try:
        await _round(ledger, group)
        await pool.execute("SELECT pg_stat_statements_reset()")
        for _ in range(rounds):
            await _round(ledger, group)
        return await _costs(pool, group * rounds)
    finally:
        await ledger.close(5)
        await pool.close()


async def _round(ledger: Ledger, group: int) -> None:
    await ledger.accept_all([_submission() for _ in range(group)])
    claims = await ledger.claim(Lane.BULK, group, 60)
    loaded = await asyncio.gather(*(ledger.load(claim.id) for claim in claims))
    intents = [_intent(one.id, one.deliveries[0].id) for one in loaded if one]
    if len(intents) != group:
        raise RuntimeError(f"of {group} notifications {len(intents)} could be claimed: is a worker running?")
    opened = await asyncio.gather(*map(ledger.intend, intents))
    outcomes = [_outcome(intent, one) for intent, one in zip(intents, opened, strict=True) if one]
    if len(outcomes) != group or None in await asyncio.gather(*map(ledger.close_attempt, outcomes)):
        raise RuntimeError(f"of {group} intents {len(outcomes)} were granted: is something else sending?")


def _submission() -> Submission:
    id = uuid4()
    return Submission(
        id=id,
        tenant="dev",
        user_id=f"user-{id.int % 1000}",
        type="marketing",
        idempotency_key=f"key-{id}",
        fingerprint=Fingerprint(id.bytes * 2, "default"),
        lane=Lane.BULK,
        strategy=Strategy.ALL,
        channels=(Channel.SMS,),
        body="You paid 5,000.00 to Ada's Kitchen. Balance: 12,345.67.",
        to_sms="+2348031236789",
    )


def _intent(id: UUID, delivery_id: UUID) -> Intent:
    return Intent(
        notification_id=id,
        delivery_id=delivery_id,
        version=0,
        provider="twilio",
        budget_s=10,
        visibility_delay_s=1,
        suppression_key="+2348031236789",
        target_masked="+234•••••6789",
        selection={"why": "first in the fallback order", "pass": 1, "route": ["twilio", "termii"]},
        required=False,
        match_key=id.hex,
    )


def _outcome(intent: Intent, opened: OpenAttempt) -> AttemptOutcome:
    return AttemptOutcome(
        intent.notification_id,
        intent.delivery_id,
        opened.number,
        opened.version,
        Outcome.ACCEPTED,
        Transition(Status.SENT, None, release=True),
        provider_message_id=f"SM{intent.notification_id.hex}",
    )


async def _costs(pool: Pool, notifications: int) -> dict[str, Cost]:
    rows = await pool.fetch(_COUNTED)
    costs: dict[str, Cost] = {}
    for name, words in HOT.items():
        (row,) = [row for row in rows if words in row["query"]]
        values = (float(row[column]) / notifications for column in ("ms", "wal_bytes", "blocks", "missed"))
        costs[name] = Cost(*values)
    return costs
