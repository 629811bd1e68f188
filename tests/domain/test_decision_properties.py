"""Properties of every decision, over random deliveries, routes and times."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

from decision_case import CONCLUSIVE, NOW, snapshots
from hypothesis import given
from hypothesis import strategies as st

from domain.call_decision import CallEnded
from domain.decision import decide
from domain.limit_decision import LimitReached
from domain.notification import Attempt
from domain.operator_decisions import Assume, Cancel, Command, Discard, Replay, Retry
from domain.outcome import Outcome, SendResult
from domain.overdue_receipt import ReceiptMissing
from domain.preferences import Permission
from domain.required_action import required_action
from domain.resolution_decision import Finding, Resolved
from domain.snapshot import DeliverySnapshot
from domain.status import FINAL, PARKED, SENDABLE, Status
from domain.transition import Call, Resolve, Transition, Wait

DUE = snapshots(statuses=tuple(sorted(SENDABLE)), due=True)
EARLIER, LATER = NOW - timedelta(seconds=1), NOW + timedelta(hours=5)
results = st.builds(
    SendResult,
    st.sampled_from(sorted(CONCLUSIVE | {Outcome.AMBIGUOUS})),
    retry_after_s=st.none() | st.floats(0, 1e12),
)
commands = st.sampled_from(
    [Cancel(), Retry(), Retry(LATER), Retry(assume=Assume.SENT), Discard(), Replay(LATER), Replay(NOW, LATER)]
)
CONCERNED: dict[type[Command], frozenset[Status]] = {
    Cancel: SENDABLE | {Status.WAITING},
    Retry: PARKED,
    Discard: PARKED | {Status.WAITING},
    Replay: frozenset({Status.DEAD_LETTERED}),
}


def _check(snapshot: DeliverySnapshot, after: Transition) -> None:
    """Check the properties of every transition."""
    assert after.status in FINAL | PARKED | SENDABLE | {Status.SENDING}
    if after.status in PARKED | SENDABLE:
        assert after.due_at is not None, "a live delivery has a deadline"
    if after.status in SENDABLE and after.next_pass_at is not None:
        assert after.next_pass_at <= max(snapshot.delivery.expires_at, snapshot.delivery.next_pass_at, NOW)
    if after.closes is not None:
        assert after.closes.outcome is not Outcome.AMBIGUOUS


@given(snapshots() | DUE)
def test_a_decision_is_deterministic_and_has_an_action(snapshot: DeliverySnapshot) -> None:
    decision = decide(snapshot)
    assert decide(snapshot) == decision
    assert required_action(snapshot, decision).wait_s >= 0


@given(DUE, st.sampled_from([EARLIER, NOW, LATER]))
def test_only_a_due_permitted_delivery_is_sent(snapshot: DeliverySnapshot, now: datetime) -> None:
    snapshot = replace(snapshot, now=now)
    decision = decide(snapshot)
    if not isinstance(decision, Call):
        return
    delivery, check = snapshot.delivery, snapshot.permission
    assert delivery.status in SENDABLE
    assert delivery.open_attempt is None
    assert delivery.next_pass_at <= snapshot.now < delivery.expires_at
    assert not check.is_withdrawn
    assert delivery.attempts or check.permission is Permission.ALLOWED
    assert decision.candidate.provider in snapshot.route.order
    assert decision.candidate.provider not in snapshot.route.blocked
    in_this_pass = [attempt for attempt in delivery.attempts if attempt.pass_number == delivery.pass_number]
    assert not any(decision.candidate.is_of(attempt) for attempt in in_this_pass)


@given(snapshots() | DUE | snapshots(statuses=tuple(sorted(PARKED))))
def test_time_moves_only_sendable_and_parked_deliveries(snapshot: DeliverySnapshot) -> None:
    delivery, decision = snapshot.delivery, decide(snapshot)
    match decision:
        case Transition():
            assert delivery.status in SENDABLE | PARKED
            assert delivery.open_attempt is None
            assert decision.closes is None
            _check(snapshot, decision)
        case Resolve(attempt):
            assert attempt in delivery.attempts
            assert attempt.outcome in (None, Outcome.ACCEPTED)
        case Wait() | Call():
            pass


def _open(snapshot: DeliverySnapshot) -> Attempt:
    number = len(snapshot.delivery.attempts)
    open_one = snapshot.delivery.open_attempt
    return open_one or Attempt(number + 1, "one", snapshot.delivery.pass_number, None, NOW, NOW)


@given(snapshots(), results)
def test_a_call_closes_its_attempt_unless_it_is_ambiguous(
    snapshot: DeliverySnapshot, result: SendResult
) -> None:
    call = CallEnded(_open(snapshot), result)
    after = decide(snapshot, call)
    assert decide(snapshot, call) == after
    _check(snapshot, after)
    if result.outcome is Outcome.AMBIGUOUS:
        assert (after.status, after.closes) == (Status.SENDING, None)
    else:
        assert after.closes is not None
        assert (after.closes.number, after.closes.outcome) == (call.attempt.number, result.outcome)
    assert (after.status is Status.SENT) == (result.outcome is Outcome.ACCEPTED)


@given(snapshots(), st.sampled_from(Finding), st.booleans(), st.none() | results)
def test_a_resolution_closes_the_attempt_or_waits(
    snapshot: DeliverySnapshot, finding: Finding, conclusive: bool, result: SendResult | None
) -> None:
    resolved = Resolved(_open(snapshot), finding, conclusive, result)
    after = decide(snapshot, resolved)
    assert decide(snapshot, resolved) == after
    if isinstance(after, Wait):
        assert after.until is not None
        assert after.until > snapshot.now
        return
    _check(snapshot, after)
    assert after.closes is not None
    assert conclusive or finding in (Finding.ACCEPTED, Finding.RECIPIENT_REJECTED)


@given(snapshots(), st.booleans(), st.booleans(), st.floats(-1e6, 1e6))
def test_a_reached_limit_defers_or_drops(
    snapshot: DeliverySnapshot, drops: bool, store_lost: bool, free_in_s: float
) -> None:
    reached = LimitReached(NOW + timedelta(seconds=free_in_s), store_lost=store_lost, drops=drops)
    after = decide(snapshot, reached)
    assert after.status is (Status.RATE_LIMITED if drops and not store_lost else Status.DEFERRED)
    _check(snapshot, after)


@given(snapshots(statuses=(Status.SENT,)))
def test_a_missing_receipt_never_parks(snapshot: DeliverySnapshot) -> None:
    after = decide(snapshot, ReceiptMissing())
    assert after.status in {Status.SENT, Status.UNDELIVERED, Status.DEFERRED}
    _check(snapshot, after)


@given(snapshots(), commands)
def test_a_command_moves_only_the_statuses_it_concerns(snapshot: DeliverySnapshot, command: Command) -> None:
    after = decide(snapshot, command)
    assert decide(snapshot, command) == after
    assert isinstance(after, Transition) == (snapshot.delivery.status in CONCERNED[type(command)])
    if isinstance(after, Transition):
        assert after.closes is None
        assert after.status in FINAL | SENDABLE


def test_the_examples_reach_every_kind_of_decision() -> None:
    """Guard the strategies: a property over deliveries that are never sent would prove nothing."""
    seen: Counter[tuple[bool, type]] = Counter()

    @given(snapshots(), DUE)
    def collect(any_one: DeliverySnapshot, due: DeliverySnapshot) -> None:
        seen[False, type(decide(any_one))] += 1
        seen[True, type(decide(due))] += 1

    collect()
    expected = [(False, Wait), (False, Resolve), (True, Transition), (True, Call)]
    assert min(seen[kind] for kind in expected) >= 5, seen
