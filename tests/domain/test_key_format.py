"""The written form of keys: a checksum that scanners can compare, and old keys that stay valid."""

import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.key_format import ALPHABET, PATTERN, SECRET_CHARS, is_intact, key_of, split

KEY = "hk_live_0a1b2c3d_" + "Zz9" * 10 + "Qq"
API_PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def checksum_as_documented(text: str) -> str:
    """docs/api.md: the CRC-32 in base 62, digits then upper then lower case, with six digits."""
    number, digits = zlib.crc32(text.encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits.rjust(6, "0")


secrets = st.text(ALPHABET, min_size=SECRET_CHARS, max_size=SECRET_CHARS)
prefixes = st.text("0123456789abcdef", min_size=8, max_size=8)


@given(prefixes, secrets, st.booleans())
def test_a_key_matches_the_documented_pattern_and_checksum(prefix: str, secret: str, test: bool) -> None:
    key = key_of(prefix, secret, test=test)
    assert re.fullmatch(PATTERN, key)
    assert key == f"hk_{'test' if test else 'live'}_{prefix}_{secret}{checksum_as_documented(key[:-6])}"
    assert is_intact(key)
    found = split(key)
    assert found
    assert found[0] == prefix


@given(prefixes, secrets, st.integers(8, 54), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_noticed(prefix: str, secret: str, place: int, wrong: str) -> None:
    key = key_of(prefix, secret, test=False)
    changed = key[:place] + wrong + key[place + 1 :]
    assert is_intact(changed) is (changed == key)


@given(prefixes, secrets, st.integers(9, 54))
def test_a_cut_key_is_noticed(prefix: str, secret: str, length: int) -> None:
    assert not is_intact(key_of(prefix, secret, test=True)[:length])


@pytest.mark.parametrize("key", ["hk_0a1b2c3d_a-secret_with-both", "hk_0a1b2c3d_x", "hk_livelong_x"])
def test_keys_of_the_first_release_have_no_checksum(key: str) -> None:
    assert is_intact(key)
    found = split(key)
    assert found
    assert found[0] == key.split("_")[1]


def test_the_page_shows_the_pattern() -> None:
    assert PATTERN.replace("(?:", "(") in API_PAGE.read_text(encoding="utf-8")
