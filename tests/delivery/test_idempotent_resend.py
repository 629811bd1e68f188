"""A provider with idempotency keys: an open attempt is repeated under the same key, and sent once."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from deliveries import delivery_over
from delivery_case import Case, StubbedProvider, Submitter, Worker, catalog
from keyed_vendor import KEY_LIFE_S, KeyedVendor, keyed_vendor
from watched_ledger import WatchedLedger

from domain.contracts import Action, PassResult
from domain.notification import Channel
from domain.sms_policy import SmsPolicy
from domain.status import Status
from storage.group import CommitUnknown, LedgerUnavailable
from storage.postgres import Pool


@pytest_asyncio.fixture
async def vendor(stubbed: dict[str, StubbedProvider]) -> AsyncIterator[KeyedVendor]:
    """The vendor with idempotency keys, in Twilio's place."""
    async with keyed_vendor() as (vendor, adapter):
        stubbed["twilio"] = StubbedProvider(adapter)
        yield vendor


async def _sent(
    submitter: Submitter, worker: Worker, vendor: KeyedVendor, *answers: int | str, type: str = "stop"
) -> tuple[Case, PassResult]:
    """A notification whose calls get these answers, and the result of its first pass."""
    case = await submitter.accept(type)
    vendor.answers += answers
    return case, await worker.run(case)


async def test_an_unanswered_call_is_repeated_and_sends_once(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    case, result = await _sent(submitter, make_worker(), vendor, "lost")
    assert result.status is Status.SENT
    assert [request == vendor.requests[0] for request in vendor.requests] == [True, True], "key and body"
    assert len(vendor.sent) == 1
    [attempt] = await case.attempts()
    assert (attempt["outcome"], attempt["resolved_by"]) == ("accepted", "response")
    assert attempt["provider_message_id"] == f"k-{vendor.requests[0][0]}"
    assert (await case.timeline())[-1] == "sent_again"


async def test_a_call_that_was_not_processed_is_sent_by_the_repeated_one(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    case, result = await _sent(submitter, make_worker(), vendor, "reset")
    assert (result.status, len(vendor.sent)) == (Status.SENT, 1)
    assert await case.outcomes() == [("twilio", "accepted")]


async def test_only_a_recipient_refusal_settles_the_first_call(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    """The key may not have been checked: no other provider is called, and the call is repeated later."""
    worker = make_worker()
    case, result = await _sent(submitter, worker, vendor, "lost", 429, 401, type="reconcile")
    assert (result.action, result.status, result.wait_s) == (Action.RETRY, Status.SENDING, 40)
    assert await case.outcomes() == [("twilio", None)]
    [attempt] = await case.attempts()
    assert attempt["code"] == "http_429"
    loaded = await case.load()
    due_at = delivery_over(loaded, Channel.SMS).due_at
    assert due_at
    assert (due_at - loaded.now).total_seconds() > 40, "it is not claimed before then"
    assert (await worker.run(case)).action is Action.RETRY
    assert (await worker.settle(case)).status is Status.SENT
    assert await case.outcomes() == [("twilio", "accepted")]
    assert (len(vendor.requests), len(vendor.sent)) == (4, 1)


async def test_a_recipient_refusal_closes_the_attempt(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    case, result = await _sent(submitter, make_worker(), vendor, "reset", 422)
    assert result.status is Status.UNDELIVERED
    assert await case.outcomes() == [("twilio", "rejected_recipient")]
    assert not vendor.sent


async def test_another_workers_attempt_is_repeated_only_after_its_deadline(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    first, second = make_worker(), make_worker()
    case, _ = await _sent(submitter, first, vendor, "lost", 429, type="reconcile")
    # As if a sender had died during its repeated call.
    await case.execute("UPDATE notification_attempts SET code = NULL WHERE notification_id = $1")
    before = len(vendor.requests)
    assert (await second.run(case)).action is Action.RETRY
    assert len(vendor.requests) == before
    await case.elapse(3600)
    await case.execute(
        "UPDATE notification_attempts SET intended_at = now() - interval '1 min' WHERE notification_id = $1"
    )
    assert (await second.run(case)).status is Status.SENT
    assert len(vendor.sent) == 1


async def test_no_repeat_once_the_key_may_be_forgotten(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    worker = make_worker()
    case, _ = await _sent(submitter, worker, vendor, "lost", 429)
    await case.execute(
        "UPDATE notification_attempts SET intended_at = intended_at - $2::interval"
        " WHERE notification_id = $1",
        timedelta(seconds=KEY_LIFE_S - 3),
    )
    before = len(vendor.requests)
    result = await worker.settle(case)
    assert (result.action, result.status) == (Action.PARKED, Status.OUTCOME_UNKNOWN)
    assert len(vendor.requests) == before


async def test_no_repeat_to_another_address(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    worker = make_worker()
    case, _ = await _sent(submitter, worker, vendor, "lost", 429)
    await case.execute(
        "UPDATE notification_contents SET to_sms = '+2348099999999' WHERE notification_id = $1"
    )
    before = len(vendor.requests)
    assert (await worker.settle(case)).status is Status.OUTCOME_UNKNOWN
    assert len(vendor.requests) == before


async def test_no_repeat_after_an_opt_out_or_suppression(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    for withdraw in (submitter.opt_out, lambda case: submitter.suppress(case.to)):
        worker = make_worker()
        case, _ = await _sent(submitter, worker, vendor, "reset", 429)
        await withdraw(case)
        before = len(vendor.requests)
        assert (await worker.settle(case)).status is Status.OUTCOME_UNKNOWN
        assert len(vendor.requests) == before
    assert not vendor.sent


async def test_the_ledger_refuses_a_repeat_after_a_late_suppression(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    worker = make_worker()
    case, _ = await _sent(submitter, worker, vendor, "reset", 429)
    renew, before = worker.ledger.renew, len(vendor.requests)

    async def after_withdrawal(renewal):
        await submitter.suppress(case.to)
        return await renew(renewal)

    worker.ledger.renew = after_withdrawal
    assert (await worker.settle(case)).status is Status.OUTCOME_UNKNOWN
    assert len(vendor.requests) == before


async def test_a_repeated_call_is_recorded_like_a_first_one(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    worker = make_worker()
    case, result = await _sent(submitter, worker, vendor, "reset")
    assert result.status is Status.SENT
    [attempt] = await case.attempts()
    assert (attempt["latency_ms"] is not None, attempt["http_status"]) == (True, 200)
    metrics = worker.metrics.render().decode()
    assert 'herald_sms_segments_total{provider="twilio"} 1.0' in metrics
    assert 'herald_attempt_seconds_count{provider="twilio"} 2.0' in metrics


async def test_a_repeated_call_judges_the_address(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    case, result = await _sent(submitter, make_worker(), vendor, "reset", 422)
    assert result.status is Status.UNDELIVERED
    assert await submitter.is_suppressed(case.to)


async def test_a_repeated_call_is_closed_persistently(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    worker = make_worker()
    assert isinstance(worker.ledger, WatchedLedger)
    ledger = worker.ledger

    async def lose() -> None:
        raise CommitUnknown("lost")

    async def lose_the_next() -> None:
        ledger.before_close = lose

    # The first close notes the ambiguous answer; the second records the repeated call.
    ledger.after_close = lose_the_next
    case, result = await _sent(submitter, worker, vendor, "reset")
    assert result.status is Status.SENT
    assert (len(vendor.requests), len(vendor.sent)) == (2, 1)
    assert await case.outcomes() == [("twilio", "accepted")]


async def test_an_inconclusive_repeat_is_recorded_on_its_attempt(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    worker = make_worker()
    case, _ = await _sent(submitter, worker, vendor, "lost", 429)
    [attempt] = await case.attempts()
    assert (attempt["outcome"], attempt["http_status"], attempt["code"]) == (None, 429, "http_429")
    await case.execute("UPDATE notification_attempts SET latency_ms = NULL WHERE notification_id = $1")
    await case.elapse()
    vendor.answers.append(401)
    assert (await worker.run(case)).status is Status.OUTCOME_UNKNOWN, "the type gave it up"
    [attempt] = await case.attempts()
    assert (attempt["outcome"], attempt["resolved_by"]) == ("unknown", "policy")
    assert (attempt["http_status"], attempt["code"]) == (401, "http_401")
    assert attempt["latency_ms"] is not None


async def test_an_inconclusive_repeat_that_comes_too_late_is_kept(
    submitter: Submitter,
    vendor: KeyedVendor,
    make_worker: Callable[..., Worker],
    alerts: Callable[[], list[str]],
) -> None:
    worker = make_worker()
    assert isinstance(worker.ledger, WatchedLedger)
    ledger, case = worker.ledger, await submitter.accept("stop")

    async def resolve() -> None:
        await case.execute(
            "UPDATE notification_attempts SET outcome = 'not_sent', closed_at = now()"
            " WHERE notification_id = $1"
        )
        await case.execute(
            "UPDATE deliveries SET status = 'failed', due_at = NULL, version = version + 1"
            " WHERE notification_id = $1"
        )

    async def resolve_before_the_next() -> None:
        ledger.before_close = resolve

    # The first close records the ambiguous answer; the second would record the repeated call.
    ledger.after_close = resolve_before_the_next
    vendor.answers += ["lost", "lost"]
    assert (await worker.run(case)).status is Status.FAILED
    [attempt] = await case.attempts()
    assert (attempt["outcome"], attempt["late_outcome"]) == ("not_sent", "ambiguous")
    assert alerts() == ["late_outcome"]


class InterruptedPool:
    """A pool whose next `failures` statements find no database."""

    def __init__(self, pool: Pool, failures: int) -> None:
        self._pool = pool
        self._failures = failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def execute(self, *arguments: Any) -> str:
        if self._failures:
            self._failures -= 1
            raise ConnectionRefusedError("no database")
        return await self._pool.execute(*arguments)


async def test_a_verdict_on_an_address_is_recorded_persistently(
    submitter: Submitter,
    vendor: KeyedVendor,
    make_worker: Callable[..., Worker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("delivery.call.RECORD_WAITS_S", (0.0, 0.0))
    patient, unlucky = make_worker(), make_worker()
    patient.ledger.pool = InterruptedPool(patient.ledger.pool, failures=2)
    case, result = await _sent(submitter, patient, vendor, 422)
    assert result.status is Status.UNDELIVERED
    assert await submitter.is_suppressed(case.to)
    unlucky.ledger.pool = InterruptedPool(unlucky.ledger.pool, failures=3)
    with pytest.raises(LedgerUnavailable):
        await _sent(submitter, unlucky, vendor, 422)


async def test_no_repeat_to_a_country_that_is_not_allowed_any_more(
    submitter: Submitter, vendor: KeyedVendor, make_worker: Callable[..., Worker]
) -> None:
    case, _ = await _sent(submitter, make_worker(), vendor, "reset", 429)
    before = len(vendor.requests)
    strict = make_worker(catalog(sms=SmsPolicy(countries=("GH",))))
    assert (await strict.settle(case)).status is Status.OUTCOME_UNKNOWN
    assert len(vendor.requests) == before
