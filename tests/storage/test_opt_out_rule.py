"""Postgres applies opt-outs and suppressions like domain/preferences.py, in every combination."""

import itertools

from ledger_case import PHONE, Cases

from domain.notification import Channel, Notification, Recipient
from domain.notification_types import NotificationType
from domain.preferences import Permission, check_permission, wanted
from storage.postgres import Pool

CHOICES = (None, True, False)
TYPE, OTHER = "debit_alert", "marketing"


async def _settings(pool: Pool, user_id: str, settings: dict[str, bool | None]) -> None:
    for type, enabled in settings.items():
        if enabled is not None:
            await pool.execute(
                "INSERT INTO user_notification_settings (tenant, user_id, type, channel, enabled)"
                " VALUES ('acme', $1, $2, 'sms', $3)",
                *(user_id, type, enabled),
            )


async def test_postgres_and_python_agree_on_opt_outs(pool: Pool) -> None:
    for of_type, of_all, of_other in itertools.product(CHOICES, repeat=3):
        user_id, chosen = f"user-{of_type}-{of_all}-{of_other}", {TYPE: of_type, "*": of_all, OTHER: of_other}
        await _settings(pool, user_id, chosen)
        settings = {(type, "sms"): enabled for type, enabled in chosen.items() if enabled is not None}
        recipient = Recipient(settings=settings)
        for type, channel in itertools.product((TYPE, OTHER, "another"), (Channel.SMS, Channel.EMAIL)):
            opted_out = await pool.fetchval(
                "SELECT opted_out FROM is_opted_out_v1('acme', $1, $2, $3)", user_id, channel.value, type
            )
            assert opted_out is not wanted(type, channel, recipient), (of_type, of_all, of_other, type)


async def test_an_intent_is_granted_exactly_when_the_preferences_allow_it(cases: Cases, pool: Pool) -> None:
    combinations = itertools.product(CHOICES, CHOICES, (None, "acme", "*", "other"), (True, False))
    for of_type, of_all, suppressed_for, required in combinations:
        case = await cases()
        await _settings(pool, case.user_id, {TYPE: of_type, "*": of_all})
        if suppressed_for:
            await pool.execute(
                "INSERT INTO suppressions (tenant, channel, address, reason, source)"
                " VALUES ($1, 'sms', $2, 'bounce', 'test')",
                *(suppressed_for, PHONE),
            )
        notification = await case.load()
        opened = await case.intend(required=required)
        await pool.execute("DELETE FROM suppressions")
        allowed = _permission(notification, required) is Permission.ALLOWED
        assert (opened is not None) is allowed, (of_type, of_all, suppressed_for, required)


def _permission(notification: Notification, required: bool) -> Permission:
    type = NotificationType(required=required)
    check = check_permission(notification.now, type, TYPE, Channel.SMS, notification.recipient)
    return check.permission
