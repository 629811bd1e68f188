"""Masks: enough to recognise an address, never enough to use it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import NumberParseException, parse

from domain.masking import mask, mask_email, mask_phone, mask_token, summary
from domain.notification import Channel, Device, Recipient, Strategy


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+2348031236789", "+234•••••6789"),
        ("+15005550006", "+1•••••0006"),
        ("+4930123", "+49•••••23"),
        ("nonsense", "•••••"),
        ("", "•••••"),
    ],
)
def test_phones(number: str, masked: str) -> None:
    assert mask_phone(number) == mask(Channel.SMS, number) == masked


@given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
def test_the_calling_code_is_the_one_that_libphonenumber_finds(number: str) -> None:
    try:
        found = f"+{parse(number, None).country_code}•••••"
    except NumberParseException:
        found = "•••••"
    assert mask_phone(number).startswith(found)


@given(st.from_regex(r"\+234[789][01]\d{8}", fullmatch=True))
def test_at_least_half_of_a_number_is_hidden(number: str) -> None:
    shown = "".join(c for c in mask_phone(number).removeprefix("+234") if c.isdigit())
    assert len(shown) <= 5
    assert number.endswith(shown)


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("jo@example.com", "j•••@example.com"),
        ("j@example.com", "•••@example.com"),
        ("a@b@example.com", "a•••@example.com"),
        ("nonsense", "•••"),
    ],
)
def test_emails(address: str, masked: str) -> None:
    assert mask_email(address) == mask(Channel.EMAIL, address) == masked


def test_tokens() -> None:
    assert mask_token("abcdefghijklmnop") == mask(Channel.PUSH, "abcdefghijklmnop") == "abcd…"
    assert mask_token("short") == "…"
    assert mask(Channel.PUSH, "https://push.example/secret#auth=secret") == "https://push.example/…"
    assert mask(Channel.WHATSAPP, "+2348031236789") == "+234•••••6789"


def test_the_summary_names_channel_and_recipient() -> None:
    recipient = Recipient(
        sms="+2348031236789", email="jo@example.com", devices=(Device("a", "t" * 20), Device("b"))
    )
    sms, email, push = Channel.SMS, Channel.EMAIL, Channel.PUSH
    assert summary("debit_alert", [sms], recipient) == "debit_alert → sms (+234•••••6789)"
    assert summary("otp", [push, sms], recipient, Strategy.FIRST) == (
        "otp → push (2 devices), else sms (+234•••••6789)"
    )
    assert summary("otp", [email, sms], Recipient()) == "otp → email (no contact), sms (no contact)"


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_summary_fits_what_temporal_takes(type_name: str, domain: str) -> None:
    recipient = Recipient(sms="+2348031236789", email=f"jo@{domain}", devices=(Device("a", "t"),))
    line = summary(type_name, list(Channel), recipient)
    assert len(line) <= 120
    # Type names and dots; other alphabets are cut at the same count.
    if type_name.isascii() and type_name.isprintable() and domain.isascii() and domain.isprintable():
        assert len(json.dumps(line).encode()) <= 400
