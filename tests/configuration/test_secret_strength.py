"""What is weak or stands for a secret is refused; what is random, or has the form of a vendor's, never is."""

import base64
import json
import random
import re
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from settings_case import MAPS, SECRETS, URLS, read, siblings, value

from configuration.placeholders import WORDS
from configuration.secret_rules import OWN_LENGTH_MIN, weakness
from settings import SettingsError

LETTERS_AND_DIGITS = string.ascii_letters + string.digits
ALPHABETS = {
    "hexadecimal": "0123456789abcdef",
    "capital hexadecimal": "0123456789ABCDEF",
    "decimal": string.digits,
    "base32": string.ascii_uppercase + "234567",
    "letters": string.ascii_lowercase,
    "base62": LETTERS_AND_DIGITS,
    "base64": LETTERS_AND_DIGITS + "+/",
    "base64url": LETTERS_AND_DIGITS + "-_",
    "printable": LETTERS_AND_DIGITS + string.punctuation,
}

NOT_RANDOM = [
    "12345678901234567890123456789012",
    "0123456789abcdef0123456789abcdef0",
    "8c1f6be2d40a97e3" * 2 + "8c1f6b",
    "k3y-" * 9,
    "aAbB" * 10,
    "00000000000000000000000012345678",
    "aaaaaaaaaaaaaaaaaaaaaaaaaabcdefgh",
    "abcdefghijklmnopqrstuvwxyz123456",
    "zyxwvutsrqponmlkjihgfedcba654321",
    "qwertyuiopasdfghjklzxcvbnm123456",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,",
    "1111222233334444555566667777888899",
    "112233445566778899aabbccddeeff00",
    "herald-production-secret-key-000001",
    "this_is_not_a_secure_secret_key_!",
    "mysupersecretkeymysupersecretkey1",
    "secret-key-secret-key-secret-key-sec",
    "://" + "0" * 32,
    "://x",
    "postgresql://herald@db/herald?herald",
]
NO_SECRETS = [
    "change_me_to_a_long_random_string_",
    "CHANGE_ME_NOW",
    "changeme123",
    "change_it",
    "8c1f6be2-change-me-d40a97e35b12",
    "REPLACE_WITH_A_SECRET_OF_32_CHARACTERS",
    "REPLACE_WITH_YOUR_KEY",
    "to-do-generate-with-openssl-rand-hex-32",
    "TO" + "DO-generate-with-openssl-rand-hex-32",
    "openssl rand -hex 32",
    "$(openssl rand -hex 32)",
    "${SECRET_KEY:-default}",
    "{{ secret_key }}",
    "<your secret key>",
    "your_secret_key_here_please_replace_",
    "development-secret-key-0123456789",
    "PUT-YOUR-KEY-HERE",
    "insert_token_here",
    "fill-me-in",
    "auth_token",
    "twilio-auth-token",
    "webhook_secret",
    "dummy_token",
    "test_token",
    "testtest",
    "test1234",
    "yourtoken",
    "supersecret",
    "Passw0rd!",
    "SG.your-api-key",
    "sk_test_key",
    "whsec_your_secret",
    "12345678",
    "qwertyui",
    "abababab",
    "xxxx-xxxx",
    "undefined",
    "not-set!",
    "REDACTED",
    "********",
]
GENERATED = [name for name, secret in SECRETS.items() if secret.is_generated]
PLAIN = [name for name in SECRETS if name not in URLS and name not in MAPS]

Form = Callable[[Callable[[str, int], str]], str]
VENDORS: dict[str, Form] = {
    "Twilio's auth token, Meta's app secret": lambda take: take("hexadecimal", 32),
    "Termii": lambda take: "TL" + take("base62", 56),
    "Termii's older": lambda take: take("base62", 24),
    "Africa's Talking": lambda take: "atsk_" + take("hexadecimal", 64),
    "SendGrid": lambda take: f"SG.{take('base64url', 22)}.{take('base64url', 43)}",
    "Mailgun": lambda take: f"{take('hexadecimal', 32)}-{take('hexadecimal', 8)}-{take('hexadecimal', 8)}",
    "Mailgun's older": lambda take: "key-" + take("hexadecimal", 32),
    "Resend": lambda take: f"re_{take('base62', 8)}_{take('base62', 24)}",
    "Resend's webhooks": lambda take: "whsec_" + take("base64", 32),
    "Meta's access token": lambda take: "EAA" + take("base62", 180),
    "Temporal Cloud": lambda take: f"eyJhbGciOiJFUzI1NiJ9.{take('base64url', 90)}.{take('base64url', 86)}",
    "Herald": lambda take: f"hk_live_{take('base62', 38)}",
    "a password of a mail server": lambda take: take("printable", 12),
    "a mailbox' app password": lambda take: " ".join(take("letters", 4) for _ in range(4)),
    "a UUID": lambda take: "-".join(take("hexadecimal", n) for n in (8, 4, 4, 4, 12)),
}


def taker(seed: int) -> Callable[[str, int], str]:
    source = random.Random(seed)
    return lambda alphabet, length: "".join(source.choices(ALPHABETS[alphabet], k=length))


@pytest.mark.parametrize("alphabet", ALPHABETS)
@given(seed=st.integers(min_value=0), more=st.integers(min_value=0, max_value=64))
def test_a_random_secret_is_never_refused(alphabet: str, seed: int, more: int) -> None:
    assert weakness(taker(seed)(alphabet, OWN_LENGTH_MIN + more), generated=True) is None


@given(seed=st.integers(min_value=0), length=st.integers(min_value=26, max_value=64))
def test_random_bytes_in_any_code_are_never_refused(seed: int, length: int) -> None:
    made = random.Random(seed).randbytes(length)
    for encode in (
        base64.b16encode,
        base64.b32encode,
        base64.b64encode,
        base64.urlsafe_b64encode,
        base64.b85encode,
    ):
        assert weakness(encode(made).decode(), generated=True) is None


@pytest.mark.parametrize("vendor", VENDORS)
@given(seed=st.integers(min_value=0))
def test_a_secret_in_the_form_of_a_vendor_is_never_refused(vendor: str, seed: int) -> None:
    assert weakness(VENDORS[vendor](taker(seed)), generated=False) is None


@pytest.mark.parametrize("secret", NOT_RANDOM)
@pytest.mark.parametrize("variable", GENERATED)
def test_what_is_not_random_is_refused(monkeypatch, variable: str, secret: str) -> None:
    given = json.dumps({"a": secret}) if variable in MAPS else secret
    with pytest.raises(
        SettingsError, match=rf"{variable}(\[\w*\])?: (repeats|is a pl|is easy|has fewer)"
    ) as refused:
        read(variable, {**siblings(variable), variable: given}, monkeypatch)
    assert secret not in str(refused.value)


@pytest.mark.parametrize("secret", NO_SECRETS)
def test_what_stands_for_a_secret_is_refused(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    for variable in ("HERALD_PROVIDERS__TWILIO__AUTH_TOKEN", "HERALD_API_KEY"):
        with pytest.raises(SettingsError, match=f"{variable}: is a placeholder") as refused:
            read(variable, {**siblings(variable), variable: secret}, monkeypatch)
        assert secret not in str(refused.value)
    for variable in GENERATED:
        assert weakness(secret.ljust(OWN_LENGTH_MIN, "_"), generated=True), variable


@pytest.mark.parametrize("variable", PLAIN)
def test_only_a_url_is_taken_for_one(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for secret in ("change-me://", "://changeme", "https://change-me@h.example/change-me"):
        with pytest.raises(SettingsError, match=f"{variable}: (is a placeholder|.*at least 16)"):
            read(variable, {**siblings(variable), variable: secret}, monkeypatch)


@pytest.mark.parametrize("written", ["{0}&password={1}", "{0}&db=1&password={1}", "{0}&PASSWORD={1}"])
@pytest.mark.parametrize("password", ["change-me", "%63hange-me", "your_password", "xxxxxxxx"])
@pytest.mark.parametrize("variable", URLS)
def test_a_password_in_a_query_is_a_secret_too(
    monkeypatch, variable: str, password: str, written: str
) -> None:
    url = written.format(value(variable) + "?a=1", password)
    with pytest.raises(SettingsError, match=f"{variable}: its password is a placeholder"):
        read(variable, {**siblings(variable), variable: url}, monkeypatch)
    monkeypatch.setenv("HERALD_ALLOW_WEAK_SECRETS", variable)
    read(variable, {**siblings(variable), variable: url}, monkeypatch)


def test_no_word_of_placeholders_is_hexadecimal() -> None:
    """A hexadecimal secret would consist of words too often."""
    assert [word for word in WORDS if re.fullmatch("[0-9a-f]+", word)] == []


def test_a_long_value_is_judged_at_once() -> None:
    for text in ("todo" * 16_000, "ab1" * 20_000, "test" * 10_000 + "!x"):
        weakness(text, generated=True)
        weakness(text + "q", generated=False)
