"""SMS segments: alphabets, sizes, and characters that are never split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.segments import GSM_7_BASIC, GSM_7_EXTENSION, Encoding, Segments, segments

BASIC = st.sampled_from(sorted(GSM_7_BASIC))
EXTENDED = st.sampled_from(sorted(GSM_7_EXTENSION))
GSM_TEXT = st.text(st.one_of(BASIC, EXTENDED), min_size=1, max_size=700)
ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=400)


def gsm(count: int) -> Segments:
    return Segments(Encoding.GSM_7, count)


def ucs(count: int) -> Segments:
    return Segments(Encoding.UCS_2, count)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", gsm(1)),
        ("a" * 160, gsm(1)),
        ("a" * 161, gsm(2)),
        ("a" * 306, gsm(2)),
        ("a" * 307, gsm(3)),
        ("€" * 80, gsm(1)),
        ("€" * 81, gsm(2)),
        # 152 septets and one escaped character, whose two septets do not fit into the part.
        ("a" * 152 + "€" + "a" * 152, gsm(3)),
        ("a" * 151 + "€" + "a" * 153, gsm(2)),
        ("ş" * 70, ucs(1)),
        ("ş" * 71, ucs(2)),
        ("ş" * 134, ucs(2)),
        ("ş" * 135, ucs(3)),
        ("a" * 69 + "ş", ucs(1)),
        ("a" * 70 + "ş", ucs(2)),
        ("😀" * 35, ucs(1)),
        ("😀" * 36, ucs(2)),
        # 67 units hold 33 and a half pairs: a pair is not split.
        ("😀" * 66, ucs(2)),
        ("😀" * 67, ucs(3)),
        ("`", ucs(1)),
        ("₦5,000 from Ada", ucs(1)),
        ("Größe: 5 {m} ~ [£3]", gsm(1)),
    ],
)
def test_texts_at_segment_boundaries(text: str, expected: Segments) -> None:
    assert segments(text) == expected


def test_the_tables_match_the_standard() -> None:
    # 128 positions without the escape; ten escaped characters (TS 23.038, 6.2.1.1).
    assert (len(GSM_7_BASIC), len(GSM_7_EXTENSION)) == (127, 10)
    assert GSM_7_BASIC.isdisjoint(GSM_7_EXTENSION)


@given(GSM_TEXT)
def test_gsm7_segments_follow_the_septets(text: str) -> None:
    septets = sum(2 if character in GSM_7_EXTENSION else 1 for character in text)
    found = segments(text)
    assert found.encoding is Encoding.GSM_7
    assert found.count == 1 if septets <= 160 else -(-septets // 153) <= found.count <= -(-septets // 152)


@given(ANY_TEXT)
def test_ucs2_segments_follow_utf_16(text: str) -> None:
    text += "ş"
    units = len(text.encode("utf-16-be")) // 2
    found = segments(text)
    assert found.encoding is Encoding.UCS_2
    assert found.count == 1 if units <= 70 else -(-units // 67) <= found.count <= -(-units // 66)


@given(GSM_TEXT, BASIC)
def test_more_text_never_needs_fewer_segments(text: str, more: str) -> None:
    assert segments(text).count <= segments(text + more).count <= segments(text).count + 1


@given(GSM_TEXT)
def test_no_part_of_a_long_text_splits_an_escaped_character(text: str) -> None:
    long = text + "a" * 161
    parts, part, room = [], "", 153
    for character in long:
        size = 2 if character in GSM_7_EXTENSION else 1
        if size > room:
            parts, part, room = [*parts, part], "", 153
        part, room = part + character, room - size
    # The parts as a phone joins them.
    assert "".join([*parts, part]) == long
    assert segments(long).count == len(parts) + 1
