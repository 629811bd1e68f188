"""The picture of statuses in docs/architecture.md shows each of them, and the changes that are decided."""

import itertools
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from decision_case import NOW, attempt, context, delivery, notification, route, snapshot

from domain.call_decision import CallEnded
from domain.decision import decide
from domain.limit_decision import LimitReached
from domain.notification import Attempt, Channel, Delivery, QuietHours, Recipient, Strategy
from domain.notification_types import OnUnknown
from domain.operator_decisions import Assume, Cancel, Discard, Replay, Retry
from domain.outcome import Outcome, ReceiptStatus, SendResult
from domain.overdue_receipt import ReceiptMissing
from domain.receipt_policy import Report
from domain.receipt_policy import effect_of as after_reports
from domain.resolution_decision import Finding, Resolved
from domain.snapshot import DeliverySnapshot
from domain.status import PARKED, SENDABLE, Status
from domain.transition import Call, Transition

PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
PICTURE = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", PAGE, re.DOTALL)[0]
GROUPS = {
    name: re.findall(r"(?m)^\s*(\w+)$", body)
    for name, body in re.findall(r"state (\w+) \{\n(.*?)\}", PICTURE, re.DOTALL)
}
ARROWS = re.findall(r"(\S+) --> (\S+)", PICTURE)
ACCEPTANCE = "[*]"
BY_SQL = {(Status.WAITING, Status.ACCEPTED)}
"""Decided by the ledger alone: tests/storage/test_first_strategy.py."""

Change = tuple[Status, Status]


def members(name: str) -> list[Status]:
    return [Status(status) for status in GROUPS.get(name, [name])]


def drawn() -> dict[tuple[str, str], set[Change]]:
    """The changes that each arrow stands for."""
    return {
        (source, target): set(itertools.product(members(source), members(target)))
        for source, target in ARROWS
        if source != ACCEPTANCE
    }


RECIPIENTS = (
    Recipient(sms="+2348031230000"),
    Recipient(),
    Recipient(sms="+2348031230000", settings={("*", "sms"): False}),
    Recipient(sms="+2348031230000", quiet_hours=QuietHours("11:00", "13:00")),
)
ROUTES = (route(), route(("one",)), route(()), route(("one",), {"one": "circuit_open"}))
CONTEXTS = tuple(
    context(on_unknown=on_unknown, retry_s=retry_s)
    for on_unknown, retry_s in itertools.product(OnUnknown, ((), (30,)))
)
SNAPSHOTS = (
    *itertools.product(CONTEXTS, ROUTES, RECIPIENTS[:1], Strategy),
    *itertools.product(CONTEXTS[:1], ROUTES[:1], RECIPIENTS[1:], Strategy),
)
LAST = (None, Outcome.ACCEPTED, Outcome.REJECTED_RECIPIENT, Outcome.UNAVAILABLE)
"""What came of the attempt before; None: it is the first."""


def snapshots(case: Delivery) -> Iterator[DeliverySnapshot]:
    """The delivery with every type, route and strategy, and with every recipient."""
    behind = delivery(Channel.EMAIL, id=UUID(int=2), position=1, status=Status.WAITING, due_at=None)
    for promised, providers, recipient, strategy in SNAPSHOTS:
        others = (behind,) if strategy is Strategy.FIRST else ()
        of = notification(case, *others, strategy=strategy, recipient=recipient)
        yield snapshot(case, promised, providers, of)


def decided(case: Delivery, open_attempt: Attempt | None) -> Iterator[object]:
    """What may be decided about a delivery."""
    for seen in snapshots(case):
        yield decide(seen)
        if case.status in SENDABLE:
            yield from (decide(seen, LimitReached(NOW, drops=drops)) for drops in (True, False))
        if open_attempt is not None:
            for outcome in set(Outcome) - {Outcome.UNKNOWN}:
                yield decide(seen, CallEnded(open_attempt, SendResult(outcome)))
            for finding, conclusive in itertools.product(Finding, (True, False)):
                yield decide(seen, Resolved(open_attempt, finding, conclusive))
        if case.status is Status.SENT:
            yield decide(seen, ReceiptMissing())
        for command in (Cancel(), Retry(), Discard(), Replay(NOW)):
            yield decide(seen, command)
        if case.status is Status.OUTCOME_UNKNOWN:
            yield decide(seen, Retry(assume=Assume.SENT))


def reported(case: Delivery) -> Iterator[Transition | None]:
    """What receipts about the delivery's attempts may change."""
    for status, permanent, one in itertools.product(ReceiptStatus, (True, False), case.attempts):
        report = Report(one.number, status, NOW, permanent=permanent)
        yield after_reports(
            NOW, case, [report], receipt_deadline_s=60, content_kept=True, first=False
        ).delivery


def cases(status: Status) -> Iterator[tuple[Delivery, Attempt | None]]:
    """Deliveries of a status that the ledger may hold, each with its open attempt."""
    for expires_at, last in itertools.product((NOW - timedelta(1), NOW + timedelta(1)), LAST):
        if status is Status.WAITING and last:
            continue
        under_way = attempt(2, "two", None) if status is Status.SENDING else None
        attempts = (*((attempt(1, "one", last),) if last else ()), *((under_way,) if under_way else ()))
        reason = "undelivered" if status is Status.DEFERRED else None
        fields = {"reason_code": reason, "attempts": attempts, "expires_at": expires_at, "due_at": NOW}
        yield delivery(status=status, **fields), under_way


def observed() -> set[Change]:
    """Every change that the decisions make of deliveries of every status."""
    found: set[Change] = set()
    for status in Status:
        for case, under_way in cases(status):
            for after in (*decided(case, under_way), *reported(case)):
                if isinstance(after, Call):
                    found.add((status, Status.SENDING))
                if isinstance(after, Transition) and after.status is not status:
                    found.add((status, after.status))
    return found


def test_every_status_is_in_the_picture_once() -> None:
    alone = {name for arrow in ARROWS for name in arrow} - GROUPS.keys() - {ACCEPTANCE}
    inside = [status for group in GROUPS.values() for status in group]
    assert sorted([*inside, *(alone - set(inside))]) == sorted(Status)
    assert set(members("sendable")) == SENDABLE
    assert set(members("parked")) == PARKED


def test_the_arrows_are_the_changes_that_are_decided() -> None:
    found = observed() | BY_SQL
    assert found - set().union(*drawn().values()) == set(), "decided, and not drawn"
    assert [arrow for arrow, changes in drawn().items() if not changes & found] == [], "drawn, never decided"
