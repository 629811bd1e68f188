"""Validates contacts and texts: one spelling for one address, and nothing that cannot be stored."""

import math
import re
from functools import cache
from typing import Any

from email_validator import EmailNotValidError, validate_email
from phonenumbers import (
    NumberParseException,
    PhoneMetadata,
    PhoneNumberFormat,
    ValidationResult,
    format_number,
    is_possible_number_with_reason,
    parse,
    region_code_for_country_code,
)

from domain.notification import ADDRESS_KINDS, AddressKind, Channel
from domain.outcome import AddressVerdict

_E164_CHARS_MAX = 16
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_PHONE_SPELLING = re.compile(r"\+[0-9 ().\-/]{5,40}")
_WITH_MOBILE_9 = re.compile(r"(\+54)9(\d{10})|(\+55\d\d)9([6-9]\d{7})", re.ASCII)
"""Mobile numbers of Argentina and Brazil. Messages reach them without this 9, too."""


class InvalidContact(ValueError):
    """The address is not valid. The message never repeats it: errors are logged."""


class UnstorableText(ValueError):
    """A text, or a number, that Postgres cannot hold. The message says what is in it."""


def normalise_phone(text: str) -> str:
    """The number in E.164, e.g. `+2348031236789`. Raises InvalidContact.

    A number is accepted if its length is one that its country uses (libphonenumber's "possible").
    Whether its range is assigned is not checked: those tables age, and refusing a customer because of an old
    table is worse than a number that the provider refuses.
    """
    if _E164.fullmatch(text) and _is_as_it_is_dialled(text):
        return text
    if not _PHONE_SPELLING.fullmatch(text.strip()):
        raise InvalidContact("expected a phone number in international form, such as +2348031236789")
    try:
        number = parse(text, None)
    except NumberParseException:
        raise InvalidContact("the phone number begins with no known country code") from None
    written = format_number(number, PhoneNumberFormat.E164)
    # Some plans have dialling lengths that leave less room for the country code than E.164 has.
    if (
        is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE
        or len(written) > _E164_CHARS_MAX
    ):
        raise InvalidContact(f"the phone number has the wrong length for country code +{number.country_code}")
    if parse(written, None) != number:
        # One person would have several numbers here, each with limits and opt-outs that the others evade.
        raise InvalidContact("the phone number has more than one prefix, such as 0, after its country code")
    return written


def prefix_of(country_code: int) -> re.Pattern[str] | None:
    """The pattern of a prefix, such as 0, that parsing may strip behind a country code in E.164."""
    plan = _plan(country_code)
    return plan[1] if plan else None


def _is_as_it_is_dialled(number: str) -> bool:
    """Whether libphonenumber would accept a number in E.164 and leave it unchanged.

    It reads the same tables as parsing, checking and formatting, at a tenth of their cost.
    """
    for digits in (2, 3, 4):
        plan = _plan(int(number[1:digits]))
        if plan is not None:
            lengths, prefix = plan
            national = number[digits:]
            return len(national) in lengths and not (prefix and prefix.match(national))
    return False


@cache
def _plan(country_code: int) -> tuple[frozenset[int], re.Pattern[str] | None] | None:
    """The lengths of a country's numbers, and the prefix that parsing may strip."""
    region = region_code_for_country_code(country_code)
    if region == "ZZ":
        return None
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(country_code, region)
    if metadata is None or metadata.general_desc is None:
        return None
    prefix = metadata.national_prefix_for_parsing
    return frozenset(metadata.general_desc.possible_length), re.compile(prefix) if prefix else None


def suppression_key(channel: Channel, address: str) -> str:
    """The form of an address in the suppression list: an email address in lower case, a browser's
    subscription by its endpoint, without the keys behind it.

    Case-sensitive mailboxes are not found in practice, vendors report addresses in lower case, and another
    spelling must not evade a suppression. Messages are sent to the original spelling.
    """
    match ADDRESS_KINDS[channel]:
        case AddressKind.EMAIL:
            return address.lower()
        case AddressKind.TOKEN:
            return address.partition("#")[0]
        case AddressKind.PHONE:
            return address


def counting_key(channel: Channel, address: str) -> str:
    """The form of an address that limits count by: like `suppression_key`, but a phone that has two numbers
    counts once.
    """
    if ADDRESS_KINDS[channel] is AddressKind.PHONE and (found := _WITH_MOBILE_9.fullmatch(address)):
        return "".join(found.groups(""))
    return suppression_key(channel, address)


def verdict_on(channel: Channel, verdict: AddressVerdict) -> AddressVerdict:
    """What a provider's verdict means for an address of this channel: a token is emptied instead of
    suppressed.
    """
    if verdict is AddressVerdict.KEEP or ADDRESS_KINDS[channel] is not AddressKind.TOKEN:
        return verdict
    return AddressVerdict.DEACTIVATE_TOKEN


def normalise_email(text: str) -> str:
    """The address with its domain in lower case and its Unicode normalised. Raises InvalidContact.

    Syntax only (RFC 5321 and 6531 as email-validator reads them): no DNS lookup.
    """
    try:
        return validate_email(text.strip(), check_deliverability=False).normalized
    except EmailNotValidError:
        raise InvalidContact(
            "expected an email address such as name@example.com (reserved domains such as .test, .local "
            "or .invalid cannot receive mail)"
        ) from None


def refuse_unstorable(text: str) -> str:
    """The text, unless it contains a NUL character or an unpaired surrogate. Raises UnstorableText."""
    if "\0" in text:
        raise UnstorableText("the text contains a NUL character (U+0000): remove it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnstorableText(
            f"the text contains an unpaired surrogate at position {error.start}; remove it"
        ) from None
    return text


def refuse_unstorable_json(value: Any) -> Any:
    """The JSON value, unless a name or text in it is unstorable or a number is not finite.

    Raises UnstorableText.
    """
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            refuse_unstorable(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise UnstorableText("a number is not finite (NaN or Infinity): JSON has no such number")
        elif isinstance(item, dict):
            pending.extend(item.keys())
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            pending.extend(item)
    return value
