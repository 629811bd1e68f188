"""Parts that are killed, stopped or gone at the worst moment. Each needs the stack for itself."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from devstack.scenarios.case import PATIENCE_S, Case
from devstack.scenarios.scenario import Scenario
from devstack.scenarios.waiting import until

MANY = 200
MANY_WITHIN_S = 90.0
RESTART_WITHIN_S = 60.0
STALL_S = 60.0
"""Longer than any budget: the answer never comes in time."""

_WAITING_FOR_US = """
SELECT count(*) FROM pg_stat_activity
WHERE $1 = ANY(pg_blocking_pids(pid)) AND query LIKE '%ledger_intend%'
"""
_OPEN_ATTEMPTS = """
SELECT count(*), count(*) FILTER (WHERE send_deadline < clock_timestamp()) AS passed
FROM notification_attempts WHERE notification_id = $1 AND outcome IS NULL
"""


async def worker_killed(case: Case) -> None:
    to = case.phone()
    # Without callbacks and without an answer, nobody but the vendor knows of the message.
    await case.vendors.callbacks("twilio", to, mode="held")
    await case.vendors.fault("twilio", "accept_then_stall", to, latency_s=STALL_S, times=1)
    id = await case.accepted("debit_alert", ["sms"], to={"sms": to})
    await until("Twilio has the message", case.received, lambda found: len(found) == 1, PATIENCE_S)
    attempt = await case.only_attempt(id)
    case.expect(attempt["outcome"] is None, f"the outcome was recorded already: {attempt['outcome']}")

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
        case.expect(Counter(case.answers) == {202: MANY}, f"answers: {Counter(case.answers)}")
        case.expect(not await case.received(), "something was sent without Temporal")
    finally:
        await case.stack.resume("temporal")
    await until(
        f"all {MANY} are delivered",
        lambda: _statuses(case),
        lambda statuses: statuses == {"delivered": MANY},
        MANY_WITHIN_S,
    )
    await _expect_each_once(case)
    await case.expect_received(twilio=MANY // 2, sendgrid=MANY // 2)


async def page_killed(case: Case) -> None:
    stalled = [case.phone(n) for n in range(MANY // 2)]
    for to in stalled:
        # Twilio has the message, and its answer does not come in time to be recorded.
        await case.vendors.fault("twilio", "accept_then_stall", to, latency_s=STALL_S, times=1)
    everybody = [*stalled, *(case.phone(n) for n in range(MANY // 2, MANY))]
    await asyncio.gather(
        *(case.submit("debit_alert", ["sms"], to={"sms": to}, lane="bulk") for to in everybody)
    )
    case.expect(Counter(case.answers) == {202: MANY}, f"answers: {Counter(case.answers)}")
    await until(
        "a page is in the middle", case.received, lambda found: len(found) >= MANY // 4, RESTART_WITHIN_S
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
    # Through Twilio, or after its circuit opened through Termii: what counts is that nobody got it twice.
    await _expect_each_once(case)


async def sender_stopped(case: Case) -> None:
    to = case.phone()
    at = datetime.now(UTC) + timedelta(seconds=3)
    async with case.stage.ledger.acquire() as connection:
        lock = connection.transaction()
        await lock.start()
        try:
            id = await case.accepted("debit_alert", ["sms"], to={"sms": to}, send_at=at.isoformat())
            await connection.execute("SELECT FROM notifications WHERE id = $1 FOR UPDATE", UUID(id))
            us = connection.get_server_pid()
            await until(
                "the intent waits for our lock",
                lambda: case.stage.ledger.fetchval(_WAITING_FOR_US, us),
                lambda waiting: waiting > 0,
                PATIENCE_S,
            )
            async with _halted(case):
                await lock.rollback()
                await until(
                    "the intent is committed", lambda: _open(case, id), lambda n: n[0] == 1, PATIENCE_S
                )
                await until("its hold has passed", lambda: _open(case, id), lambda n: n[1] == 1, PATIENCE_S)
                case.expect(not await case.received(), "it was sent while its sender was stopped")
        finally:
            if connection.is_in_transaction():
                await lock.rollback()
    await case.becomes(id, "delivered")
    first, *_ = await case.api.attempts(id)
    refused = (first["outcome"], first["code"]) == ("not_sent", "hold_passed")
    looked_up = (first["outcome"], first["resolved_by"]) == ("not_sent", "lookup")
    case.expect(
        refused or looked_up, f"the stopped sender's attempt came to {first['outcome']} {first['code']}"
    )
    case.note("the stopped sender did not send")
    await case.expect_received(termii=1)


async def _submit_one_of_many(case: Case, n: int) -> None:
    if n % 2:
        await case.submit("statement", ["email"], to={"email": case.email(n)})
    else:
        await case.submit("debit_alert", ["sms"], to={"sms": case.phone(n)})


async def _expect_each_once(case: Case) -> None:
    received = Counter(message["to"].lstrip("+") for _, message in await case.received())
    case.expect(len(received) == MANY, f"{len(received)} recipients received something")
    twice = {to: count for to, count in received.items() if count > 1}
    case.expect(not twice, f"received more than once: {twice}")


async def _statuses(case: Case) -> Counter[str]:
    page = await case.api.get(f"/notifications?user_id={case.user()}&limit=200")
    return Counter(shown["status"] for shown in page["notifications"])


async def _open(case: Case, id: str) -> Sequence[int]:
    """How many attempts of a notification are open, and how many of those are past their hold."""
    row: Any = await case.stage.ledger.fetchrow(_OPEN_ATTEMPTS, UUID(id))
    return tuple(row)


async def _described_pid(case: Case) -> int | None:
    return case.stack.description["pids"]["worker"]


def _pid(case: Case) -> int:
    pid = case.stack.description["pids"]["worker"]
    assert pid is not None, "the worker does not run"
    return pid


@asynccontextmanager
async def _halted(case: Case) -> AsyncGenerator[None]:
    """The worker stands still inside."""
    pid = _pid(case)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


WORKER_KILLED = Scenario(
    16,
    "the worker is killed after Twilio accepted, before that is recorded",
    "restarted, looked up: exactly one message",
    worker_killed,
    alone=True,
)
TEMPORAL_STOPPED = Scenario(
    17,
    f"Temporal is stopped while {MANY} are submitted",
    "all 202; all delivered when it returns, each once",
    temporal_stopped,
    alone=True,
)
SENDER_STOPPED = Scenario(
    18,
    "a sender is stopped between intent and call until its hold has passed",
    "it does not send: exactly one message",
    sender_stopped,
    alone=True,
)
PAGE_KILLED = Scenario(
    21,
    f"the worker is killed in the middle of a page of {MANY}",
    "restarted: all delivered, each once",
    page_killed,
    alone=True,
)
