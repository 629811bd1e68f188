"""Loading: everything that a pass decides by, in one snapshot."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from deliveries import delivery_over
from ledger_case import Case, Cases, at

from domain.contacts import suppression_key
from domain.notification import Channel, Device, Lane, QuietHours, Strategy
from domain.outcome import Outcome, ReceiptStatus
from domain.status import Status
from domain.transition import Transition
from storage.ledger import Ledger
from storage.users import Contacts, Users, suppress


async def test_a_loaded_notification_equals_the_accepted_one(cases: Cases) -> None:
    send_at = datetime(2031, 5, 6, 7, 8, 9, 120, tzinfo=UTC)
    case = await cases(
        channels=(Channel.EMAIL, Channel.SMS),
        strategy=Strategy.FIRST,
        lane=Lane.BULK,
        title="Ein Titel",
        body='"Zitat" \\ 😀\n',
        send_at=send_at,
    )
    loaded = await case.load()
    assert (loaded.strategy, loaded.lane) == (Strategy.FIRST, Lane.BULK)
    assert (loaded.content.title, loaded.content.body) == ("Ein Titel", '"Zitat" \\ 😀\n')
    assert [(d.channel, d.position) for d in loaded.deliveries] == [(Channel.EMAIL, 0), (Channel.SMS, 1)]
    assert delivery_over(loaded, Channel.EMAIL).next_pass_at == send_at


@pytest.mark.parametrize("fraction", ["", ".1", ".12", ".123", ".1234", ".12345", ".123456"])
async def test_times_keep_their_microseconds(case: Case, fraction: str) -> None:
    text = f"2031-05-06 07:08:09{fraction}+00"
    await case.execute(
        "UPDATE deliveries SET next_pass_at = $2::text::timestamptz WHERE notification_id = $1", text
    )
    stored = await case.row("SELECT next_pass_at FROM deliveries WHERE notification_id = $1")
    assert (await case.delivery()).next_pass_at == stored["next_pass_at"]


async def test_attempts_are_loaded_with_their_delivery_in_order(cases: Cases) -> None:
    case = await cases(channels=(Channel.SMS, Channel.EMAIL))
    first = await case.open(match_key="m", device_id="d1")
    await case.close(
        first, Outcome.THROTTLED, Transition(Status.ACCEPTED, at(first.intended_at, 60)), code="429"
    )
    await case.sent(provider_message_id=(message := f"m-{uuid4()}"))
    await case.execute(
        "UPDATE notification_attempts SET receipt_status = 'queued' WHERE notification_id = $1 AND number = 2"
    )
    sms, email = (await case.load()).deliveries
    assert email.attempts == ()
    throttled, accepted = sms.attempts
    assert (throttled.number, throttled.outcome, throttled.code) == (1, Outcome.THROTTLED, "429")
    assert (throttled.match_key, throttled.device_id, throttled.pass_number) == ("m", "d1", 0)
    assert (throttled.intended_at, throttled.send_deadline) == (first.intended_at, first.send_deadline)
    assert (accepted.number, accepted.outcome, accepted.provider_message_id) == (2, Outcome.ACCEPTED, message)
    assert accepted.receipt_status is ReceiptStatus.QUEUED


async def test_addresses_of_the_notification_take_precedence_over_those_of_the_user(cases: Cases) -> None:
    case = await cases(to_email=None)
    await case.execute(
        "INSERT INTO users (tenant, user_id, phone, email, time_zone, quiet_start, quiet_end)"
        " SELECT tenant, user_id, '+15550100', 'own@example.com', 'Africa/Lagos', '22:00', '07:00'"
        " FROM notifications WHERE id = $1"
    )
    recipient = (await case.load()).recipient
    assert (recipient.sms, recipient.email) == ("+2348031230000", "own@example.com")
    assert (recipient.time_zone, recipient.quiet_hours) == ("Africa/Lagos", QuietHours("22:00", "07:00"))


async def test_the_whatsapp_number_takes_precedence_over_the_phone(cases: Cases, ledger: Ledger) -> None:
    own = await cases(channels=(Channel.WHATSAPP,), to_whatsapp="+15550101")
    users, tenant = Users(ledger.pool), "acme"
    await users.set_contacts(tenant, own.user_id, Contacts("+15550102", None, "+15550103"))
    assert (await own.load()).recipient.whatsapp == "+15550101"
    users_own = await cases(user_id=own.user_id, idempotency_key="key-2", channels=(Channel.WHATSAPP,))
    assert (await users_own.load()).recipient.whatsapp == "+15550103"
    await users.set_contacts(tenant, own.user_id, Contacts("+15550102", None))
    await suppress(ledger.pool, tenant, Channel.WHATSAPP, "+15550102", "asked")
    recipient = (await users_own.load()).recipient
    assert recipient.whatsapp == "+15550102"
    assert recipient.suppressed == {(Channel.WHATSAPP, "+15550102")}


async def test_devices_without_a_token_are_omitted_and_one_may_be_named(cases: Cases) -> None:
    user = f"user-{uuid4()}"
    every = await cases(user_id=user, channels=(Channel.PUSH,))
    named = await cases(user_id=user, channels=(Channel.PUSH,), idempotency_key="key-2", to_push="d1")
    for name, fcm, apns in (("d1", "f1", None), ("d2", None, "a2"), ("d3", None, None)):
        await every.execute(
            "INSERT INTO devices (tenant, user_id, device_id, fcm_token, apns_token, registered_at)"
            " SELECT tenant, user_id, $2, $3, $4, clock_timestamp() FROM notifications WHERE id = $1",
            name,
            fcm,
            apns,
        )
    devices = (Device("d2", None, "a2"), Device("d1", "f1", None))
    assert (await every.load()).recipient.devices == devices
    assert (await named.load()).recipient.devices == devices[1:]


async def test_only_settings_and_suppressions_of_the_notification_are_loaded(cases: Cases) -> None:
    case = await cases(tenant="load-tenant")
    await case.execute(
        "INSERT INTO user_notification_settings (tenant, user_id, type, channel, enabled)"
        " SELECT n.tenant, n.user_id, s.* FROM notifications n,"
        " (VALUES ('debit_alert', 'sms', true), ('*', 'sms', false), ('other', 'sms', false)) s"
        " WHERE n.id = $1"
    )
    await case.execute(
        "INSERT INTO suppressions (tenant, channel, address, reason, source)"
        " SELECT n.tenant, s.*, 'bounce', 'test' FROM notifications n,"
        " (VALUES ('email', 'ada@example.com'), ('sms', 'ada@example.com'), ('sms', '+15550199')) s"
        " WHERE n.id = $1"
    )
    recipient = (await case.load()).recipient
    assert recipient.settings == {("debit_alert", "sms"): True, ("*", "sms"): False}
    assert recipient.suppressed == {(Channel.EMAIL, "ada@example.com")}


async def test_an_unknown_notification_is_none_beside_known_ones(case: Case, ledger: Ledger) -> None:
    missing, found, again = await asyncio.gather(
        ledger.load(uuid4()), ledger.load(case.id), ledger.load(case.id)
    )
    assert missing is None
    assert found is not None
    assert found == again


async def test_only_a_row_that_this_version_cannot_read_fails(cases: Cases, ledger: Ledger) -> None:
    unknown, sound = await cases(), [await cases() for _ in range(4)]
    await unknown.execute("UPDATE deliveries SET channel = 'pigeon' WHERE notification_id = $1")
    answers = await asyncio.gather(
        ledger.load(sound[0].id),
        ledger.load(unknown.id),
        *(ledger.load(case.id) for case in sound[1:]),
        return_exceptions=True,
    )
    assert isinstance(answers.pop(1), ValueError)
    assert [getattr(answer, "id", None) for answer in answers] == [case.id for case in sound]


async def test_a_notification_without_content_has_an_empty_body(case: Case) -> None:
    # Retention drops the content before the notification.
    await case.execute("DELETE FROM notification_contents WHERE notification_id = $1")
    assert (await case.load()).content.body == ""


async def test_a_suppressed_mailbox_is_matched_in_any_spelling(cases: Cases) -> None:
    case = await cases(channels=(Channel.EMAIL,), to_email="Ada.L@example.com")
    tenant = (await case.load()).tenant
    await suppress(case.ledger.pool, tenant, Channel.EMAIL, "ada.l@EXAMPLE.com", "bounce")
    assert (await case.load()).recipient.suppressed == {(Channel.EMAIL, "Ada.L@example.com")}
    key = suppression_key(Channel.EMAIL, "Ada.L@example.com")
    assert await case.intend(Channel.EMAIL, suppression_key=key) is None


async def test_a_suppressed_token_is_loaded(cases: Cases) -> None:
    case = await cases(channels=(Channel.PUSH,))
    seen = await case.load()
    users = Users(case.ledger.pool)
    await users.set_devices(seen.tenant, seen.user_id, [Device("phone", fcm_token="dead-token")])
    await suppress(case.ledger.pool, seen.tenant, Channel.PUSH, "dead-token", "asked")
    assert (await case.load()).recipient.suppressed == {(Channel.PUSH, "dead-token")}


async def test_a_subscription_is_suppressed_by_its_endpoint(cases: Cases) -> None:
    case = await cases(channels=(Channel.PUSH,))
    seen, users = await case.load(), Users(case.ledger.pool)
    browser = Device("browser", webpush="https://push.example/s1#p256dh=key&auth=secret")
    await users.set_devices(seen.tenant, seen.user_id, [browser])
    assert (await case.load()).recipient.devices == (browser,)
    await suppress(case.ledger.pool, seen.tenant, Channel.PUSH, "https://push.example/s1", "asked")
    assert (await case.load()).recipient.suppressed == {(Channel.PUSH, browser.webpush)}
