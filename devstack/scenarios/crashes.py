"""Parts that are killed, stopped or paused at the worst moment. Each scenario needs the stack alone."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from devstack.scenarios.case import PATIENCE_S, Case
from devstack.scenarios.scenario import Scenario
from devstack.scenarios.waiting import until

MANY = 200
MANY_WITHIN_S = 240.0
RESTART_WITHIN_S = 120.0
STALL_S = 60.0
"""Longer than any timeout: the response never arrives in time."""

_BLOCKED_BY_US = """
SELECT count(*) FROM pg_stat_activity
WHERE $1 = ANY(pg_blocking_pids(pid)) AND query LIKE '%ledger_intend%'
"""
_OPEN_ATTEMPTS = """
SELECT count(*), count(*) FILTER (WHERE send_deadline < clock_timestamp()) AS passed
FROM notification_attempts WHERE notification_id = $1 AND outcome IS NULL
"""


async def worker_killed(case: Case) -> None:
    to = case.phone()
    # Without a callback and without a response, only the vendor knows about the message.
    await case.vendors.callbacks("twilio", to, mode="held")
    await case.vendors.fault("twilio", "accept_then_stall", to, latency_s=STALL_S, times=1)
    id = await case.accepted("debit_alert", ["sms"], to={"sms": to})
    await until("Twilio has the message", case.received, lambda found: len(found) == 1, PATIENCE_S)
    attempt = await case.only_attempt(id)
    case.expect(attempt["outcome"] is None, f"the outcome was already recorded: {attempt['outcome']}")

    killed = _pid(case)
    os.kill(killed, signal.SIGKILL)
    await until(
        "the worker runs again",
        lambda: _described_pid(case),
        lambda pid: pid not in (None, killed),
        RESTART_WITHIN_S,
    )
    await case.becomes(id, "sent", within_s=RESTART_WITHIN_S)
    attempt = await case.only_attempt(id)
    case.expect(attempt["resolved_by"] == "lookup", f"resolved by {attempt['resolved_by']}")
    message = await case.only_message()
    await case.vendors.report("twilio", message["id"], "delivered")
    await case.becomes(id, "delivered")
    await case.expect_received(twilio=1)


async def temporal_stopped(case: Case) -> None:
    await case.stack.stop("temporal")
    try:
        await asyncio.gather(*(_submit_one_of_many(case, n) for n in range(MANY)))
        _expect_all_accepted(case)
        case.expect(not await case.received(), "something was sent without Temporal")
    finally:
        await case.stack.resume("temporal")
    await until(
        f"all {MANY} are delivered",
        lambda: _statuses(case),
        lambda statuses: statuses == {"delivered": MANY},
        MANY_WITHIN_S,
    )
    # On a busy machine a call may time out, and then another provider sends.
    await _expect_each_once(case)
    await case.expect_received_in_all(MANY)


async def batch_interrupted(case: Case) -> None:
    stalled = [case.phone(n) for n in range(MANY // 2)]
    for to in stalled:
        # Twilio has the message, but its response does not arrive in time to be recorded.
        await case.vendors.fault("twilio", "accept_then_stall", to, latency_s=STALL_S, times=1)
    recipients = [*stalled, *(case.phone(n) for n in range(MANY // 2, MANY))]
    await asyncio.gather(
        *(case.submit("debit_alert", ["sms"], to={"sms": to}, lane="bulk") for to in recipients)
    )
    _expect_all_accepted(case)
    await until(
        "a batch is partly sent", case.received, lambda found: len(found) >= MANY // 4, RESTART_WITHIN_S
    )
    killed = _pid(case)
    os.kill(killed, signal.SIGKILL)
    await until(
        "the worker runs again",
        lambda: _described_pid(case),
        lambda pid: pid not in (None, killed),
        RESTART_WITHIN_S,
    )
    await until(
        f"all {MANY} are delivered",
        lambda: _statuses(case),
        lambda statuses: statuses == {"delivered": MANY},
        MANY_WITHIN_S,
    )
    # Through Twilio, or through Termii once Twilio's circuit is open; each recipient gets one message.
    await _expect_each_once(case)
    await case.expect_received_in_all(MANY)


async def sender_paused(case: Case) -> None:
    to = case.phone()
    async with case.clients.ledger.acquire() as connection:
        lock = connection.transaction()
        await lock.start()
        try:
            async with _paused_worker(case):
                id = await case.accepted("debit_alert", ["sms"], to={"sms": to})
                await connection.execute("SELECT FROM notifications WHERE id = $1 FOR UPDATE", UUID(id))
            us = connection.get_server_pid()
            await until(
                "the intent waits for our lock",
                lambda: case.clients.ledger.fetchval(_BLOCKED_BY_US, us),
                lambda waiting: waiting > 0,
                PATIENCE_S,
            )
            async with _paused_worker(case):
                await lock.rollback()
                await until(
                    "the intent is committed", lambda: _open(case, id), lambda n: n[0] == 1, PATIENCE_S
                )
                await until(
                    "the send deadline has passed", lambda: _open(case, id), lambda n: n[1] == 1, PATIENCE_S
                )
                case.expect(not await case.received(), "it was sent while its sender was paused")
        finally:
            if connection.is_in_transaction():
                await lock.rollback()
    await case.becomes(id, "delivered")
    first, *_ = await case.api.attempts(id)
    refused = (first["outcome"], first["code"]) == ("not_sent", "send_deadline_passed")
    looked_up = (first["outcome"], first["resolved_by"]) == ("not_sent", "lookup")
    case.expect(
        refused or looked_up,
        f"the paused sender's attempt has the outcome {first['outcome']} ({first['code']})",
    )
    case.note("the paused sender did not send")
    await case.expect_received(termii=1)


async def _submit_one_of_many(case: Case, n: int) -> None:
    if n % 2:
        await case.submit("statement", ["email"], to={"email": case.email(n)})
    else:
        await case.submit("debit_alert", ["sms"], to={"sms": case.phone(n)})


def _expect_all_accepted(case: Case) -> None:
    responses = Counter(case.response_statuses)
    case.expect(responses == {202: MANY}, f"responses: {responses}")


async def _expect_each_once(case: Case) -> None:
    received = Counter(message["to"].lstrip("+") for _, message in await case.received())
    case.expect(len(received) == MANY, f"{len(received)} recipients received something")
    twice = {to: count for to, count in received.items() if count > 1}
    case.expect(not twice, f"received more than once: {twice}")


async def _statuses(case: Case) -> Counter[str]:
    page = await case.api.get(f"/notifications?user_id={case.user()}&limit=200")
    return Counter(shown["status"] for shown in page["notifications"])


async def _open(case: Case, id: str) -> Sequence[int]:
    """The number of the notification's open attempts, and how many of those are past their send deadline."""
    row: Any = await case.clients.ledger.fetchrow(_OPEN_ATTEMPTS, UUID(id))
    return tuple(row)


async def _described_pid(case: Case) -> int | None:
    return case.stack.description["pids"]["worker"]


def _pid(case: Case) -> int:
    pid = case.stack.description["pids"]["worker"]
    assert pid is not None, "the worker is not running"
    return pid


@asynccontextmanager
async def _paused_worker(case: Case) -> AsyncGenerator[None]:
    """Pause the worker process inside the block."""
    pid = _pid(case)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


WORKER_KILLED = Scenario(
    16,
    "the worker is killed after Twilio accepts and before the outcome is recorded",
    "restarted and looked up: exactly one message",
    worker_killed,
    alone=True,
)
TEMPORAL_STOPPED = Scenario(
    17,
    f"Temporal is stopped while {MANY} are submitted",
    "all accepted (202); each delivered once after Temporal returns",
    temporal_stopped,
    alone=True,
)
SENDER_PAUSED = Scenario(
    18,
    "a worker is paused between intent and call until the send deadline has passed",
    "it does not send: exactly one message",
    sender_paused,
    alone=True,
)
BATCH_INTERRUPTED = Scenario(
    21,
    f"the worker is killed in the middle of a batch of {MANY}",
    "restarted: each delivered once",
    batch_interrupted,
    alone=True,
)
