"""Ambiguous sends: resolved before anything else is sent, and decided by the type if that fails."""

from collections.abc import Callable

import pytest
from deliveries import delivery_over
from delivery_case import Case, StubbedProvider, Submitter, Worker

from domain.contracts import Action, PassResult
from domain.notification import Channel
from domain.outcome import Match, Outcome, Receipt, ReceiptStatus, SendResult
from domain.reasons import Reason
from domain.status import Status
from providers.base import LookupFailed

Alerts = Callable[[], list[str]]

AMBIGUOUS = SendResult(Outcome.AMBIGUOUS, code="timeout")
AWAY = LookupFailed("the vendor's list does not answer")


async def _ambiguous(submitter: Submitter, worker: Worker, type: str, kind: str) -> tuple[Case, PassResult]:
    """A send with this fault, and the result of its pass."""
    case = await submitter.accept(type)
    await submitter.simulators.fault("twilio", kind, case.to, times=1)
    return case, await worker.run(case)


async def test_a_found_message_is_matched_at_once(submitter: Submitter, worker: Worker) -> None:
    case, result = await _ambiguous(submitter, worker, "stop", "accept_then_close")
    assert result.status is Status.SENT
    [attempt] = await case.attempts()
    assert (attempt["outcome"], attempt["resolved_by"]) == ("accepted", "lookup")
    assert await case.received() == [attempt["provider_message_id"]]
    assert "message_matched" in await case.timeline()


async def test_a_certain_match_settles_an_email(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept(channels=(Channel.EMAIL,), to_email="certain@example.com", title="News")
    await submitter.simulators.fault("mailgun", "accept_then_close", "certain@example.com", times=1)
    worker.health.drain(frozenset({"sendgrid"}))
    result = await worker.settle(case, Channel.EMAIL)
    assert result.status is Status.SENT
    assert await case.outcomes() == [("mailgun", "accepted")]
    assert len(await case.received("sendgrid", "mailgun")) == 1


@pytest.mark.parametrize("type", ["reconcile", "failover", "stop"])
async def test_not_found_counts_only_after_the_visibility_delay(
    submitter: Submitter, worker: Worker, type: str
) -> None:
    case, early = await _ambiguous(submitter, worker, type, "reset")
    assert (early.action, early.status) == (Action.RETRY, Status.SENDING)
    assert await case.outcomes() == [("twilio", None)], "nothing else is sent before it is known"
    assert (await worker.settle(case)).status is Status.SENT
    assert await case.outcomes() == [("twilio", "not_sent"), ("termii", "accepted")]
    assert len(await case.received()) == 1


async def test_a_match_of_another_attempt_is_not_claimed(
    submitter: Submitter, worker: Worker, stubbed: dict[str, StubbedProvider]
) -> None:
    first = await submitter.accept("stop")
    await worker.run(first)
    second = await submitter.accept("stop", to=first.to, body=first.text)
    await submitter.simulators.fault("twilio", "reset", second.to, times=1)
    assert (await worker.run(second)).action is Action.RETRY
    assert stubbed["twilio"].lookups > 0
    assert (await worker.settle(second)).status is Status.SENT
    assert [outcome for _, outcome in await second.outcomes()] == ["not_sent", "accepted"]
    assert len(await second.received()) == 2
    assert len({a["provider_message_id"] for c in (first, second) for a in await c.attempts()}) == 3


async def test_two_matches_are_indistinguishable(
    submitter: Submitter, worker: Worker, stubbed: dict[str, StubbedProvider]
) -> None:
    stubbed["twilio"].finds = [Match(f"SM{n:032}", certain=False) for n in (1, 2)]
    case, _ = await _ambiguous(submitter, worker, "stop", "reset")
    result = await worker.settle(case)
    assert (result.action, result.status) == (Action.PARKED, Status.OUTCOME_UNKNOWN)


async def test_two_open_attempts_are_indistinguishable(submitter: Submitter, worker: Worker) -> None:
    first = await submitter.accept("stop")
    second = await submitter.accept("stop", to=first.to, body=first.text)
    for case in (first, second):
        await submitter.simulators.fault("twilio", "black_hole", case.to, times=1)
    await submitter.simulators.fault("twilio", "status", first.to, operation="lookup", status=500, times=100)
    for case in (first, second):
        delivery = await case.delivery()
        # Intents of dead senders: their outcomes are never recorded.
        await case.execute(
            "UPDATE deliveries SET status = 'sending', attempts_made = 1, version = version + 1"
            " WHERE notification_id = $1"
        )
        await case.execute(
            "INSERT INTO notification_attempts (delivery_id, number, accepted_at, notification_id, channel,"
            " provider, pass_number, target_masked, selection, match_key, intended_at, send_deadline)"
            " SELECT $2, 1, accepted_at, id, 'sms', 'twilio', 0, 'x', '{}', $3, now(), now() - interval '1 h'"
            " FROM notifications WHERE id = $1",
            *(delivery.id, f"key of {submitter.text}"),
        )
    await submitter.heal(first)
    result = await worker.settle(first)
    assert (result.action, result.status) == (Action.PARKED, Status.OUTCOME_UNKNOWN)
    # The other one is the only open attempt now, and its provider has no message.
    assert (await worker.settle(second)).status is Status.SENT
    assert len(await first.received()) == 1


async def test_reconcile_asks_until_the_expiry_and_then_parks(
    submitter: Submitter, worker: Worker, stubbed: dict[str, StubbedProvider], alerts: Alerts
) -> None:
    stubbed["twilio"].finds = AWAY
    case, _ = await _ambiguous(submitter, worker, "reconcile", "reset")
    for _ in range(4):
        await case.elapse()
        result = await worker.run(case)
        assert (result.action, result.status) == (Action.RETRY, Status.SENDING)
        loaded = await case.load()
        delivery = delivery_over(loaded, Channel.SMS)
        assert delivery.due_at
        assert (delivery.due_at - loaded.now).total_seconds() > result.wait_s, "it is not claimed before then"
    assert await case.outcomes() == [("twilio", None)]
    await case.execute("UPDATE deliveries SET expires_at = now() WHERE notification_id = $1")
    result = await worker.settle(case)
    assert (result.action, result.status) == (Action.PARKED, Status.OUTCOME_UNKNOWN)
    assert alerts() == [Status.OUTCOME_UNKNOWN]
    assert await case.outcomes() == [("twilio", "unknown")]
    assert await case.received() == []


async def test_failover_sends_again_if_the_outcome_stays_unknown(
    submitter: Submitter, worker: Worker, stubbed: dict[str, StubbedProvider]
) -> None:
    stubbed["twilio"].finds = AWAY
    case, _ = await _ambiguous(submitter, worker, "failover", "accept_then_close")
    assert (await worker.settle(case)).status is Status.SENT
    assert await case.outcomes() == [("twilio", "unknown"), ("termii", "accepted")]
    assert [attempt["resolved_by"] for attempt in await case.attempts()] == ["policy", "response"]
    assert len(await case.received()) == 2


async def test_stop_parks_if_the_outcome_stays_unknown(
    submitter: Submitter, worker: Worker, stubbed: dict[str, StubbedProvider], alerts: Alerts
) -> None:
    stubbed["twilio"].finds = AWAY
    case, _ = await _ambiguous(submitter, worker, "stop", "accept_then_close")
    result = await worker.settle(case)
    assert (result.action, result.status, result.reason) == (
        Action.PARKED,
        Status.OUTCOME_UNKNOWN,
        Reason.OUTCOME_UNKNOWN,
    )
    assert alerts() == [Status.OUTCOME_UNKNOWN]
    assert len(await case.received()) == 1


@pytest.mark.parametrize(
    ("type", "status"),
    [
        ("failover", Status.SENT),
        ("stop", Status.OUTCOME_UNKNOWN),
        # There is no way to ask, and no receipt will come: there is nothing to wait for.
        ("reconcile", Status.OUTCOME_UNKNOWN),
    ],
)
async def test_without_a_lookup_the_type_decides(
    submitter: Submitter, worker: Worker, stubbed: dict[str, StubbedProvider], type: str, status: Status
) -> None:
    case = await submitter.accept(type, channels=(Channel.PUSH,), title="News")
    await submitter.add_device(case, f"token {submitter.text}", "cd" * 32)
    stubbed["fcm"].answers = AMBIGUOUS
    early = await worker.run(case, Channel.PUSH)
    assert (early.action, await case.outcomes()) == (Action.RETRY, [("fcm", None)])
    assert (await worker.settle(case, Channel.PUSH)).status is status


async def test_a_last_attempt_found_unsent_is_dead_lettered_with_an_alert(
    submitter: Submitter, worker: Worker, alerts: Alerts
) -> None:
    case = await submitter.accept("alone")
    await submitter.simulators.fault("twilio", "reset", case.to)
    result = await worker.settle(case)
    assert (result.action, result.status) == (Action.PARKED, Status.DEAD_LETTERED)
    assert alerts() == [Status.DEAD_LETTERED]
    assert {outcome for _, outcome in await case.outcomes()} == {"not_sent"}


async def test_a_message_found_undelivered_fails_over(
    submitter: Submitter, worker: Worker, stubbed: dict[str, StubbedProvider]
) -> None:
    id = "SM" + submitter.text[-8:].rjust(32, "0")
    failed = Receipt(f"{id}:undelivered", ReceiptStatus.UNDELIVERED, provider_message_id=id, code="30008")
    stubbed["twilio"].finds = [Match(id, certain=False, receipt=failed)]
    case, result = await _ambiguous(submitter, worker, "stop", "reset")
    assert result.status is Status.SENT
    assert await case.outcomes() == [("twilio", "accepted"), ("termii", "accepted")]
