"""Preferences: what is allowed, and when quiet hours end."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.notification import Channel, Device, QuietHours, Recipient
from domain.notification_types import NotificationType
from domain.preferences import (
    ALLOWED,
    InvalidPreference,
    Permission,
    PermissionCheck,
    check_permission,
    check_time_zone,
    parse_local_time,
    quiet_until,
    reachable_devices,
)
from domain.reasons import Reason

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)
ORDINARY = NotificationType()
REQUIRED = NotificationType(required=True)
PHONE = "+2348031236789"
OPTED_OUT = PermissionCheck(Permission.SUPPRESSED, Reason.OPTED_OUT)
SUPPRESSED = PermissionCheck(Permission.SUPPRESSED, Reason.SUPPRESSED_ADDRESS)

ZONES = st.sampled_from(
    [
        "Africa/Lagos",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/St_Johns",
        "Pacific/Apia",
        "Asia/Kathmandu",
        "Pacific/Kiritimati",
        "UTC",
    ]
)
CLOCK = st.times().map(lambda t: t.replace(second=0, microsecond=0))
# Years in which every zone above has its rules, including Apia's skipped day (2011-12-30).
NOWS = st.datetimes(datetime(2010, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def _check(
    recipient: Recipient, type: NotificationType = ORDINARY, channel: Channel = Channel.SMS
) -> PermissionCheck:
    return check_permission(NOON, type, "price_alert", channel, recipient)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ALLOWED),
        ({("price_alert", "sms"): True}, ALLOWED),
        ({("price_alert", "sms"): False}, OPTED_OUT),
        ({("*", "sms"): False}, OPTED_OUT),
        ({("*", "sms"): False, ("price_alert", "sms"): True}, ALLOWED),
        ({("*", "sms"): True, ("price_alert", "sms"): False}, OPTED_OUT),
        ({("*", "email"): False, ("statement", "sms"): False}, ALLOWED),
    ],
)
def test_the_most_specific_setting_wins(
    settings: dict[tuple[str, str], bool], expected: PermissionCheck
) -> None:
    recipient = Recipient(sms=PHONE, settings=settings)
    assert _check(recipient) == expected
    assert _check(recipient, REQUIRED) == ALLOWED


def test_a_suppressed_address_holds_for_required_types_too() -> None:
    recipient = Recipient(sms=PHONE, email="j@example.com", suppressed=frozenset({(Channel.SMS, PHONE)}))
    assert _check(recipient) == _check(recipient, REQUIRED) == SUPPRESSED
    assert _check(recipient, channel=Channel.EMAIL) == ALLOWED


@pytest.mark.parametrize("channel", list(Channel))
def test_no_address_is_unreachable(channel: Channel) -> None:
    unreachable = PermissionCheck(Permission.UNREACHABLE, Reason.NO_CONTACT)
    empty = Recipient(devices=(Device("old"),))
    assert _check(empty, channel=channel) == _check(empty, REQUIRED, channel) == unreachable


def test_an_opted_out_user_without_contact_is_suppressed_and_not_failed() -> None:
    assert _check(Recipient(settings={("*", "sms"): False})) == OPTED_OUT


def test_suppressed_tokens_are_left_out() -> None:
    devices = (Device("a", "fcm-a", "apns-a"), Device("b", "fcm-b"), Device("c", None, "apns-c"))
    suppressed = {(Channel.PUSH, "fcm-a"), (Channel.PUSH, "fcm-b"), (Channel.SMS, "apns-c")}
    recipient = Recipient(devices=devices, suppressed=frozenset(suppressed))
    assert reachable_devices(recipient) == (Device("a", None, "apns-a"), devices[2])
    assert _check(recipient, channel=Channel.PUSH) == ALLOWED

    everything = frozenset((Channel.PUSH, f"{kind}-{name}") for kind in ("fcm", "apns") for name in "abc")
    assert _check(Recipient(devices=devices, suppressed=everything), channel=Channel.PUSH) == SUPPRESSED


def test_quiet_hours_defer_all_but_required_types() -> None:
    recipient = Recipient(sms=PHONE, time_zone="Africa/Lagos", quiet_hours=QuietHours("12:30", "14:00"))
    # Noon in UTC is 13:00 in Lagos.
    until = datetime(2026, 11, 18, 13, tzinfo=UTC)
    assert _check(recipient) == PermissionCheck(Permission.DEFERRED, Reason.QUIET_HOURS, until)
    assert _check(recipient, REQUIRED) == ALLOWED


def _local(zone: str, *parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold)  # pyright: ignore[reportArgumentType] (ints)


NIGHT = QuietHours("22:00", "07:00")


@pytest.mark.parametrize(
    ("zone", "quiet", "now", "until"),
    [
        ("Europe/Berlin", NIGHT, (2026, 11, 18, 21, 59), None),
        ("Europe/Berlin", NIGHT, (2026, 11, 18, 22, 0), (2026, 11, 19, 7)),
        ("Europe/Berlin", NIGHT, (2026, 11, 19, 6, 59), (2026, 11, 19, 7)),
        ("Europe/Berlin", NIGHT, (2026, 11, 19, 7, 0), None),
        # A night in which clocks go forward, and one in which they go back.
        ("Europe/Berlin", NIGHT, (2026, 3, 28, 23, 0), (2026, 3, 29, 7)),
        ("Europe/Berlin", NIGHT, (2026, 10, 24, 23, 0), (2026, 10, 25, 7)),
        # 02:30 does not exist on that day: quiet hours end when clocks jump to 03:00.
        ("Europe/Berlin", QuietHours("01:00", "02:30"), (2026, 3, 29, 1, 30), (2026, 3, 29, 3)),
        # … and have started by then.
        ("Europe/Berlin", QuietHours("02:30", "05:00"), (2026, 3, 29, 1, 59), None),
        ("Europe/Berlin", QuietHours("02:30", "05:00"), (2026, 3, 29, 3, 0), (2026, 3, 29, 5)),
        ("Europe/Berlin", QuietHours("08:00", "08:00"), (2026, 3, 29, 8, 0), None),
        # The day that Samoa skipped.
        ("Pacific/Apia", NIGHT, (2011, 12, 29, 23, 0), (2011, 12, 31, 7)),
    ],
)
def test_quiet_hours_are_local_clock_times(
    zone: str, quiet: QuietHours, now: tuple[int, ...], until: tuple[int, ...] | None
) -> None:
    assert quiet_until(_local(zone, *now), quiet, zone) == (_local(zone, *until) if until else None)


def test_quiet_hours_end_at_the_second_of_two_equal_times() -> None:
    quiet = QuietHours("22:00", "02:30")
    first, second = (
        _local("Europe/Berlin", 2026, 10, 25, 2, 30, fold=fold).astimezone(UTC) for fold in (0, 1)
    )
    assert quiet_until(first, quiet, "Europe/Berlin") == second
    assert quiet_until(second, quiet, "Europe/Berlin") is None


def _in_window(clock: time, start: time, end: time) -> bool:
    return start <= clock < end if start <= end else clock >= start or clock < end


@given(NOWS, ZONES, CLOCK, CLOCK)
def test_nothing_is_sent_while_the_users_clock_shows_quiet_hours(
    now: datetime, zone: str, start: time, end: time
) -> None:
    quiet = QuietHours(f"{start:%H:%M}", f"{end:%H:%M}")
    until = quiet_until(now, quiet, zone)
    sent_at = until or now
    assert not _in_window(sent_at.astimezone(ZoneInfo(zone)).time(), start, end)
    if until:
        assert now < until
        # One window, plus a skipped day or repeated hours.
        assert until - now <= timedelta(hours=50)
        assert quiet_until(until, quiet, zone) is None
        assert quiet_until(until - timedelta(seconds=1), quiet, zone) == until


@given(NOWS, CLOCK, CLOCK)
def test_without_a_clock_change_quiet_is_exactly_the_window(now: datetime, start: time, end: time) -> None:
    quiet = QuietHours(f"{start:%H:%M}", f"{end:%H:%M}")
    for zone in (None, "UTC", "No/Such_Zone"):
        assert (quiet_until(now, quiet, zone) is not None) == _in_window(now.time(), start, end)


@pytest.mark.parametrize("text", ["24:00", "7", "07:60", "", "7pm", "07:00:00"])
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidPreference, match="HH:MM"):
        parse_local_time(text)


@pytest.mark.parametrize(
    "name",
    [
        *("Mars/Base", "", "../etc/passwd", "Europe", "\0"),
        *("localtime", "posixrules", "Factory", "posix/UTC", "right/UTC", "africa/lagos"),
    ],
)
def test_an_invalid_time_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidPreference, match="IANA"):
        check_time_zone(name)


@pytest.mark.parametrize("name", ["Africa/Lagos", "UTC", "America/Argentina/Ushuaia", "Etc/GMT+1"])
def test_a_time_zone_is_accepted_by_its_name(name: str) -> None:
    assert check_time_zone(name) == name
