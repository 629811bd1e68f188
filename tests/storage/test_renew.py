"""Renewals: only for an open, wanted attempt whose idempotency key the provider still knows."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from ledger_case import Case, at

from domain.status import Status
from storage.records import OpenAttempt, Renewal

OPT_OUT = (
    "INSERT INTO user_notification_settings (tenant, user_id, type, channel, enabled)"
    " SELECT tenant, user_id, '*', 'sms', false FROM notifications WHERE id = $1"
)
SUPPRESS = (
    "INSERT INTO suppressions (tenant, channel, address, reason, source)"
    " SELECT tenant, 'sms', id::text, 'stop', 'api' FROM notifications WHERE id = $1"
)

STOP = (
    "INSERT INTO suppressions (tenant, channel, address, reason, source)"
    " SELECT '*', 'sms', id::text, 'stop', 'twilio' FROM notifications WHERE id = $1"
)


def renewal(case: Case, opened: OpenAttempt, delivery_id: UUID) -> Renewal:
    return Renewal(
        notification_id=case.id,
        delivery_id=delivery_id,
        number=opened.number,
        version=opened.version,
        budget_s=10.0,
        visibility_delay_s=30.0,
        key_life_s=3600.0,
        suppression_key=str(case.id),
        required=False,
    )


async def test_a_renewed_attempt_has_a_new_deadline_and_belongs_to_its_sender(case: Case) -> None:
    opened = await case.open(budget_s=1.0)
    delivery = await case.delivery()
    await case.execute("UPDATE notification_attempts SET code = 'timeout' WHERE notification_id = $1")
    renewed = await case.ledger.renew(renewal(case, opened, delivery.id))
    assert renewed is not None
    assert (renewed.number, renewed.intended_at) == (opened.number, opened.intended_at)
    assert renewed.send_deadline > opened.send_deadline
    delivery, due = await case.delivery(), await case.due()
    assert (delivery.version, delivery.status) == (renewed.version, Status.SENDING)
    assert delivery.open_attempt is not None
    assert (delivery.open_attempt.code, delivery.open_attempt.send_deadline) == (None, renewed.send_deadline)
    assert due is not None
    assert due["due_at"] == at(renewed.send_deadline, 30)


@pytest.mark.parametrize(
    ("change", "arguments"),
    [
        (OPT_OUT, ()),
        (SUPPRESS, ()),
        (STOP, ()),
        ("UPDATE deliveries SET expires_at = now() WHERE notification_id = $1", ()),
        ("UPDATE deliveries SET version = version + 1 WHERE notification_id = $1", ()),
        (
            "UPDATE notification_attempts SET intended_at = now() - $2::interval WHERE notification_id = $1",
            (timedelta(seconds=3591),),
        ),
    ],
    ids=["opted out", "suppressed", "stopped", "expired", "updated", "key forgotten"],
)
async def test_an_attempt_that_may_not_be_sent_is_not_renewed(
    case: Case, change: str, arguments: tuple[object, ...]
) -> None:
    opened = await case.open()
    delivery = await case.delivery()
    await case.execute(change, *arguments)
    assert await case.ledger.renew(renewal(case, opened, delivery.id)) is None


async def test_a_required_type_is_renewed_despite_an_opt_out(case: Case) -> None:
    opened = await case.open()
    delivery = await case.delivery()
    await case.execute(OPT_OUT)
    required = replace(renewal(case, opened, delivery.id), required=True)
    assert await case.ledger.renew(required) is not None


async def test_a_closed_attempt_is_not_renewed(case: Case) -> None:
    opened = await case.sent()
    delivery = await case.delivery()
    again = replace(renewal(case, opened, delivery.id), version=(await case.delivery()).version)
    assert await case.ledger.renew(again) is None
