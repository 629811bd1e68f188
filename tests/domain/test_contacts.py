"""Contacts: one spelling for each address, and refusals that never repeat the address."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    SUPPORTED_REGIONS,
    PhoneMetadata,
    PhoneNumberType,
    example_number_for_type,
)

from domain.contacts import (
    InvalidContact,
    UnstorableText,
    normalise_email,
    normalise_phone,
    refuse_unstorable,
    refuse_unstorable_json,
    verdict_on,
)
from domain.notification import Channel
from domain.outcome import AddressVerdict


@pytest.mark.parametrize("text", ["+2348031236789", "+234 803 123 6789", " +234-803-123-6789 "])
def test_a_number_has_one_spelling(text: str) -> None:
    assert normalise_phone(text) == "+2348031236789"


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("08031236789", "international"),
        ("002348031236789", "international"),
        ("+1800FLOWERS", "international"),
        ("+1 202 555 0100 ext. 5", "international"),
        ("", "international"),
        ("not a number", "international"),
        ("+٢٣٤٨٠٣١٢٣٦٧٨٩", "international"),
        ("+999123456789", "country code"),
        ("+15551234", r"wrong length for country code \+1$"),
        ("+23480312367890123", "wrong length"),
        ("+" + "1" * 40, "wrong length|country code"),
    ],
)
def test_an_invalid_number_is_refused_without_repeating_it(text: str, because: str) -> None:
    with pytest.raises(InvalidContact, match=because) as refused:
        normalise_phone(text)
    assert len(text) < 5 or text not in str(refused.value)


@given(st.text(max_size=30))
def test_any_text_is_normalised_or_refused(text: str) -> None:
    try:
        number = normalise_phone(text)
    except InvalidContact:
        return
    assert normalise_phone(number) == number


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Jo@Example.COM", "Jo@example.com"),
        (" jo@example.com ", "jo@example.com"),
        ("jo+tag@mail.example.com", "jo+tag@mail.example.com"),
    ],
)
def test_an_email_address_has_one_spelling(text: str, kept: str) -> None:
    assert normalise_email(text) == kept


@pytest.mark.parametrize(
    "text",
    ["", "jo", "jo@", "@mail.example.com", "jo@localhost", "jo@x.test", "a b@example.com", "jo@ex\0.com"],
)
def test_an_invalid_address_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidContact, match="expected an email address") as refused:
        normalise_email(text)
    assert len(text) < 5 or text not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "because"), [("a\0b", "NUL"), ("\ud800", "surrogate"), ("x\udfffy", "position 1")]
)
def test_what_postgres_cannot_hold_is_refused(text: str, because: str) -> None:
    with pytest.raises(UnstorableText, match=because):
        refuse_unstorable(text)
    for value in ({text: 1}, {"a": [1, {"b": text}]}, [text], text):
        with pytest.raises(UnstorableText, match=because):
            refuse_unstorable_json(value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_numbers_are_refused(number: float) -> None:
    with pytest.raises(UnstorableText, match="finite"):
        refuse_unstorable_json({"a": [number]})


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_other_texts_are_unchanged(text: str) -> None:
    assert refuse_unstorable(text) == text
    assert refuse_unstorable_json({"a": [text, 1, 1.5, None, True]}) == {"a": [text, 1, 1.5, None, True]}


@pytest.mark.parametrize("country_code", sorted(COUNTRY_CODE_TO_REGION_CODE))
def test_e164_is_judged_like_any_other_spelling(country_code: int) -> None:
    digits = Random(country_code)
    for length in range(4, 14):
        for first in ("", "0", "00", "1", "8"):
            national = first + "".join(digits.choices("0123456789", k=length - len(first)))
            text = f"+{country_code}{national}"
            # A leading space forces parsing by libphonenumber.
            assert _judged(text) == _judged(f" {text}"), text


@pytest.mark.parametrize("region", sorted(SUPPORTED_REGIONS))
def test_no_prefix_makes_a_number_another_one(region: str) -> None:
    example = example_number_for_type(region, PhoneNumberType.MOBILE)
    if example is None:
        return
    plain, code = str(example.national_number), example.country_code
    metadata = PhoneMetadata.metadata_for_region(region)
    trunk = (metadata and metadata.national_prefix) or "0"
    for prefix in {trunk * count for count in range(4)} | {"0", "00", "000", f"{trunk}0", f"0{trunk}"}:
        once = _judged(f"+{code}{prefix}{plain}")
        # A single prefix is not dialled from abroad; it is left out, or the number is refused.
        assert once is None or _judged(f" {once}") == once, prefix


@pytest.mark.parametrize(
    "text", ["+234 0 0803 123 6789", "+23400 0803 123 6789", "+49 0 0 151 23456789", "+44 00 7400 123456"]
)
def test_several_prefixes_are_refused(text: str) -> None:
    with pytest.raises(InvalidContact):
        normalise_phone(text)


def _judged(text: str) -> str | None:
    try:
        return normalise_phone(text)
    except InvalidContact:
        return None


@pytest.mark.parametrize("verdict", list(AddressVerdict))
@pytest.mark.parametrize("channel", list(Channel))
def test_a_token_is_emptied_instead_of_suppressed(channel: Channel, verdict: AddressVerdict) -> None:
    emptied = channel is Channel.PUSH and verdict is not AddressVerdict.KEEP
    assert verdict_on(channel, verdict) is (AddressVerdict.DEACTIVATE_TOKEN if emptied else verdict)
