"""How many SMS segments a text needs: what vendors send and charge for, counted before the call.

The alphabets are those of 3GPP TS 23.038 (GSM 03.38), section 6.2.1; the sizes those of TS 23.040: one
message holds 140 bytes, and each part of a longer one gives six of them to the header that joins the parts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

GSM_7_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The basic table: one septet per character."""

GSM_7_EXTENSION: Final = frozenset("\f^{}\\[~]|€")
"""The extension table: two septets per character, including the escape."""

_GSM_7: Final = GSM_7_BASIC | GSM_7_EXTENSION


class Encoding(StrEnum):
    """`gsm7` if every character is in the two tables; a single other one makes the whole text `ucs2`."""

    GSM_7 = "gsm7"
    UCS_2 = "ucs2"


_ALONE_MAX: Final = {Encoding.GSM_7: 160, Encoding.UCS_2: 70}
_PART_MAX: Final = {Encoding.GSM_7: 153, Encoding.UCS_2: 67}


@dataclass(frozen=True, slots=True)
class Segments:
    """A text's encoding and its number of segments."""

    encoding: Encoding
    count: int


def segments(text: str) -> Segments:
    """Count the segments of a text. A character of two units (escaped, or a surrogate pair) is never split,
    so a part may end one unit short.
    """
    used = frozenset(text)
    encoding = Encoding.GSM_7 if used <= _GSM_7 else Encoding.UCS_2
    doubled = used & GSM_7_EXTENSION if encoding is Encoding.GSM_7 else {c for c in used if ord(c) > 0xFFFF}
    if len(text) + sum(map(text.count, doubled)) <= _ALONE_MAX[encoding]:
        return Segments(encoding, 1)
    sizes = (_units(character, encoding) for character in text)
    return Segments(encoding, _parts(sizes, _PART_MAX[encoding]))


def _units(character: str, encoding: Encoding) -> int:
    if encoding is Encoding.GSM_7:
        return 2 if character in GSM_7_EXTENSION else 1
    return 2 if ord(character) > 0xFFFF else 1


def _parts(sizes: Iterable[int], part_max: int) -> int:
    parts, used = 1, 0
    for size in sizes:
        if used + size > part_max:
            parts, used = parts + 1, 0
        used += size
    return parts
