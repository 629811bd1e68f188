"""Whether a user may be sent a message now: opt-outs, suppressed addresses and quiet hours."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from domain.notification import Channel, Device, QuietHours, Recipient
from domain.notification_types import NotificationType
from domain.reasons import Reason
from domain.sms_policy import EVERYWHERE, SmsPolicy
from domain.time_zones import time_zones

ANY_TYPE = "*"
"""Stands for every type in a user's settings; a setting for the type itself takes precedence over it."""


class InvalidPreference(ValueError):
    """The preference is not valid. The message says why."""


class Permission(StrEnum):
    """Whether the user's and the installation's settings allow a delivery."""

    ALLOWED = "allowed"
    SUPPRESSED = "suppressed"
    DEFERRED = "deferred"
    UNREACHABLE = "unreachable"
    """There is no address to send to: the delivery fails. This is not an error."""


@dataclass(frozen=True, slots=True)
class PermissionCheck:
    """The permission with its reason. `until`: when to check again, for `deferred` only."""

    permission: Permission
    reason: Reason | None = None
    until: datetime | None = None

    @property
    def is_withdrawn(self) -> bool:
        """Whether even a delivery that was tried before must not be sent: opted out, suppressed, or a number
        that SMS may not go to.
        """
        return self.permission is Permission.SUPPRESSED or self.reason in _REFUSED_NUMBERS


_REFUSED_NUMBERS = frozenset({Reason.COUNTRY_NOT_ALLOWED, Reason.NUMBER_TYPE_REFUSED})
ALLOWED = PermissionCheck(Permission.ALLOWED)


def check_permission(
    now: datetime,
    type: NotificationType,
    type_name: str,
    channel: Channel,
    recipient: Recipient,
    sms: SmsPolicy = EVERYWHERE,
) -> PermissionCheck:
    """Whether this type may go to the recipient over this channel at `now`.

    A `required` type ignores opt-outs and quiet hours; a suppressed address holds for every type.
    An opt-out takes precedence over a missing contact: nothing would have been sent either way, and
    suppressed is not failed. `sms`: which numbers SMS may go to.
    """
    if not type.required and not wanted(type_name, channel, recipient):
        return PermissionCheck(Permission.SUPPRESSED, Reason.OPTED_OUT)
    addresses = recipient.addresses(channel)
    if not addresses:
        return PermissionCheck(Permission.UNREACHABLE, Reason.NO_CONTACT)
    if channel is Channel.SMS and (refusal := sms.refusal_of(addresses[0])):
        return PermissionCheck(Permission.UNREACHABLE, refusal)
    if all((channel, address) in recipient.suppressed for address in addresses):
        return PermissionCheck(Permission.SUPPRESSED, Reason.SUPPRESSED_ADDRESS)
    if type.required or recipient.quiet_hours is None:
        return ALLOWED
    until = quiet_until(now, recipient.quiet_hours, recipient.time_zone)
    return PermissionCheck(Permission.DEFERRED, Reason.QUIET_HOURS, until) if until else ALLOWED


def wanted(type_name: str, channel: Channel, recipient: Recipient) -> bool:
    """Whether the user accepts this type on this channel: yes, unless the user opted out."""
    general = recipient.settings.get((ANY_TYPE, channel), True)
    return recipient.settings.get((type_name, channel), general)


def reachable_devices(recipient: Recipient) -> tuple[Device, ...]:
    """The recipient's devices without suppressed tokens, leaving out devices without any token left."""
    suppressed = {address for channel, address in recipient.suppressed if channel is Channel.PUSH}
    devices = (device.without(suppressed) for device in recipient.devices)
    return tuple(device for device in devices if device.tokens)


def quiet_until(now: datetime, quiet: QuietHours, time_zone: str | None) -> datetime | None:
    """When the quiet hours at `now` end, in UTC; None if `now` is outside them.

    UTC is used for a user without a time zone, or with one that this machine's data no longer knows. Adjacent
    windows are merged.
    """
    zone = _zone(time_zone)
    start, end = parse_local_time(quiet.start), parse_local_time(quiet.end)
    if start == end:
        return None
    asked = until = now.astimezone(UTC)
    for begins, ends in _windows(asked.astimezone(zone).date(), start, end, zone):
        if begins <= until < ends:
            until = ends
    return until if until > asked else None


def parse_local_time(text: str) -> time:
    """Parse a time of day, `HH:MM`. Raises InvalidPreference."""
    try:
        return datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise InvalidPreference("expected a local time as HH:MM, from 00:00 to 23:59") from None


def check_time_zone(name: str) -> str:
    """The name, if it is an IANA time zone such as `Africa/Lagos`. Raises InvalidPreference.

    `localtime` is refused: it depends on the machine.
    """
    if name not in time_zones():
        raise InvalidPreference("expected an IANA time zone such as Africa/Lagos or Europe/Berlin")
    return name


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


def _windows(today: date, start: time, end: time, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
    """The quiet windows around a local day, in order, as instants.

    A local time that occurs twice starts a window at its first and ends one at its second occurrence.
    """
    nights = timedelta(days=1 if end < start else 0)
    for offset in (-2, -1, 0, 1):
        day = today + timedelta(days=offset)
        begins, _ = _instants(datetime.combine(day, start), zone)
        _, ends = _instants(datetime.combine(day + nights, end), zone)
        yield begins, ends


def _instants(wall: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The first and the last instant at which clocks show this local time.

    If the clocks skip the time, both are the instant of the skip.
    """
    first, last = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= last:
        return first, last
    # In a gap, fold 0 lies after the skip and fold 1 before it (PEP 495): search between them.
    before, behind = last, first
    old_offset = before.astimezone(zone).utcoffset()
    while behind - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(behind - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == old_offset:
            before = middle
        else:
            behind = middle
    return behind, behind
