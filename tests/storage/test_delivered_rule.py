"""Whether a receipt of an earlier attempt decides the status does not depend on when it arrives: Postgres,
which has it when an attempt is closed, decides as domain/receipt_policy.py does for one that comes later.
"""

import itertools
from datetime import timedelta

from ledger_case import Case, Cases, at

from domain.notification import Delivery
from domain.outcome import Outcome, ReceiptStatus
from domain.reasons import Reason
from domain.receipt_policy import Report, effect_of
from domain.status import Status
from domain.transition import Transition
from storage.records import OpenAttempt

AFTER = {
    "sent": (Outcome.ACCEPTED, Status.SENT, None),
    "sent, waits for a receipt": (Outcome.ACCEPTED, Status.SENT, 3600),
    "failed": (Outcome.REJECTED, Status.FAILED, None),
    "next provider": (Outcome.REJECTED, Status.ACCEPTED, 0),
    "retry": (Outcome.UNAVAILABLE, Status.DEFERRED, 60),
    "outcome unknown": (Outcome.UNKNOWN, Status.OUTCOME_UNKNOWN, 3600),
    "dead letter": (Outcome.UNAVAILABLE, Status.DEAD_LETTERED, 3600),
}
"""How the second attempt ends: its outcome, and the delivery's status and when it is due, in seconds."""


async def _second_attempt(case: Case) -> OpenAttempt:
    first = await case.open()
    await case.close(first, Outcome.UNKNOWN, Transition(Status.ACCEPTED, at(first.send_deadline, 60)))
    return await case.open(provider="termii")


async def _closed(case: Case, opened: OpenAttempt, ending: str) -> Delivery:
    outcome, status, due_s = AFTER[ending]
    due_at = None if due_s is None else opened.intended_at + timedelta(seconds=due_s)
    await case.close(opened, outcome, Transition(status, due_at, reason_code=Reason.PROVIDERS_EXHAUSTED))
    return await case.delivery()


async def _receipt_first(case: Case, status: ReceiptStatus, ending: str) -> tuple[Status, str | None, bool]:
    opened = await _second_attempt(case)
    await case.execute(
        "UPDATE notification_attempts SET receipt_status = $2 WHERE notification_id = $1 AND number = 1",
        status,
    )
    delivery = await _closed(case, opened, ending)
    return delivery.status, delivery.reason_code, delivery.due_at is None


async def _receipt_afterwards(
    case: Case, status: ReceiptStatus, ending: str
) -> tuple[Status, str | None, bool]:
    delivery = await _closed(case, await _second_attempt(case), ending)
    now = (await case.load()).now
    decided = effect_of(
        now, delivery, [Report(1, status, now)], receipt_deadline_s=60, content_kept=True, first=False
    ).delivery
    after = decided or delivery
    return after.status, after.reason_code, after.due_at is None


async def test_postgres_and_python_agree_on_receipts_of_earlier_attempts(cases: Cases) -> None:
    decisive = set[ReceiptStatus]()
    for status, ending in itertools.product(ReceiptStatus, AFTER):
        first = await _receipt_first(await cases(), status, ending)
        assert first == await _receipt_afterwards(await cases(), status, ending), (status, ending)
        if first[0] is Status.DELIVERED:
            decisive.add(status)
    assert decisive == {ReceiptStatus.DELIVERED}
