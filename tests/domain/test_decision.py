"""The decision: never early, never more attempts than the schedule, and the final statuses."""

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
    context,
    contexts,
    delivery,
    notification,
    recipients,
    route,
    routes,
    snapshot,
)
from hypothesis import given
from hypothesis import strategies as st

from domain.call_decision import CallEnded
from domain.candidate_decision import nowhere_left
from domain.decision import decide
from domain.limit_decision import LimitReached
from domain.notification import Attempt, Channel, Delivery, Notification, QuietHours, Recipient, Strategy
from domain.notification_types import OnUnknown
from domain.number_types import NumberType
from domain.operator_decisions import Assume, Cancel, Discard, Replay, Retry
from domain.outcome import Outcome, ReceiptStatus, SendResult
from domain.overdue_receipt import POLL_AGAIN_S, ReceiptMissing
from domain.reasons import Reason
from domain.resolution_decision import Finding, Resolved
from domain.routing import Route
from domain.sms_policy import EVERYWHERE, SmsPolicy
from domain.snapshot import DecisionContext, ProviderTraits, Snapshot
from domain.status import FINAL, PARKED, SENDABLE, Status
from domain.transition import Call, Resolve, Transition, Wait

LATER = NOW + timedelta(seconds=60)
EARLIER = NOW - timedelta(seconds=60)


def _first(case: Delivery, **changes: object) -> Notification:
    """A `strategy: first` notification with a channel that waits behind this one."""
    behind = delivery(Channel.EMAIL, position=1, status=Status.WAITING, due_at=None)
    return notification(case, behind, strategy=Strategy.FIRST, **changes)


def _ended(case: Delivery, result: SendResult) -> CallEnded:
    """The event: the call of the delivery's last attempt ended with this result."""
    return CallEnded(case.attempts[-1], result)


@given(contexts, st.lists(st.sampled_from(FAILURES), min_size=1), st.floats(0, 1), st.floats(60, 20_000))
def test_repeated_failures_follow_the_schedule_and_then_park(
    promised: DecisionContext, outcomes: list[Outcome], jitter: float, lifetime_s: float
) -> None:
    order = PROVIDERS[:2]
    now, passes, starts = NOW, 0, [NOW]
    case = delivery(expires_at=NOW + timedelta(seconds=lifetime_s))
    after = None
    for turn in range(1000):
        outcome = outcomes[turn % len(outcomes)]
        seen = snapshot(case, promised, route(order), notification(case, now=now), jitter)
        call = decide(seen)
        assert isinstance(call, Call)
        made = attempt(turn + 1, call.candidate.provider, None, pass_number=case.pass_number)
        after = decide(seen, CallEnded(made, SendResult(outcome)))
        case = replace(case, attempts=(*case.attempts, replace(made, outcome=outcome)))
        if after.status is Status.ACCEPTED:
            continue
        passes += 1
        if after.status in PARKED:
            break
        assert after.status is Status.DEFERRED
        assert after.next_pass_at is not None
        assert after.due_at is not None
        assert after.due_at > after.next_pass_at, "the retry runs before the dispatcher claims it"
        wait_s = promised.type.retry_s[passes - 1]
        latest = case.expires_at
        earliest = min(now + timedelta(seconds=wait_s), latest)
        spread = timedelta(seconds=wait_s * promised.type.retry_jitter)
        # One more microsecond for rounding.
        last = now + timedelta(seconds=wait_s) + spread + timedelta(microseconds=1)
        assert earliest <= after.next_pass_at <= min(last, latest)
        now = after.next_pass_at
        starts.append(now)
        if now >= case.expires_at:
            return
        case = replace(case, pass_number=after.pass_number, next_pass_at=now, status=after.status)
    assert passes == len(starts) == len(promised.type.retry_s) + 1
    assert len(case.attempts) == passes * len(order)
    assert after
    assert (after.status, after.reason_code) == (Status.DEAD_LETTERED, Reason.PROVIDERS_EXHAUSTED)
    assert after.due_at == now + timedelta(seconds=promised.keep_parked_s)


@given(contexts, channels, recipients, routes, attempt_lists, st.integers(0, 5), st.sampled_from(FAILURES))
def test_every_decision_sends_returns_or_is_final(
    promised: DecisionContext,
    channel: Channel,
    recipient: Recipient,
    route: Route,
    attempts: tuple[Attempt, ...],
    pass_number: int,
    outcome: Outcome,
) -> None:
    case = delivery(channel, attempts=attempts, pass_number=pass_number)
    for of in (notification(case, recipient=recipient), _first(case, recipient=recipient)):
        seen = snapshot(case, promised, route, of)
        made = attempt(len(attempts) + 1, "one", None, pass_number=pass_number)
        for after in (decide(seen), decide(seen, CallEnded(made, SendResult(outcome)))):
            if isinstance(after, Call):
                assert after.candidate.provider not in route.blocked
                continue
            assert isinstance(after, Transition)
            assert (after.due_at is None) == (after.status in FINAL)
            assert after.status in FINAL | PARKED | SENDABLE
            if of.strategy is Strategy.FIRST:
                assert after.status not in PARKED, "the next channel goes before an operator"


@pytest.mark.parametrize(
    ("case", "decision"),
    [
        (delivery(next_pass_at=LATER, reason_code="retry"), Wait),
        (delivery(), Call),
        (delivery(expires_at=EARLIER), Transition),
        (delivery(status=Status.WAITING, due_at=None), Wait),
        (delivery(status=Status.SENDING, attempts=(attempt(1, "one", None, send_deadline=LATER),)), Wait),
        (delivery(status=Status.SENDING, attempts=(attempt(1, "one", None),)), Resolve),
        (
            delivery(
                status=Status.SENDING, attempts=(attempt(1, "one", None, send_deadline=LATER, code="x"),)
            ),
            Resolve,
        ),
        (delivery(status=Status.SENT, due_at=LATER, attempts=(attempt(1, "one", Outcome.ACCEPTED),)), Wait),
        (delivery(status=Status.SENT, due_at=NOW, attempts=(attempt(1, "one", Outcome.ACCEPTED),)), Resolve),
        (delivery(status=Status.SENT, due_at=None), Wait),
        (delivery(status=Status.DEAD_LETTERED, due_at=LATER), Wait),
        (delivery(status=Status.DEAD_LETTERED, due_at=NOW), Transition),
        (delivery(status=Status.DELIVERED, due_at=None), Wait),
    ],
)
def test_decision_by_status_and_time(case: Delivery, decision: type) -> None:
    assert isinstance(decide(snapshot(case)), decision)


def test_an_open_attempt_is_conclusive_after_the_visibility_delay() -> None:
    promised = replace(context(), providers={"one": ProviderTraits(visibility_delay_s=30)})
    case = delivery(status=Status.SENDING, attempts=(attempt(1, "one", None, code="timeout"),))
    early = decide(snapshot(case, promised))
    assert isinstance(early, Resolve)
    assert not early.conclusive
    late = decide(replace(snapshot(case, promised), now=NOW + timedelta(seconds=30)))
    assert isinstance(late, Resolve)
    assert late.conclusive


@pytest.mark.parametrize(("schedule", "status"), [((30,), Status.DEFERRED), ((), Status.DEAD_LETTERED)])
def test_a_failure_of_the_last_provider_ends_the_pass(schedule: tuple[float, ...], status: Status) -> None:
    closed = (attempt(1, "one", Outcome.UNAVAILABLE), attempt(2, "two", None))
    case = delivery(attempts=closed)
    seen = snapshot(case, context(retry_s=schedule), route(("one", "two")))
    assert decide(seen, _ended(case, SendResult(Outcome.THROTTLED))).status is status


def test_an_exhausted_schedule_starts_the_next_channel() -> None:
    case = delivery(attempts=(attempt(1, "one", Outcome.UNAVAILABLE),))
    after = decide(snapshot(case, context(retry_s=()), route(("one",)), _first(case)))
    assert isinstance(after, Transition)
    assert (after.status, after.reason_code) == (Status.UNDELIVERED, Reason.PROVIDERS_EXHAUSTED)


def test_an_accepted_but_undelivered_message_is_not_dead_lettered() -> None:
    case = delivery(
        attempts=(
            attempt(1, "one", Outcome.ACCEPTED, receipt_status=ReceiptStatus.UNDELIVERED),
            attempt(2, "two", Outcome.UNAVAILABLE),
        )
    )
    after = decide(snapshot(case, context(retry_s=()), route(("one", "two"))))
    assert isinstance(after, Transition)
    assert (after.status, after.reason_code) == (Status.UNDELIVERED, Reason.UNDELIVERED)


@pytest.mark.parametrize(("order", "wait_s"), [(("one",), 100), (("one", "two"), 30)])
def test_retry_after_delays_the_pass_of_the_only_provider(order: tuple[str, ...], wait_s: int) -> None:
    case = delivery(attempts=tuple(attempt(n, name, Outcome.THROTTLED) for n, name in enumerate(order, 1)))
    seen = snapshot(case, context(retry_s=(30,), retry_jitter=0), route(order))
    after = decide(seen, _ended(case, SendResult(Outcome.THROTTLED, retry_after_s=100)))
    assert after.next_pass_at == NOW + timedelta(seconds=wait_s)


def test_a_refused_recipient_ends_the_delivery() -> None:
    case = delivery(attempts=(attempt(1, "one", None),))
    after = decide(snapshot(case), _ended(case, SendResult(Outcome.REJECTED_RECIPIENT, code="21211")))
    assert (after.status, after.reason_code) == (Status.UNDELIVERED, Reason.RECIPIENT_REJECTED)


def test_an_address_removed_during_the_call_is_no_contact() -> None:
    case = delivery(attempts=(attempt(1, "one", None),))
    seen = snapshot(case, of=notification(case, recipient=Recipient()))
    after = decide(seen, _ended(case, SendResult(Outcome.NOT_SENT)))
    assert (after.status, after.reason_code) == (Status.FAILED, Reason.NO_CONTACT)


@pytest.mark.parametrize(
    ("channel", "recipient", "attempts", "status", "reason"),
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
def test_the_reason_when_no_candidate_is_left(
    channel: Channel,
    recipient: Recipient,
    attempts: tuple[Attempt, ...],
    status: Status,
    reason: Reason,
) -> None:
    case = delivery(channel, attempts=attempts)
    after = nowhere_left(snapshot(case, of=notification(case, recipient=recipient)))
    assert (after.status, after.reason_code) == (status, reason)


@pytest.mark.parametrize(
    ("deadline_s", "has_receipts", "due"),
    [(None, True, None), (60, False, None), (60, True, LATER)],
)
def test_a_receipt_is_expected_only_from_reporting_providers(
    deadline_s: float | None, has_receipts: bool, due: object
) -> None:
    promised = context(receipt_deadline_s=deadline_s)
    promised = replace(promised, providers={"one": ProviderTraits(receipts=has_receipts)})
    case = delivery(attempts=(attempt(1, "one", None),))
    after = decide(snapshot(case, promised), _ended(case, SendResult(Outcome.ACCEPTED)))
    assert (after.status, after.due_at) == (Status.SENT, due)


@pytest.mark.parametrize("wait_s", [10, 100_000])
def test_a_deferral_ends_at_the_expiry_and_releases_the_claim(wait_s: float) -> None:
    case = delivery()
    until = NOW + timedelta(seconds=wait_s)
    promised = replace(context(), providers={"one": ProviderTraits(circuit_open_s=wait_s)})
    down = snapshot(case, promised, route(("one",), {"one": "circuit_open"}))
    for after in (decide(down), decide(down, LimitReached(until))):
        assert isinstance(after, Transition)
        assert after.next_pass_at == after.due_at == min(until, case.expires_at)
        assert after.release


def test_with_every_provider_down_the_next_channel_starts() -> None:
    case = delivery()
    after = decide(snapshot(case, providers=route(("one",), {"one": "circuit_open"}), of=_first(case)))
    assert isinstance(after, Transition)
    assert (after.status, after.reason_code, after.due_at) == (Status.UNDELIVERED, Reason.PROVIDER_DOWN, None)
    waits = decide(snapshot(case, providers=route(("one",), {"one": "rate"}), of=_first(case)))
    assert isinstance(waits, Transition)
    assert waits.status is Status.DEFERRED, "a short wait for a rate limit does not change the channel"


def test_an_operators_retry_starts_the_schedule_over() -> None:
    promised = context(retry_s=(30, 120))
    case = delivery(
        pass_number=7, round_pass=7, attempts=(attempt(9, "one", Outcome.UNAVAILABLE, pass_number=7),)
    )
    after = decide(snapshot(case, promised, route(("one",)), jitter=0))
    assert isinstance(after, Transition)
    assert (after.status, after.pass_number) == (Status.DEFERRED, 8)
    assert after.next_pass_at == NOW + timedelta(seconds=promised.type.retry_s[0])


NOT_NIGERIA = SmsPolicy(countries=("GH",))
NO_MOBILES = SmsPolicy(countries="all", refuse_number_types=frozenset({NumberType.MOBILE}))
WITHDRAWN = Recipient(sms="+2348031230000", settings={("*", "sms"): False})
AT_NIGHT = Recipient(sms="+2348031230000", quiet_hours=QuietHours("11:00", "13:00"))


@pytest.mark.parametrize("tried", [False, True])
@pytest.mark.parametrize(
    ("recipient", "sms", "first", "later"),
    [
        (WITHDRAWN, EVERYWHERE, Status.SUPPRESSED, Status.SUPPRESSED),
        (Recipient(sms="+2348031230000"), NOT_NIGERIA, Status.FAILED, Status.FAILED),
        (Recipient(sms="+2348031230000"), NO_MOBILES, Status.FAILED, Status.FAILED),
        (AT_NIGHT, EVERYWHERE, Status.DEFERRED, None),
    ],
)
def test_permission_is_checked_before_every_call(
    recipient: Recipient,
    sms: SmsPolicy,
    first: Status | None,
    later: Status | None,
    tried: bool,
) -> None:
    case = delivery(attempts=(attempt(1, "one", Outcome.UNAVAILABLE),) if tried else ())
    promised = replace(context(), sms=sms)
    after = decide(snapshot(case, promised, of=notification(case, recipient=recipient)))
    expected = later if tried else first
    assert (after.status if isinstance(after, Transition) else None) == expected


@pytest.mark.parametrize(
    ("on_unknown", "status"),
    [
        (OnUnknown.FAILOVER, Status.ACCEPTED),
        (OnUnknown.STOP, Status.OUTCOME_UNKNOWN),
        (OnUnknown.RECONCILE, Status.OUTCOME_UNKNOWN),
    ],
)
def test_an_indistinguishable_attempt_follows_on_unknown(on_unknown: OnUnknown, status: Status) -> None:
    asked = attempt(1, "one", None)
    case = delivery(status=Status.SENDING, attempts=(asked,))
    seen = snapshot(case, context(on_unknown=on_unknown))
    after = decide(seen, Resolved(asked, Finding.INDISTINGUISHABLE, conclusive=True))
    assert isinstance(after, Transition)
    assert after.status is status
    assert after.closes
    assert (after.closes.outcome, after.closes.resolved_by) == (Outcome.UNKNOWN, "policy")


@pytest.mark.parametrize("finding", [Finding.NOT_FOUND, Finding.INDISTINGUISHABLE, Finding.UNRESOLVABLE])
@pytest.mark.parametrize("on_unknown", list(OnUnknown))
def test_nothing_is_concluded_early(finding: Finding, on_unknown: OnUnknown) -> None:
    asked = attempt(1, "one", None, send_deadline=LATER, code="timeout")
    case = delivery(status=Status.SENDING, attempts=(asked,))
    seen = snapshot(case, context(on_unknown=on_unknown))
    after = decide(seen, Resolved(asked, finding, conclusive=False))
    assert isinstance(after, Wait)
    assert after.until is not None
    assert NOW < after.until <= LATER


@pytest.mark.parametrize(
    ("on_unknown", "first", "status", "due_at"),
    [
        (OnUnknown.FAILOVER, False, Status.DEFERRED, NOW + timedelta(seconds=30)),
        (OnUnknown.STOP, False, Status.SENT, None),
        (OnUnknown.RECONCILE, False, Status.SENT, NOW + timedelta(seconds=POLL_AGAIN_S + 30)),
        (OnUnknown.RECONCILE, True, Status.UNDELIVERED, None),
    ],
)
def test_a_missing_receipt_follows_on_unknown(
    on_unknown: OnUnknown, first: bool, status: Status, due_at: object
) -> None:
    case = delivery(status=Status.SENT, attempts=(attempt(1, "one", Outcome.ACCEPTED),))
    seen = snapshot(case, context(on_unknown=on_unknown), of=_first(case) if first else None)
    after = decide(seen, ReceiptMissing())
    assert (after.status, after.due_at) == (status, due_at)


@pytest.mark.parametrize("status", list(Status))
def test_commands_change_only_their_statuses(status: Status) -> None:
    case = delivery(status=status)
    seen = Snapshot(notification(case), case, NOW)
    for command, concerned in (
        (Cancel(), SENDABLE | {Status.WAITING}),
        (Retry(), PARKED),
        (Retry(assume=Assume.SENT), PARKED),
        (Discard(), PARKED | {Status.WAITING}),
        (Replay(LATER), {Status.DEAD_LETTERED}),
    ):
        assert isinstance(decide(seen, command), Transition) == (status in concerned), command
