"""One pass: which provider is called, what follows from each answer, and what prevents a call."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from deliveries import delivery_over
from delivery_case import SCHEDULE_S, Case, StubbedProvider, Submitter, Worker, catalog, seconds_until
from phone_numbers import unused_number
from watched_ledger import WatchedLedger

from domain.contracts import Action
from domain.notification import Channel, Recipient, Strategy
from domain.notification_types import ProviderPolicy
from domain.outcome import Outcome, SendResult
from domain.reasons import Reason
from domain.status import Status
from domain.transition import Transition
from storage.records import DeliveryUpdate

Alerts = Callable[[], list[str]]
MakeWorker = Callable[..., Worker]


async def test_an_accepted_message_is_sent_once(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept()
    result = await worker.run(case)
    assert (result.action, result.status) == (Action.NOTHING, Status.SENT)
    [attempt] = await case.attempts()
    assert (attempt["provider"], attempt["outcome"]) == ("twilio", Outcome.ACCEPTED)
    assert attempt["selection"]["why"] == "first in the fallback order"
    assert await case.received("twilio") == [attempt["provider_message_id"]]
    assert (await worker.run(case)).action is Action.NOTHING
    assert len(await case.received()) == 1


async def test_a_receipt_is_awaited_if_the_type_says_so(submitter: Submitter, worker: Worker) -> None:
    held = await worker.run(await submitter.accept("must"))
    assert (held.action, held.keeps_workflow) == (Action.AWAIT_RECEIPT, True)
    assert 55 < held.wait_s <= 60
    in_the_ledger = await worker.run(await submitter.accept("stop"))
    assert (in_the_ledger.action, in_the_ledger.keeps_workflow) == (Action.AWAIT_RECEIPT, False)


@pytest.mark.parametrize("status", [429, 503, 401])
async def test_the_next_provider_is_called_after_a_refusal(
    submitter: Submitter, worker: Worker, status: int
) -> None:
    case = await submitter.accept()
    await submitter.fail(case, "twilio", status=status)
    assert (await worker.run(case)).status is Status.SENT
    [first, second] = await case.attempts()
    assert first["outcome"] == {429: "throttled", 503: "unavailable", 401: "rejected"}[status]
    assert (second["provider"], second["outcome"]) == ("termii", "accepted")
    assert second["selection"]["skipped"] == {"twilio": "tried_in_this_pass"}
    assert len(await case.received()) == 1


async def test_email_and_push_fail_over(submitter: Submitter, worker: Worker) -> None:
    address = f"{unused_number()[1:]}@example.com"
    mail = await submitter.accept(channels=(Channel.EMAIL,), to_email=address, title="News")
    await submitter.simulators.fault("sendgrid", "status", address, status=429)
    assert (await worker.run(mail, Channel.EMAIL)).status is Status.SENT
    assert await mail.outcomes() == [("sendgrid", "throttled"), ("mailgun", "accepted")]
    push = await submitter.accept(channels=(Channel.PUSH,), title="News")
    await submitter.add_device(push, f"unavailable-{unused_number()}", "ab" * 32)
    assert (await worker.run(push, Channel.PUSH)).status is Status.SENT
    assert await push.outcomes() == [("fcm", "unavailable"), ("apns", "accepted")]


async def test_a_refused_recipient_is_suppressed_and_ends_the_delivery(
    submitter: Submitter, worker: Worker
) -> None:
    case = await submitter.accept()
    await submitter.fail(case, "twilio", status=400, code=21610)
    result = await worker.run(case)
    assert (result.status, result.reason) == (Status.UNDELIVERED, Reason.RECIPIENT_REJECTED)
    assert await case.outcomes() == [("twilio", "rejected_recipient")]
    assert await submitter.is_suppressed(case.to)
    again = await submitter.accept(to=case.to)
    assert (await worker.run(again)).status is Status.SUPPRESSED
    assert await case.received() == await again.received() == []


async def test_a_dead_token_is_removed_and_the_next_device_tried(
    submitter: Submitter, worker: Worker
) -> None:
    case = await submitter.accept(channels=(Channel.PUSH,), title="News")
    dead, good = f"unregistered-{unused_number()}", f"good-{unused_number()}-token"
    await submitter.add_device(case, good, None, ago_s=100)
    await submitter.add_device(case, dead, None)
    assert (await worker.run(case, Channel.PUSH)).status is Status.SENT
    assert await case.outcomes() == [("fcm", "rejected_recipient"), ("fcm", "accepted")]
    [device] = (await case.load()).recipient.devices
    assert device.fcm_token == good


async def test_a_token_registered_again_is_kept(submitter: Submitter, worker: Worker) -> None:
    tokens = [f"{word}-{unused_number()}" for word in ("reinstalled", "unregistered")]
    cases = [await submitter.accept(channels=(Channel.PUSH,), title="News") for _ in tokens]
    for case, token in zip(cases, tokens, strict=True):
        await submitter.add_device(case, None, token)
        assert (await worker.run(case, Channel.PUSH)).status is Status.UNDELIVERED
    kept = [device.apns_token for case in cases for device in (await case.load()).recipient.devices]
    # Apple reports the first as dead since yesterday, but it was registered just now.
    assert kept == tokens[:1]


async def test_undelivered_if_every_device_is_dead(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept(channels=(Channel.PUSH,), title="News")
    await submitter.add_device(case, f"unregistered-{unused_number()}", None)
    result = await worker.run(case, Channel.PUSH)
    assert (result.action, result.status) == (Action.NOTHING, Status.UNDELIVERED)


async def test_passes_follow_the_schedule_then_dead_letter_with_an_alert(
    submitter: Submitter, worker: Worker, alerts: Alerts
) -> None:
    case = await submitter.accept()
    await submitter.fail(case)
    for wait_s in SCHEDULE_S:
        result = await worker.run(case)
        delivery = await case.delivery()
        assert (result.action, delivery.reason_code) == (Action.RETRY, Reason.RETRY)
        last = max(attempt["closed_at"] for attempt in await case.attempts())
        assert wait_s - 0.05 <= (delivery.next_pass_at - last).total_seconds() <= wait_s * 1.1 + 1
        early = await worker.run(case)
        assert early.action is Action.RETRY
        assert len(await case.attempts()) == len(delivery.attempts), "no attempt before its time"
        await case.elapse()
    assert alerts() == []
    result = await worker.run(case)
    assert (result.action, result.status, result.keeps_workflow) == (
        Action.PARKED,
        Status.DEAD_LETTERED,
        True,
    )
    assert alerts() == [Status.DEAD_LETTERED]
    assert len(await case.attempts()) == 2 * (1 + len(SCHEDULE_S))
    assert await case.received() == []


async def test_the_retry_wait_starts_at_the_failure(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept("alone")
    await submitter.simulators.fault("twilio", "latency", case.to, latency_s=0.6)
    await submitter.fail(case, "twilio")
    await worker.run(case)
    [attempt] = await case.attempts()
    next_pass_at = (await case.delivery()).next_pass_at
    assert next_pass_at >= attempt["closed_at"] + timedelta(seconds=SCHEDULE_S[0] - 0.1)


async def test_retry_after_of_the_only_provider_delays_the_next_pass(
    submitter: Submitter, worker: Worker
) -> None:
    case = await submitter.accept("alone")
    await submitter.fail(case, "twilio", status=429, retry_after_s=100)
    assert (await worker.run(case)).action is Action.RETRY
    loaded = await case.load()
    assert 95 < seconds_until(loaded, delivery_over(loaded, Channel.SMS).next_pass_at) <= 101


async def test_retry_after_blocks_the_provider_for_other_deliveries(
    submitter: Submitter, worker: Worker
) -> None:
    case, other = await submitter.accept(), await submitter.accept()
    await submitter.fail(case, "twilio", status=429, retry_after_s=100)
    assert (await worker.run(case)).status is Status.SENT
    assert (await worker.run(other)).status is Status.SENT
    [attempt] = await other.attempts()
    assert attempt["provider"] == "termii"
    assert attempt["selection"]["skipped"] == {"twilio": "retry_after"}


async def test_open_circuits_use_no_pass_and_are_probed_later(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    policy = ProviderPolicy(timeout_s=5, circuit_failures=1, circuit_open_s=0.3)
    worker = make_worker(catalog(every=policy))
    broken, case = await submitter.accept(), await submitter.accept()
    await submitter.fail(broken)
    await worker.run(broken)
    result = await worker.run(case)
    delivery = await case.delivery()
    assert (result.action, delivery.status, delivery.reason_code) == (
        Action.NOTHING,
        Status.DEFERRED,
        Reason.PROVIDER_DOWN,
    )
    assert (delivery.pass_number, delivery.attempts) == (0, ())
    while worker.health.route(Channel.SMS, catalog().types["news"], Recipient()).blocked:
        await case.elapse(0.1)
    await case.elapse()
    assert (await worker.run(case)).status is Status.SENT
    assert await case.outcomes() == [("twilio", "accepted")]


async def test_a_drained_provider_is_not_called(submitter: Submitter, worker: Worker) -> None:
    worker.health.drain(frozenset({"twilio"}))
    case = await submitter.accept()
    await worker.run(case)
    [attempt] = await case.attempts()
    assert (attempt["provider"], attempt["selection"]["skipped"]) == ("termii", {"twilio": "drained"})
    worker.health.drain(frozenset({"twilio", "termii"}))
    waiting = await submitter.accept()
    assert (await worker.run(waiting)).reason == Reason.PROVIDER_DOWN
    assert await waiting.attempts() == []


async def test_a_provider_at_its_rate_is_skipped_or_waited_for_if_alone(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    worker = make_worker(catalog(every=ProviderPolicy(timeout_s=5, rate_per_s=0.001)))
    first, second, third = [await submitter.accept() for _ in range(3)]
    for case in (first, second):
        assert (await worker.run(case)).status is Status.SENT
    [attempt] = await second.attempts()
    assert (attempt["provider"], attempt["selection"]["skipped"]) == ("termii", {"twilio": "rate"})
    assert (await worker.run(third)).reason == Reason.PROVIDER_DOWN
    loaded = await third.load()
    assert seconds_until(loaded, delivery_over(loaded, Channel.SMS).next_pass_at) <= 1
    assert await third.attempts() == []


async def test_an_expired_delivery_is_not_sent(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept(expires_s=1)
    await case.execute("UPDATE deliveries SET expires_at = now() WHERE notification_id = $1")
    assert (await worker.run(case)).status is Status.EXPIRED
    assert await case.attempts() == []


async def test_a_cancel_before_the_intent_sends_nothing(
    submitter: Submitter, worker: Worker, watched: WatchedLedger
) -> None:
    case = await submitter.accept()

    async def cancel() -> None:
        delivery = await case.delivery()
        cancelled = Transition(Status.CANCELLED, None, Reason.CANCELLED_BY_CLIENT)
        assert await submitter.ledger.update(
            DeliveryUpdate(case.id, delivery.id, delivery.version, cancelled)
        )

    watched.before_intent = cancel
    assert (await worker.run(case)).status is Status.CANCELLED
    assert await case.attempts() == []
    assert await case.received() == []


@pytest.mark.parametrize("how", ["opted_out", "suppressed_address"])
async def test_an_opt_out_or_suppression_before_the_intent_sends_nothing(
    submitter: Submitter, worker: Worker, watched: WatchedLedger, how: str
) -> None:
    case = await submitter.accept()
    watched.before_intent = lambda: (
        submitter.opt_out(case) if how == "opted_out" else submitter.suppress(case.to)
    )
    result = await worker.run(case)
    assert (result.status, result.reason) == (Status.SUPPRESSED, how)
    assert await case.attempts() == []
    assert await case.received() == []


async def test_a_required_type_ignores_an_opt_out(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept("must")
    await submitter.opt_out(case)
    assert (await worker.run(case)).status is Status.SENT


async def test_an_opt_out_before_a_retry_is_respected(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept()
    await submitter.fail(case)
    await worker.run(case)
    await submitter.opt_out(case)
    await submitter.heal(case)
    await case.elapse()
    assert (await worker.run(case)).status is Status.SUPPRESSED
    assert await case.received() == []


async def test_a_duplicate_provider_message_id_is_not_kept(
    submitter: Submitter, worker: Worker, stubbed: dict[str, StubbedProvider], alerts: Alerts
) -> None:
    first, second = await submitter.accept(), await submitter.accept()
    same = f"SM{unused_number()[1:]:0>32}"
    stubbed["twilio"].answers = SendResult(Outcome.ACCEPTED, provider_message_id=same)
    assert (await worker.run(first)).status is Status.SENT
    assert (await worker.run(second)).status is Status.SENT
    [attempt] = await second.attempts()
    assert (attempt["provider_message_id"], attempt["code"]) == (None, "duplicate_message_id")
    assert alerts() == ["duplicate_provider_message"]


async def test_a_channel_without_providers_starts_the_next_channel(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    worker = make_worker()
    for name in ("fcm", "apns"):
        del worker.providers[name]  # pyright: ignore[reportIndexIssue] (the test's own dict)
    case = await submitter.accept(channels=(Channel.PUSH, Channel.SMS), strategy=Strategy.FIRST)
    await submitter.add_device(case, f"token-{unused_number()}", None)
    result = await worker.run(case, Channel.PUSH)
    assert (result.status, result.reason, result.replan) == (Status.FAILED, Reason.NO_PROVIDER, True)
    assert (await case.delivery(Channel.SMS)).status is Status.ACCEPTED


async def test_push_without_devices_fails(submitter: Submitter, worker: Worker) -> None:
    case: Case = await submitter.accept(channels=(Channel.PUSH,))
    assert (await worker.run(case, Channel.PUSH)).reason == Reason.NO_CONTACT


async def test_a_provider_that_became_usable_during_a_call_is_called_in_the_same_pass(
    submitter: Submitter, worker: Worker, watched: WatchedLedger
) -> None:
    worker.health.drain(frozenset({"twilio"}))
    case = await submitter.accept()
    await submitter.fail(case, "termii")

    async def back() -> None:
        worker.health.drain(frozenset())

    watched.after_intent = back
    assert (await worker.run(case)).status is Status.SENT
    assert await case.outcomes() == [("termii", "unavailable"), ("twilio", "accepted")]
    assert (await case.delivery()).pass_number == 0
