"""The written form of API keys: `hk_live_<prefix>_<secret><checksum>`, or `hk_test_…`.

The checksum distinguishes a key from any other text without a look-up: scanners of leaked secrets report no
false finds, and a key that was cut when it was copied is recognised. It is the CRC-32 of all characters
before it, in base 62 with six digits. Keys of release 0.1.0 have no checksum: `hk_<prefix>_<secret>`.
"""

import hashlib
import re
import string
import zlib
from typing import Final

PREFIX_CHARS: Final = 8
SECRET_CHARS: Final = 32
"""190 random bits."""
ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
PATTERN: Final = r"hk_(?:live|test)_[0-9a-f]{8}_[0-9A-Za-z]{38}"
"""What every key matches that has a checksum. docs/api.md shows it."""

_CHECKSUM_CHARS: Final = 6
_KEY: Final = re.compile(PATTERN)
_MODES: Final = ("live", "test")


def key_of(prefix: str, secret: str, *, test: bool) -> str:
    """The key in clear text."""
    text = f"hk_{_MODES[test]}_{prefix}_{secret}"
    return text + _checksum(text)


def split(key: str) -> tuple[str, bytes] | None:
    """The prefix and the digest of a key in clear text; None if it does not have the form of a key.

    The checksum is not compared: `is_intact` does this, once nothing else is known about the key.
    """
    head, _, rest = key.partition("_")
    prefix, _, secret = rest.partition("_")
    if prefix in _MODES:
        prefix, _, secret = secret.partition("_")
    if head != "hk" or len(prefix) != PREFIX_CHARS or not secret:
        return None
    # A key has at least 190 random bits, so a plain digest is enough: it cannot be guessed.
    return prefix, hashlib.sha256(key.encode()).digest()


def is_intact(key: str) -> bool:
    """Whether the key's checksum is right; True for a key without one."""
    if not key.startswith(tuple(f"hk_{mode}_" for mode in _MODES)):
        return True
    return _KEY.fullmatch(key) is not None and _checksum(key[:-_CHECKSUM_CHARS]) == key[-_CHECKSUM_CHARS:]


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_CHARS):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
