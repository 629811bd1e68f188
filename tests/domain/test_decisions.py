"""What a delivery comes to: never before its time, never more often than promised, and where it ends."""

from dataclasses import replace
from datetime import timedelta

import pytest
from decision_case import (
    DEVICES,
    FAILURES,
    NOW,
    PROVIDERS,
    attempt,
    attempt_lists,
    channels,
    delivery,
    notification,
    recipients,
    route,
    routes,
    rules,
    type_rules,
)
from hypothesis import given
from hypothesis import strategies as st

from domain import decisions
from domain.decisions import Rules
from domain.notification import Attempt, Channel, Delivery, Notification, Recipient, Strategy
from domain.outcome import Outcome, ReceiptStatus, SendResult
from domain.reasons import Reason
from domain.routing import Route, rank
from domain.status import FINAL, PARKED, SENDABLE, Status

JITTER = 0.5


def _first(case: Delivery, **changes: object) -> Notification:
    """A `strategy: first` notification with a channel that waits behind this one."""
    behind = delivery(Channel.EMAIL, position=1, state=Status.WAITING, due_at=None)
    return notification(case, behind, strategy=Strategy.FIRST, **changes)


@given(type_rules, st.lists(st.sampled_from(FAILURES), min_size=1), st.floats(0, 1), st.floats(60, 20_000))
def test_a_delivery_that_always_fails_keeps_its_schedule_and_then_parks(
    promised: Rules, outcomes: list[Outcome], jitter: float, lifetime_s: float
) -> None:
    order = PROVIDERS[:2]
    now, passes, starts = NOW, 0, [NOW]
    case = delivery(expires_at=NOW + timedelta(seconds=lifetime_s))
    after = None
    for turn in range(1000):
        said = outcomes[turn % len(outcomes)]
        chosen = rank(notification(case), case, route(order)).usable[0]
        closed = attempt(turn + 1, chosen.provider, said, pass_no=case.pass_no)
        case = replace(case, attempts=(*case.attempts, closed))
        seen = notification(case, now=now)
        after = decisions.after_refusal(seen, case, SendResult(said), promised, route(order), jitter)
        if after.state is Status.ACCEPTED:
            continue
        passes += 1
        if after.state in PARKED:
            break
        assert after.state is Status.DEFERRED
        assert after.next_pass_at is not None
        assert after.due_at is not None
        assert after.due_at > after.next_pass_at, "the retry is at it before the dispatcher comes"
        wait_s = promised.type.retry_s[passes - 1]
        latest = case.expires_at
        earliest = min(now + timedelta(seconds=wait_s), latest)
        spread = timedelta(seconds=wait_s * promised.type.retry_jitter)
        # A microsecond more where the sum is rounded once, and its parts down.
        last = now + timedelta(seconds=wait_s) + spread + timedelta(microseconds=1)
        assert earliest <= after.next_pass_at <= min(last, latest)
        now = after.next_pass_at
        starts.append(now)
        if now >= case.expires_at:
            return
        case = replace(case, pass_no=after.pass_no, next_pass_at=now, state=after.state)
    assert passes == len(starts) == len(promised.type.retry_s) + 1
    assert len(case.attempts) == passes * len(order)
    assert after
    assert (after.state, after.reason_code) == (Status.DEAD_LETTERED, Reason.PROVIDERS_EXHAUSTED)
    assert after.due_at == now + timedelta(seconds=promised.keep_parked_s)


@given(type_rules, channels, recipients, routes, attempt_lists, st.integers(0, 5), st.sampled_from(FAILURES))
def test_whatever_is_decided_comes_back_or_is_final(
    promised: Rules,
    channel: Channel,
    recipient: Recipient,
    route: Route,
    attempts: tuple[Attempt, ...],
    pass_no: int,
    said: Outcome,
) -> None:
    case = delivery(channel, attempts=attempts, pass_no=pass_no)
    for seen in (notification(case, recipient=recipient), _first(case, recipient=recipient)):
        for after in (
            decisions.after_refusal(seen, case, SendResult(said), promised, route, JITTER),
            decisions.after_failed_pass(seen, case, promised, JITTER),
            decisions.nowhere_left(seen, case, promised),
            decisions.provider_down(seen, case, rank(seen, case, route), 30),
        ):
            assert (after.due_at is None) == (after.state in FINAL)
            assert after.state in FINAL | PARKED | SENDABLE
            if seen.strategy is Strategy.FIRST:
                assert after.state not in PARKED, "the next channel's turn comes before an operator's"


@pytest.mark.parametrize(("schedule", "state"), [((30,), Status.DEFERRED), ((), Status.DEAD_LETTERED)])
def test_the_last_provider_ends_the_pass(schedule: tuple[float, ...], state: Status) -> None:
    closed = (attempt(1, "one", Outcome.UNAVAILABLE), attempt(2, "two", Outcome.THROTTLED))
    case = delivery(attempts=closed)
    seen, result = notification(case), SendResult(Outcome.THROTTLED)
    after = decisions.after_refusal(
        seen, case, result, rules(retry_s=schedule), route(("one", "two")), JITTER
    )
    assert after.state is state


def test_an_exhausted_schedule_gives_the_turn_to_the_next_channel() -> None:
    case = delivery()
    after = decisions.after_failed_pass(_first(case), case, rules(retry_s=()), JITTER)
    assert (after.state, after.reason_code) == (Status.UNDELIVERED, Reason.PROVIDERS_EXHAUSTED)


def test_what_a_provider_took_and_failed_is_undelivered_and_no_dead_letter() -> None:
    case = delivery(attempts=(attempt(1, "one", Outcome.ACCEPTED, receipt_status=ReceiptStatus.UNDELIVERED),))
    after = decisions.after_failed_pass(notification(case), case, rules(retry_s=()), JITTER)
    assert (after.state, after.reason_code) == (Status.UNDELIVERED, Reason.UNDELIVERED)


@pytest.mark.parametrize(("order", "wait_s"), [(("one",), 100), (("one", "two"), 30)])
def test_retry_after_moves_the_pass_only_of_the_only_provider(order: tuple[str, ...], wait_s: int) -> None:
    case = delivery(attempts=tuple(attempt(n, name, Outcome.THROTTLED) for n, name in enumerate(order, 1)))
    result = SendResult(Outcome.THROTTLED, retry_after_s=100)
    promised = rules(retry_s=(30,), retry_jitter=0)
    after = decisions.after_refusal(notification(case), case, result, promised, route(order), JITTER)
    assert after.next_pass_at == NOW + timedelta(seconds=wait_s)


def test_a_refused_recipient_ends_it_at_once() -> None:
    case = delivery(attempts=(attempt(1, "one", Outcome.REJECTED_RECIPIENT),))
    result = SendResult(Outcome.REJECTED_RECIPIENT, code="21211")
    after = decisions.after_refusal(notification(case), case, result, rules(), route(), JITTER)
    assert (after.state, after.reason_code) == (Status.UNDELIVERED, Reason.RECIPIENT_REJECTED)


def test_an_address_that_went_away_during_the_call_is_not_a_refused_one() -> None:
    case = delivery(attempts=(attempt(1, "one", Outcome.NOT_SENT),))
    seen = notification(case, recipient=Recipient())
    after = decisions.after_refusal(seen, case, SendResult(Outcome.NOT_SENT), rules(), route(), JITTER)
    assert (after.state, after.reason_code) == (Status.FAILED, Reason.NO_CONTACT)


@pytest.mark.parametrize(
    ("channel", "recipient", "attempts", "state", "reason"),
    [
        (Channel.SMS, Recipient(), (), Status.FAILED, Reason.NO_CONTACT),
        (Channel.SMS, Recipient(sms="+1"), (), Status.DEAD_LETTERED, Reason.NO_PROVIDER),
        (
            Channel.PUSH,
            Recipient(devices=DEVICES),
            (attempt(1, "one", Outcome.REJECTED_RECIPIENT, device_id="d1"),),
            Status.UNDELIVERED,
            Reason.NO_DEVICE,
        ),
        (
            Channel.SMS,
            Recipient(sms="+1"),
            (attempt(1, "one", Outcome.ACCEPTED),),
            Status.UNDELIVERED,
            Reason.NO_RECEIPT,
        ),
        (
            Channel.SMS,
            Recipient(sms="+1"),
            (attempt(1, "one", Outcome.ACCEPTED, receipt_status=ReceiptStatus.UNDELIVERED),),
            Status.UNDELIVERED,
            Reason.UNDELIVERED,
        ),
    ],
)
def test_why_nobody_is_left(
    channel: Channel,
    recipient: Recipient,
    attempts: tuple[Attempt, ...],
    state: Status,
    reason: Reason,
) -> None:
    case = delivery(channel, attempts=attempts)
    after = decisions.nowhere_left(notification(case, recipient=recipient), case, rules())
    assert (after.state, after.reason_code) == (state, reason)


@pytest.mark.parametrize(
    ("deadline_s", "has_receipts", "due"),
    [(None, True, None), (60, False, None), (60, True, NOW + timedelta(seconds=60))],
)
def test_a_receipt_is_expected_only_where_one_can_come(
    deadline_s: float | None, has_receipts: bool, due: object
) -> None:
    after = decisions.after_acceptance(NOW, rules(receipt_deadline_s=deadline_s), has_receipts=has_receipts)
    assert (after.state, after.due_at) == (Status.SENT, due)


@pytest.mark.parametrize("wait_s", [10, 100_000])
def test_waiting_in_the_ledger_ends_with_the_expiry_and_gives_the_claim_back(wait_s: float) -> None:
    case = delivery()
    until = NOW + timedelta(seconds=wait_s)
    for after in (
        decisions.defer(case, until, Reason.QUIET_HOURS),
        decisions.provider_down(notification(case), case, rank(notification(case), case, route()), wait_s),
    ):
        assert after.next_pass_at == after.due_at == min(until, case.expires_at)
        assert after.release


def test_with_every_provider_down_the_next_channel_has_its_turn() -> None:
    case = delivery()
    seen = _first(case)
    down = route(PROVIDERS[:1], {PROVIDERS[0]: "circuit_open"})
    after = decisions.provider_down(seen, case, rank(seen, case, down), 30)
    assert (after.state, after.reason_code, after.due_at) == (Status.UNDELIVERED, Reason.PROVIDER_DOWN, None)
    busy = route(PROVIDERS[:1], {PROVIDERS[0]: "rate"})
    waits = decisions.provider_down(seen, case, rank(seen, case, busy), 1)
    assert waits.state is Status.DEFERRED, "a second's wait for a token is no reason to change channels"


def test_an_operators_retry_begins_the_schedule_anew() -> None:
    promised = rules(retry_s=(30, 120))
    case = delivery(pass_no=7, round_pass=7)
    after = decisions.after_failed_pass(notification(case), case, promised, 0.0)
    assert (after.state, after.pass_no) == (Status.DEFERRED, 8)
    assert after.next_pass_at == NOW + timedelta(seconds=promised.type.retry_s[0])
