"""Postgres renews an attempt exactly when domain/resolution_decision.py allows a repeated call."""

import itertools
from datetime import timedelta

from deliveries import delivery_over
from ledger_case import PHONE, Case, Cases

from domain.notification import Channel
from domain.notification_types import NotificationType
from domain.resolution_decision import may_repeat
from domain.routing import Route
from domain.snapshot import DecisionContext, DeliverySnapshot
from storage.postgres import Pool
from storage.records import Renewal

KEY_LIFE_S = 3600.0
BUDGET_S = 10.0
AGES_S = (0.0, KEY_LIFE_S - BUDGET_S - 60, KEY_LIFE_S - BUDGET_S + 60)
OPT_OUT = (
    "INSERT INTO user_notification_settings (tenant, user_id, type, channel, enabled)"
    " VALUES ('acme', $1, $2, 'sms', false)"
)
SUPPRESS = (
    "INSERT INTO suppressions (tenant, channel, address, reason, source)"
    " VALUES ($1, 'sms', $2, 'bounce', 'test')"
)


async def _may_repeat(case: Case, *, required: bool) -> bool:
    notification = await case.load()
    delivery = delivery_over(notification, Channel.SMS)
    context = DecisionContext(NotificationType(required=required), lease_s=15, keep_parked_s=60)
    snapshot = DeliverySnapshot(notification, delivery, notification.now, context, Route(()))
    assert delivery.open_attempt is not None
    return may_repeat(snapshot, delivery.open_attempt, "key", key_life_s=KEY_LIFE_S, budget_s=BUDGET_S)


async def _is_renewed(case: Case, *, required: bool) -> bool:
    delivery = await case.delivery()
    renewal = Renewal(
        notification_id=case.id,
        delivery_id=delivery.id,
        number=1,
        version=delivery.version,
        budget_s=BUDGET_S,
        visibility_delay_s=30.0,
        key_life_s=KEY_LIFE_S,
        suppression_key=PHONE,
        required=required,
    )
    return await case.ledger.renew(renewal) is not None


async def test_postgres_and_python_agree_on_repeated_calls(cases: Cases, pool: Pool) -> None:
    combinations = itertools.product(
        (True, False), AGES_S, (None, "debit_alert", "*", "marketing"), (None, "acme", "*"), (True, False)
    )
    answers = set[bool]()
    for expired, age_s, opted_out_of, suppressed_for, required in combinations:
        case = await cases()
        await case.open(match_key="key")
        await case.execute(
            "UPDATE notification_attempts SET intended_at = now() - $2::interval WHERE notification_id = $1",
            timedelta(seconds=age_s),
        )
        if expired:
            await case.execute("UPDATE deliveries SET expires_at = now() WHERE notification_id = $1")
        if opted_out_of:
            await pool.execute(OPT_OUT, case.user_id, opted_out_of)
        if suppressed_for:
            await pool.execute(SUPPRESS, suppressed_for, PHONE)
        allowed = await _may_repeat(case, required=required)
        renewed = await _is_renewed(case, required=required)
        await pool.execute("DELETE FROM suppressions")
        assert renewed is allowed, (expired, age_s, opted_out_of, suppressed_for, required)
        answers.add(allowed)
    assert answers == {True, False}
