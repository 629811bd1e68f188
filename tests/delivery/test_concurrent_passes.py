"""Concurrent, paused and crashing senders: one message, and an attempt for every message (I2, I3)."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import asyncpg
import pytest
from delivery_case import ALONE, Case, StubbedProvider, Submitter, Worker, catalog, crash_at
from waiting import until, until_blocked
from watched_ledger import WatchedLedger

from domain.contracts import Action
from domain.ids import attempt_ref
from domain.notification import Channel, Recipient
from domain.notification_types import NotificationType, OnUnknown, ProviderPolicy
from domain.outcome import Receipt, ReceiptStatus
from domain.status import Status
from storage.group import CommitUnknown, LedgerError, QueueFull
from storage.postgres import Pool
from storage.receipts import Receipts

Alerts = Callable[[], list[str]]
MakeWorker = Callable[..., Worker]

SHORT_S = 0.6
HASTY = catalog(
    {"alone": NotificationType(routes=ALONE, retry_s=(30, 30), on_unknown=OnUnknown.STOP)},
    ProviderPolicy(timeout_s=SHORT_S, visibility_delay_s=1),
)
"""Senders with a short budget."""


async def _past(started: float, seconds: float) -> None:
    """Wait until `seconds` after `started`, on the monotonic clock."""
    await asyncio.sleep(max(0.0, started + seconds - time.monotonic()) + 0.01)


async def test_one_of_ten_concurrent_passes_sends(submitter: Submitter, make_worker: MakeWorker) -> None:
    workers = [make_worker(), make_worker()]
    for _ in range(3):
        case = await submitter.accept()
        results = await asyncio.gather(*(workers[n % 2].run(case) for n in range(10)))
        assert len(await case.received()) == 1
        assert await case.outcomes() == [("twilio", "accepted")]
        assert {result.action for result in results} <= {Action.NOTHING, Action.RETRY}
        assert (await workers[0].settle(case)).status is Status.SENT
        assert len(await case.received()) == 1


async def test_no_send_once_a_lock_has_used_up_the_budget(
    submitter: Submitter, make_worker: MakeWorker, pool: Pool, database: str
) -> None:
    worker, case = make_worker(HASTY), await submitter.accept("alone")
    holder = await asyncpg.connect(database)
    try:
        async with holder.transaction():
            await holder.execute("SELECT FROM notifications WHERE id = $1 FOR UPDATE", case.id)
            started = time.monotonic()
            running = asyncio.create_task(worker.run(case))
            await until_blocked(pool, holder)
            await _past(started, SHORT_S)
        result = await running
    finally:
        await holder.close()
    assert result.action is Action.RETRY
    [attempt] = await case.attempts()
    assert (attempt["outcome"], attempt["code"]) == ("not_sent", "send_deadline_passed")
    assert await case.received() == []
    assert worker.health.route(Channel.SMS, HASTY.types["alone"], Recipient()).blocked == {}
    await case.elapse()
    assert (await worker.run(case)).status is Status.SENT
    assert len(await case.received()) == 1


async def test_a_sender_paused_after_its_intent_does_not_send_late(
    submitter: Submitter, make_worker: MakeWorker, alerts: Alerts, stubbed: dict[str, StubbedProvider]
) -> None:
    stopped, other, case = make_worker(HASTY), make_worker(HASTY), await submitter.accept("alone")
    assert isinstance(stopped.ledger, WatchedLedger)
    go_on, started = asyncio.Event(), time.monotonic()
    stopped.ledger.after_intent = go_on.wait
    running = asyncio.create_task(stopped.run(case))
    await until(case.attempts)
    assert (await other.run(case)).action is Action.RETRY, "its deadline has not passed"
    assert stubbed["twilio"].lookups == 0, "until then the attempt belongs to its sender"
    await case.elapse()
    assert (await other.settle(case)).status is Status.SENT
    await _past(started, SHORT_S)
    go_on.set()
    await running
    assert await case.outcomes() == [("twilio", "not_sent"), ("twilio", "accepted")]
    assert len(await case.received()) == 1
    assert alerts() == []


async def test_a_late_outcome_is_kept_and_alerts(
    submitter: Submitter,
    worker: Worker,
    make_worker: MakeWorker,
    alerts: Alerts,
    stubbed: dict[str, StubbedProvider],
) -> None:
    case = await submitter.accept()
    await submitter.simulators.fault("twilio", "latency", case.to, latency_s=0.8, times=1)
    running = asyncio.create_task(worker.run(case))
    await until(case.attempts)
    stubbed["twilio"].finds = []
    await case.elapse()
    assert (await make_worker().settle(case)).status is Status.SENT
    await running
    [first, second] = await case.attempts()
    assert (first["outcome"], first["late_outcome"]) == ("not_sent", "accepted")
    assert (second["provider"], second["outcome"]) == ("termii", "accepted")
    assert alerts() == ["late_outcome"]
    assert await case.is_proven()


async def test_a_callback_before_the_sender_records_its_outcome_raises_no_alert(
    submitter: Submitter, make_worker: MakeWorker, receipts: Receipts, alerts: Alerts
) -> None:
    worker, case = make_worker(HASTY), await submitter.accept("stop")
    assert isinstance(worker.ledger, WatchedLedger)
    await submitter.simulators.fault("twilio", "accept_then_close", case.to, times=1)

    async def report() -> None:
        ref = attempt_ref((await case.delivery()).id, 1)
        [id] = await case.received()
        receipt = Receipt(f"{id}:sent", ReceiptStatus.SENT, provider_message_id=id, attempt_ref=ref)
        await receipts.store("twilio", [receipt])
        await receipts.apply_due(100)

    worker.ledger.before_close = report
    result = await worker.run(case)
    assert (result.action, result.status) == (Action.AWAIT_RECEIPT, Status.SENT)
    assert await case.outcomes() == [("twilio", "accepted")]
    assert alerts() == []


@pytest.mark.parametrize("kind", ["terminated", "commit_unknown", "committed_unknown", "queue_full"])
async def test_a_lost_connection_loses_no_outcome(
    submitter: Submitter, worker: Worker, watched: WatchedLedger, database: str, alerts: Alerts, kind: str
) -> None:
    case = await submitter.accept()

    async def terminate() -> None:
        connection = await asyncpg.connect(database)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'herald'"
        )
        await connection.close()

    async def fail() -> None:
        raise QueueFull("full") if kind == "queue_full" else CommitUnknown("lost")

    if kind == "terminated":
        watched.before_close = terminate
    elif kind == "committed_unknown":
        watched.after_close = fail
    else:
        watched.before_close = fail
    with suppress(LedgerError):
        await worker.run(case)
    assert await case.outcomes() == [("twilio", "accepted")]
    assert len(await case.received()) == 1
    assert (await case.delivery()).status is Status.SENT
    assert await case.is_proven()
    assert alerts() == []


async def test_an_intent_that_may_be_uncommitted_is_not_sent(
    submitter: Submitter, worker: Worker, watched: WatchedLedger
) -> None:
    case = await submitter.accept()

    async def lose() -> None:
        raise CommitUnknown("lost at COMMIT")

    watched.after_intent = lose
    with pytest.raises(LedgerError):
        await worker.run(case)
    assert await case.received() == []
    assert (await worker.settle(case)).status is Status.SENT
    assert await case.outcomes() == [("twilio", "not_sent"), ("termii", "accepted")]
    assert len(await case.received()) == 1


async def _survives(case: Case, crashing: Worker, healthy: Worker, suspension: int, done: bool) -> bool:
    """Crash a pass at a suspension point; the next pass must deliver exactly one message, and know its id."""
    delivery = await case.delivery()
    crashed = await crash_at(crashing.passes.run(case.id, delivery.id), suspension, done=done)
    await case.elapse()
    assert (await healthy.settle(case)).status is Status.SENT, suspension
    assert len(await case.received()) == 1, f"crashed at suspension point {suspension}"
    assert await case.is_proven()
    return crashed


@pytest.mark.parametrize("done", [False, True])
async def test_a_crash_at_any_point_leaves_one_message_and_its_attempt(
    submitter: Submitter, make_worker: MakeWorker, done: bool
) -> None:
    crashing, healthy = make_worker(), make_worker()
    suspension = 0
    while await _survives(await submitter.accept("stop"), crashing, healthy, suspension, done):
        suspension += 1
    assert suspension >= 4, "reading, intent, call, outcome"


@pytest.mark.parametrize("done", [False, True])
async def test_a_crash_at_any_point_of_a_failover_leaves_one_message(
    submitter: Submitter, make_worker: MakeWorker, done: bool
) -> None:
    crashing, healthy = make_worker(), make_worker()
    suspension = 0
    while True:
        case = await submitter.accept("stop")
        await submitter.simulators.fault("twilio", "status", case.to, status=503)
        if not await _survives(case, crashing, healthy, suspension, done):
            break
        suspension += 1
    assert suspension >= 8, "two of everything"
