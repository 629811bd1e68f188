"""An ambiguous send: asked about before anything else is sent, and decided by the type when nobody knows."""

from collections.abc import Callable

import pytest
from pass_case import Case, Desk, Dressed, Worker

from domain.notification import Channel
from domain.outcome import Outcome, Receipt, ReceiptStatus, SendResult
from domain.reasons import Reason
from domain.status import Status
from domain.steps import Action, PassResult
from providers.base import LookupFailed, Match

Alerts = Callable[[], list[str]]

AMBIGUOUS = SendResult(Outcome.AMBIGUOUS, code="timeout")
AWAY = LookupFailed("the vendor's list does not answer")


async def _ambiguous(desk: Desk, worker: Worker, type: str, kind: str) -> tuple[Case, PassResult]:
    """A send that was struck so, and the pass in which it was."""
    case = await desk.accept(type)
    await desk.simulators.fault("twilio", kind, case.to, times=1)
    return case, await worker.run(case)


async def test_a_processed_message_is_found_and_adopted_at_once(desk: Desk, worker: Worker) -> None:
    case, result = await _ambiguous(desk, worker, "stop", "accept_then_close")
    assert result.state is Status.SENT
    [attempt] = await case.attempts()
    assert (attempt["outcome"], attempt["resolved_by"]) == ("accepted", "lookup")
    assert await case.received() == [attempt["provider_message_id"]]
    assert "adopted" in await case.timeline()


async def test_a_certain_message_is_adopted_for_email(desk: Desk, worker: Worker) -> None:
    case = await desk.accept(channels=(Channel.EMAIL,), to_email="certain@example.com", title="News")
    await desk.simulators.fault("mailgun", "accept_then_close", "certain@example.com", times=1)
    worker.health.drain(frozenset({"sendgrid"}))
    result = await worker.settle(case, Channel.EMAIL)
    assert result.state is Status.SENT
    assert await case.outcomes() == [("mailgun", "accepted")]
    assert len(await case.received("sendgrid", "mailgun")) == 1


@pytest.mark.parametrize("type", ["reconcile", "failover", "stop"])
async def test_not_found_counts_only_after_hold_and_settling(desk: Desk, worker: Worker, type: str) -> None:
    case, early = await _ambiguous(desk, worker, type, "reset")
    assert (early.action, early.state) == (Action.RETRY, Status.SENDING)
    assert await case.outcomes() == [("twilio", None)], "nothing else is sent before it is known"
    assert (await worker.settle(case)).state is Status.SENT
    assert await case.outcomes() == [("twilio", "not_sent"), ("termii", "accepted")]
    assert len(await case.received()) == 1


async def test_an_uncertain_find_that_is_anothers_is_not_adopted(
    desk: Desk, worker: Worker, dressed: dict[str, Dressed]
) -> None:
    first = await desk.accept("stop")
    await worker.run(first)
    second = await desk.accept("stop", to=first.to, body=first.text)
    await desk.simulators.fault("twilio", "reset", second.to, times=1)
    assert (await worker.run(second)).action is Action.RETRY
    assert dressed["twilio"].lookups > 0
    assert (await worker.settle(second)).state is Status.SENT
    assert [outcome for _, outcome in await second.outcomes()] == ["not_sent", "accepted"]
    assert len(await second.received()) == 2
    assert len({a["provider_message_id"] for c in (first, second) for a in await c.attempts()}) == 3


async def test_two_finds_cannot_be_told_apart(
    desk: Desk, worker: Worker, dressed: dict[str, Dressed]
) -> None:
    dressed["twilio"].finds = [Match(f"SM{n:032}", certain=False) for n in (1, 2)]
    case, _ = await _ambiguous(desk, worker, "stop", "reset")
    result = await worker.settle(case)
    assert (result.action, result.state) == (Action.PARKED, Status.OUTCOME_UNKNOWN)


async def test_two_open_twins_cannot_be_told_apart(desk: Desk, worker: Worker) -> None:
    first = await desk.accept("stop")
    second = await desk.accept("stop", to=first.to, body=first.text)
    for case in (first, second):
        await desk.simulators.fault("twilio", "black_hole", case.to, times=1)
    await desk.simulators.fault("twilio", "status", first.to, operation="lookup", status=500, times=100)
    for case in (first, second):
        delivery = await case.delivery()
        # Intents of senders that are gone: nobody will ever say what came of them.
        await case.execute(
            "UPDATE deliveries SET status = 'sending', attempts_made = 1, version = version + 1"
            " WHERE notification_id = $1"
        )
        await case.execute(
            "INSERT INTO notification_attempts (delivery_id, number, accepted_at, notification_id, channel,"
            " provider, pass_number, target_masked, selection, match_key, intended_at, send_deadline)"
            " SELECT $2, 1, accepted_at, id, 'sms', 'twilio', 0, 'x', '{}', $3, now(), now() - interval '1 h'"
            " FROM notifications WHERE id = $1",
            *(delivery.id, f"key of {desk.text}"),
        )
    await desk.heal(first)
    result = await worker.settle(first)
    assert (result.action, result.state) == (Action.PARKED, Status.OUTCOME_UNKNOWN)
    # The other one has no twin any more, and its provider knows of no message.
    assert (await worker.settle(second)).state is Status.SENT
    assert len(await first.received()) == 1


async def test_reconcile_keeps_asking_until_the_expiry_and_then_parks(
    desk: Desk, worker: Worker, dressed: dict[str, Dressed], alerts: Alerts
) -> None:
    dressed["twilio"].finds = AWAY
    case, _ = await _ambiguous(desk, worker, "reconcile", "reset")
    for _ in range(4):
        await case.elapse()
        result = await worker.run(case)
        assert (result.action, result.state) == (Action.RETRY, Status.SENDING)
        loaded = await case.load()
        delivery = loaded.delivery(Channel.SMS)
        assert delivery.due_at
        assert (delivery.due_at - loaded.now).total_seconds() > result.wait_s, "nobody claims it meanwhile"
    assert await case.outcomes() == [("twilio", None)]
    await case.execute("UPDATE deliveries SET expires_at = now() WHERE notification_id = $1")
    result = await worker.settle(case)
    assert (result.action, result.state) == (Action.PARKED, Status.OUTCOME_UNKNOWN)
    assert alerts() == [Status.OUTCOME_UNKNOWN]
    assert await case.outcomes() == [("twilio", "unknown")]
    assert await case.received() == []


async def test_failover_sends_again_when_nobody_knows(
    desk: Desk, worker: Worker, dressed: dict[str, Dressed]
) -> None:
    dressed["twilio"].finds = AWAY
    case, _ = await _ambiguous(desk, worker, "failover", "accept_then_close")
    assert (await worker.settle(case)).state is Status.SENT
    assert await case.outcomes() == [("twilio", "unknown"), ("termii", "accepted")]
    assert [attempt["resolved_by"] for attempt in await case.attempts()] == ["policy", "response"]
    assert len(await case.received()) == 2


async def test_stop_parks_when_nobody_knows(
    desk: Desk, worker: Worker, dressed: dict[str, Dressed], alerts: Alerts
) -> None:
    dressed["twilio"].finds = AWAY
    case, _ = await _ambiguous(desk, worker, "stop", "accept_then_close")
    result = await worker.settle(case)
    assert (result.action, result.state, result.reason) == (
        Action.PARKED,
        Status.OUTCOME_UNKNOWN,
        Reason.OUTCOME_UNKNOWN,
    )
    assert alerts() == [Status.OUTCOME_UNKNOWN]
    assert len(await case.received()) == 1


@pytest.mark.parametrize(
    ("type", "state"),
    [
        ("failover", Status.SENT),
        ("stop", Status.OUTCOME_UNKNOWN),
        # Nobody can be asked and no receipt will ever come: there is nothing to wait for.
        ("reconcile", Status.OUTCOME_UNKNOWN),
    ],
)
async def test_a_provider_that_cannot_be_asked_leaves_it_to_the_type(
    desk: Desk, worker: Worker, dressed: dict[str, Dressed], type: str, state: Status
) -> None:
    case = await desk.accept(type, channels=(Channel.PUSH,), title="News")
    await desk.add_device(case, f"token {desk.text}", "cd" * 32)
    dressed["fcm"].answers = AMBIGUOUS
    early = await worker.run(case, Channel.PUSH)
    assert (early.action, await case.outcomes()) == (Action.RETRY, [("fcm", None)])
    assert (await worker.settle(case, Channel.PUSH)).state is state


async def test_a_refuted_last_attempt_is_a_dead_letter_with_an_alert(
    desk: Desk, worker: Worker, alerts: Alerts
) -> None:
    case = await desk.accept("alone")
    await desk.simulators.fault("twilio", "reset", case.to)
    result = await worker.settle(case)
    assert (result.action, result.state) == (Action.PARKED, Status.DEAD_LETTERED)
    assert alerts() == [Status.DEAD_LETTERED]
    assert {outcome for _, outcome in await case.outcomes()} == {"not_sent"}


async def test_a_message_that_was_found_failed_is_sent_through_the_next_provider(
    desk: Desk, worker: Worker, dressed: dict[str, Dressed]
) -> None:
    id = "SM" + desk.text[-8:].rjust(32, "0")
    failed = Receipt(f"{id}:undelivered", ReceiptStatus.UNDELIVERED, provider_message_id=id, code="30008")
    dressed["twilio"].finds = [Match(id, certain=False, receipt=failed)]
    case, result = await _ambiguous(desk, worker, "stop", "reset")
    assert result.state is Status.SENT
    assert await case.outcomes() == [("twilio", "accepted"), ("termii", "accepted")]
