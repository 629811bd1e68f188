"""Masks addresses, and summarises a notification in one line for the Web UI."""

import re
from collections.abc import Sequence

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, NumberParseException, parse

from domain.notification import ADDRESS_KINDS, AddressKind, Channel, Recipient, Strategy

HIDDEN = "•••"
SUMMARY_CHARS_MAX = 120
"""Temporal refuses a summary whose JSON exceeds 400 bytes; a dot takes six of them."""

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
CALLING_CODES = frozenset(str(code) for code in COUNTRY_CODE_TO_REGION_CODE)
"""Every country calling code, without its plus."""


def mask_phone(number: str) -> str:
    """An E.164 number with its country code and last four digits: `+234•••••6789`."""
    country = _calling_code(number)
    if country is None:
        return "•••••"
    national = number[len(country) :]
    # At least half of the national number stays hidden, however short it is.
    shown = min(4, len(national) // 2)
    return f"{country}•••••{national[len(national) - shown :]}"


def _calling_code(number: str) -> str | None:
    """The calling code of an E.164 number, with its plus. No calling code is the prefix of another."""
    if _E164.fullmatch(number):
        return next((f"+{code}" for end in (2, 3, 4) if (code := number[1:end]) in CALLING_CODES), None)
    try:
        return f"+{parse(number, None).country_code}"
    except NumberParseException:
        return None


def mask_email(address: str) -> str:
    """An email address with its first letter and its domain: `j•••@example.com`."""
    local, at, domain = address.rpartition("@")
    if not at:
        return HIDDEN
    return f"{local[:1] if len(local) > 1 else ''}{HIDDEN}@{domain}"


def mask_token(token: str) -> str:
    """A device token by its first four characters: `abcd…`; a subscription by its push service."""
    if token.startswith(("https://", "http://")):
        return f"{'/'.join(token.split('/', 3)[:3])}/…"
    return f"{token[:4]}…" if len(token) >= 16 else "…"


def mask(channel: Channel, address: str) -> str:
    """Mask an address of any channel."""
    return _MASKS[ADDRESS_KINDS[channel]](address)


def shown(channel: Channel, address: str, *, clear: bool) -> str:
    """An address as a key may see it: in clear, or masked."""
    return address if clear else mask(channel, address)


_MASKS = {
    AddressKind.PHONE: mask_phone,
    AddressKind.EMAIL: mask_email,
    AddressKind.TOKEN: mask_token,
}


def summary(
    type_name: str,
    channels: Sequence[Channel],
    recipient: Recipient,
    strategy: Strategy = Strategy.ALL,
) -> str:
    """One line for operators: `debit_alert → sms (+234•••••6789)`, at most SUMMARY_CHARS_MAX characters."""
    joint = ", else " if strategy is Strategy.FIRST else ", "
    line = f"{type_name} → {joint.join(_channel_summary(channel, recipient) for channel in channels)}"
    return line if len(line) <= SUMMARY_CHARS_MAX else f"{line[: SUMMARY_CHARS_MAX - 1]}…"


def _channel_summary(channel: Channel, recipient: Recipient) -> str:
    if channel is Channel.PUSH:
        count = len(recipient.devices)
        if not count:
            return "push"
        return f"push ({count} {'device' if count == 1 else 'devices'})"
    address = recipient.address(channel)
    return f"{channel} ({mask(channel, address) if address else 'no contact'})"
