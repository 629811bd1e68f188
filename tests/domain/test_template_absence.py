"""What nobody can see is named: blank signs, blank results, empty lists, null in a computation."""

import sys
import unicodedata
from typing import Any

import pytest

from domain.template_run import RenderingFailed, is_blank
from domain.templates import Message

_DEFAULT_IGNORABLE = [
    *[(0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F)],
    *[(0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F)],
    *[(0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A)],
    (0xE0000, 0xE0FFF),
]
"""Of Unicode's DerivedCoreProperties.txt; the same in 14.0 and 17.0."""
_SEEN_FORMATS = [
    *(0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD),
]
"""Prepended_Concatenation_Mark: signs around or under the digits that follow."""
_BLANK_SIGNS = {0x2800, 0x13441, 0x13442, 0x16FE4, 0x1D159, *range(0x13430, 0x13440)}
"""Blank glyphs, and the controls of hieroglyphs, of which Python knows only its Unicode's."""


def _blank_by_unicode() -> set[int]:
    ignorable = {code for first, last in _DEFAULT_IGNORABLE for code in range(first, last + 1)}
    of_category = {
        code
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Zs", "Zl", "Zp")
    }
    return (ignorable | of_category | _BLANK_SIGNS) - set(_SEEN_FORMATS)


def test_what_is_blank_is_what_unicode_says() -> None:
    found = {code for code in range(sys.maxunicode + 1) if is_blank(chr(code))}
    assert {f"{code:X}" for code in found ^ _blank_by_unicode()} == set()


def absent(source: str, **data: Any) -> list[tuple[str, str]]:
    with pytest.raises(RenderingFailed) as failed:
        Message(source, None).render(data)
    assert failed.value.code == "template_value_missing", failed.value
    return [(lack.text, lack.kind) for lack in failed.value.lacks]


def render(source: str, **data: Any) -> str:
    return Message(source, None).render(data)[0]


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("name|trim('a')", "name|trim"),
        ("name|truncate(0, true, '', 0)", "name|truncate"),
        ("name|trim('a')|upper", "name|trim"),
        ("name|upper|trim('A')", "name|upper|trim"),
        ("'Hi ' ~ name|trim('a')", "name|trim"),
        ("user.name|trim('a')", "user.name|trim"),
        ("(name|truncate(1, true, '', 0))|trim('a')", "name|truncate|trim"),
    ],
)
def test_a_text_that_a_filter_left_blank_is_named(expression: str, name: str) -> None:
    assert absent(f"x {{{{ {expression} }}}}", name="aaa", user={"name": "aaa"}) == [(name, "blank")]


@pytest.mark.parametrize(
    "expression",
    [
        "name|default('')|trim",
        "''|truncate(5)",
        "name|default('') ~ ''",
        "1|plural(one='', other='s')",
        "'1'|plural(one='', other='s')",
        "'' if true else name",
    ],
)
def test_a_blank_that_the_author_wrote_is_printed(expression: str) -> None:
    assert render(f"x{{{{ {expression} }}}}", name=" ") == "x"


@pytest.mark.parametrize("empty", [[], {}])
def test_an_empty_list_or_mapping_counts_as_blank(empty: Any) -> None:
    for source in (
        "{{ a }}",
        "{{ a|upper }}",
        "{{ 'x' ~ a }}",
        "{{ a|number }}",
        "{{ a + a }}",
        "{{ b[0] }}",
    ):
        assert absent(source, a=empty, b=[empty])[0][1] == "blank", source
    assert render("{{ a|default('none') }} {{ a|length }}", a=empty) == "none 0"
    assert render("{% for b in a %}x{% else %}none{% endfor %}{% if not a %}!{% endif %}", a=empty) == "none!"


@pytest.mark.parametrize("value", [["", None], {"a": None}, [1], {"a": "b"}, [[]]])
@pytest.mark.parametrize(
    "source",
    [
        "{{ a }}",
        "{{ a|upper }}",
        "{{ a|e }}",
        "{{ a|trim }}",
        "{{ 'x' ~ a }}",
        "{{ b or a }}",
        "{{ a|d(1) }}",
    ],
)
def test_a_list_or_mapping_is_no_text(source: str, value: Any) -> None:
    with pytest.raises(RenderingFailed, match="is a list or a mapping, not a text") as failed:
        render(source, a=value, b=0)
    assert failed.value.code == "template_failed"


@pytest.mark.parametrize(
    "condition",
    [
        *("a > 1", "1 < a", "a <= 1", "1 >= a", "0 < 1 < a", "a < 1 < 2", "1 == 1 > a"),
        *("'a' in a", "'a' not in a", "a in 'text'", "a not in text"),
        *("a + 1", "1 - a", "a * 2", "a / 2", "-a", "+a > 0", "a ~ 'x'", "'x' ~ a == 'x'"),
        *("a|length", "a|length > 1", "a|upper", "a|trim", "a|int > 1", "a|first", "a|last == 1"),
        *("a|money('NGN')", "a|date", "a|round", "1|round(a)", "'x'|truncate(a)"),
        *("a is even", "a is odd", "(a or a) > 1", "(a if true) > 1", "(b and a) + 1"),
    ],
)
def test_null_in_a_computation_of_a_condition_is_named(condition: str) -> None:
    for source in (
        "{% if " + condition + " %}x{% endif %}y",
        "{{ 'x' if " + condition + " else 'y' }}",
        "{% for c in text if " + condition + " %}x{% endfor %}y",
    ):
        found = absent(source, a=None, b=1, text="text")
        assert [(name.split("|")[0], kind) for name, kind in found] == [("a", "null")], source


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        *[("a", False), ("not a", True), ("a == none", True), ("a != 1", True), ("a is not string", True)],
        *[("a in b", True), ("a or 1", True), ("a and 1", False)],
        *[("a|default(2) > 1", True), ("a|d('') ~ 'x' == 'x'", True), ("a.b is defined", False)],
        ("c == ''", True),
    ],
)
def test_a_condition_may_still_look_at_null(condition: str, holds: bool) -> None:
    assert render(f"{{% if {condition} %}}yes{{% else %}}no{{% endif %}}", a=None, b=[None], c="") == (
        "yes" if holds else "no"
    )


@pytest.mark.parametrize("condition", ["a > 1", "'x' >= b", "1 in a", "'a' in b", "a < c"])
def test_values_that_cannot_be_compared_fail_without_being_repeated(condition: str) -> None:
    with pytest.raises(RenderingFailed, match="cannot be compared with this value") as failed:
        render("{% if " + condition + " %}{% endif %}", a="secret", b=5, c=[1])
    assert failed.value.code == "template_failed"
    assert "secret" not in str(failed.value)


def test_a_trial_names_what_neither_the_data_nor_the_others_have() -> None:
    message = Message(
        "{{ city }} {{ nmae }} {{ name|upper }} {% if vpi %}{% endif %}{{ 1|number }}", "{{ titel }}"
    )
    others = {"name", "locale", *(f"n{number}" for number in range(50_000))}
    found = message.try_with({"city": "Lagos"}, others)
    assert [(lack.text, lack.kind) for lack in found] == [
        *[("nmae", "missing"), ("vpi", "missing"), ("titel", "missing")],
    ]
    assert message.try_with({"city": "Lagos"}) == ()
