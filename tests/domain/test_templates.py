"""What templates say: values, filters by locale, and by name what is absent or wrong."""

import gc
import tracemalloc
from typing import Any

import pytest

from domain.template_language import TAGS_MAX, TEMPLATE_BYTES_MAX, TemplateRefused
from domain.template_locales import check_locale
from domain.template_run import Lack, RenderingFailed
from domain.templates import _CACHED_BYTES_MAX, BODY_CHARS_MAX, Message, Template, _Cache, compiled


def render(source: str, **data: Any) -> str:
    return Message(source, None).render(data)[0]


def absent(source: str, data: dict[str, Any], title: str | None = None) -> list[tuple[str, str]]:
    with pytest.raises(RenderingFailed) as failed:
        Message(source, title).render(data)
    assert failed.value.code == "template_value_missing"
    return [(lack.text, lack.kind) for lack in failed.value.lacks]


BLANKS = [
    "",
    " ",
    "\t\n",
    "\u00a0",
    "\u200b",
    "\ufeff",
    "\u2800",
    "\u3164",
    "\u00ad\u200d",
    "\U000e0020",
    "\ufe0f",
]


@pytest.mark.parametrize("blank", [None, *BLANKS])
def test_a_default_is_for_what_is_missing_null_or_blank(blank: str | None) -> None:
    source = 'Hi {{ name|default("friend") }} {{ a.b|d("x") }} {{ name|trim|d("y") }}'
    assert render(source, name=blank) == "Hi friend x y"
    assert render(source) == "Hi friend x y"
    assert render(source, name="Ada", a={"b": 0}) == "Hi Ada 0 Ada"


@pytest.mark.parametrize("blank", BLANKS)
def test_a_blank_value_is_named_wherever_it_is_printed(blank: str) -> None:
    for source in (
        "{{ name }}",
        "{{ name|upper }}",
        "{{ 'Hi ' ~ name }}",
        "{{ name or 'x' }}",
        "{{ name|truncate(3) }}",
    ):
        if source != "{{ name or 'x' }}" or blank:
            assert absent(source, {"name": blank}) == [("name", "blank")], source


@pytest.mark.parametrize("seen", ["0", "-", ".", "é", "ا", "👍", "❤\ufe0f", " a", "\u200bx"])
def test_what_can_be_seen_is_not_blank(seen: str) -> None:
    assert render("{{ name }}", name=seen) == seen


def test_all_that_is_absent_is_named_at_once() -> None:
    source = (
        "{{ a }} {{ b.c }} {{ d ~ e }} {% if f %}{{ g }}{% endif %} {{ h|money('NGN') }} {{ i + j }}"
        "{{ k['l'][0] }} {% for m in n %}{% endfor %} {% for o in p %}{{ o.q }}{{ a }}{% endfor %}"
        "{{ r|first }} {{ s|truncate(t) }}"
    )
    data = {
        "b": {},
        "d": None,
        "e": " ",
        "h": "",
        "i": 1,
        "k": {"l": []},
        "n": None,
        "p": [{}, {"q": 1}, {"q": None}],
    }
    assert absent(source, data | {"r": [], "s": "x"}, "{{ u }}") == [
        *[
            ("a", "missing"),
            ("b.c", "missing"),
            ("d", "null"),
            ("e", "blank"),
            ("f", "missing"),
            ("h", "blank"),
        ],
        *[("j", "missing"), ("k['l'][0]", "missing"), ("n", "null"), ("o.q", "missing"), ("o.q", "null")],
        *[("r|first", "missing"), ("t", "missing"), ("u", "missing")],
    ]


@pytest.mark.parametrize(
    "source",
    [
        *(
            "{{ (a ~ 'x')|money('NGN') }}",
            "{{ (a + 1) * 2 }}",
            "{{ -a }}",
            "{{ 1 if a > 1 else 2 }}",
            "{{ not a }}",
        ),
        *("{{ 'x'|truncate(a) }}", "{{ 'x'|truncate(length=a) }}", "{{ a.b.c|number }}", "{{ a[0] }}"),
        *(
            "{{ a and 1 }}",
            "{{ a or 1 }}",
            "{{ a is even }}",
            "{{ b[a] }}",
            "{% for c in a if c > 1 %}{% endfor %}",
        ),
        *("{{ a|first|upper }}", "{{ a|length }}", "{{ a|d(a) }}", "{{ 1 < 2 < a }}"),
    ],
)
def test_what_depends_on_an_absent_value_is_skipped_and_does_not_fail(source: str) -> None:
    assert absent(source, {"b": {}})[0][0].startswith("a")


def test_rounding_far_beyond_a_number_changes_nothing() -> None:
    assert render("{{ 12345|round(-1000000000) }} {{ 1.5|round(1000000000) }}") == "0 1.5"


def test_a_message_names_the_values_and_repeats_none() -> None:
    with pytest.raises(RenderingFailed) as failed:
        render("{{ city }} {{ name }}", name=" ", secret="123456")
    assert str(failed.value) == (
        "the template needs `city` (missing), `name` (blank): "
        'give a value, or write `|default("…")` in the template'
    )
    with pytest.raises(RenderingFailed) as failed:
        render("{{ name|money('NGN') }}", name="secret")
    assert (failed.value.code, str(failed.value)) == (
        "template_failed",
        '`money` needs a number, such as 1500.5 or "1500.50"',
    )


def test_a_condition_may_look_at_what_is_null_or_blank() -> None:
    source = "{% if name %}Hi {{ name }}{% else %}Hi{% endif %}{{ ' VIP' if vip }}"
    assert [render(source, name=name, vip=None) for name in ("Ada", "", None)] == ["Hi Ada", "Hi", "Hi"]
    assert absent(source, {"name": "Ada"}) == [("vip", "missing")]
    assert render("{% if name is defined and name is not none %}a{% else %}b{% endif %}", name=None) == "b"
    assert render("{% if a.b.c is defined %}a{% else %}b{% endif %}") == "b"


@pytest.mark.parametrize(
    ("source", "data", "expected"),
    [
        ('{{ x|money("NGN") }}', {"x": 1500.5}, "NGN 1,500.50"),
        ('{{ x|money("NGN", "en-NG") }}', {"x": "1500.50"}, "₦1,500.50"),
        ('{{ x|money("XOF", locale="fr-CI") }}', {"x": 1234567}, "1 234 567 F CFA"),
        ('{{ x|money("JPY") }}', {"x": "1234.5"}, "¥1,234"),
        ('{{ x|money("USD") }}', {"x": "12345678901234567890.01"}, "$12,345,678,901,234,567,890.01"),
        ('{{ (0.1 + 0.2)|money("USD") }} {{ 0.1 + 0.2 }}', {}, "$0.30 0.3"),
        ('{{ (price * 3)|money("EUR", locale="de") }}', {"price": 19.99}, "59,97 €"),
        ('{{ x|money("EUR") }}', {"x": 1.005}, "€1.00"),
        ('{{ x|money("EUR") }}', {"x": "-2.5"}, "-€2.50"),
        ("{{ x|money(c) }}", {"x": 1, "c": "GHS"}, "GHS 1.00"),
        ("{{ x|number }}", {"x": 1234567.891}, "1,234,567.891"),
        ("{{ x|number(2) }}", {"x": "5"}, "5.00"),
        ('{{ x|number(locale="hi") }}', {"x": 1234567}, "12,34,567"),
        ("{{ x|percent }} {{ x|percent(1) }}", {"x": 0.256}, "26% 25.6%"),
        ('{{ x|plural(one="item", other="items") }}', {"x": 1}, "item"),
        ('{{ x|plural(one="item", other="items") }}', {"x": "0"}, "items"),
        ('{{ x|plural(one="a", few="b", many="c", other="d", locale="ru") }}', {"x": 23}, "b"),
        ('{{ x|plural(one="a", few="b", many="c", other="d", locale="pl") }}', {"x": 1.5}, "d"),
        ('{{ x|plural(zero="none", two="two", other="n", locale="ar") }}', {"x": 2}, "two"),
        ("{{ x|date }}", {"x": "2026-11-30T23:30:00Z"}, "Nov 30, 2026"),
        ('{{ x|date(tz="Africa/Lagos") }}', {"x": "2026-11-30T23:30:00Z"}, "Dec 1, 2026"),
        ('{{ x|date("full", locale="fr") }}', {"x": "2026-11-30"}, "lundi 30 novembre 2026"),
        ('{{ x|date(tz="America/Lima") }}', {"x": "2026-11-30"}, "Nov 30, 2026"),
        ('{{ x|time(tz="Africa/Lagos") }}', {"x": 1764500000}, "11:53 AM"),
        ("{{ x|time }}", {"x": "2026-11-30T18:30:00+05:30"}, "6:30 PM"),
        ('{{ x|time(locale="de") }}', {"x": "2026-11-30T18:30"}, "18:30"),
        (
            '{{ x|datetime("short", tz="Africa/Lagos", locale="en-GB") }}',
            {"x": "2026-11-30T18:30:00Z"},
            "30/11/2026, 19:30",
        ),
        (
            '{{ x|money("XOF") }} {{ d|date }}',
            {"x": 5, "d": "2026-01-02", "locale": "fr-SN"},
            "5 F CFA 2 janv. 2026",
        ),
        ("{{ x|number(locale=lang) }}", {"x": 1.5, "lang": "de", "locale": "en"}, "1,5"),
    ],
)
def test_filters_by_locale(source: str, data: dict[str, Any], expected: str) -> None:
    assert render(source, **data) == expected


@pytest.mark.parametrize(
    ("source", "value"),
    [
        *[
            ('{{ x|money("NGN") }}', value)
            for value in ("abc", "1,500", "NaN", "1e9999", "1_000", True, [1], "٣", 10**400)
        ],
        *[
            ("{{ x|date }}", value)
            for value in ("soon", "30/11/2026", "2026-13-01", 1e300, True, "1764500000", {"a": 1})
        ],
        ("{{ 1|money(x) }}", "NGX"),
        ("{{ 1|number(locale=x) }}", "xx-YY"),
        ("{{ 0|time(tz=x) }}", "../../etc/passwd"),
        ("{{ 1|number(x) }}", 1000),
        ("{{ 'a'|round(x) }}", 1),
        ("{{ x * 3 }}", "a"),
        ("{{ x / 0 }}", 1),
        ("{{ x is even }}", "%d"),
        ("{% for y in x %}{% endfor %}", 5),
    ],
)
def test_data_that_does_not_fit_fails(source: str, value: Any) -> None:
    with pytest.raises(RenderingFailed) as failed:
        render(source, x=value)
    assert failed.value.code == "template_failed"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("Hi\n\n{{ name", "line 3: "),
        ("{% if a %}", "line 1: "),
        ("a\n{{ f() }}", "line 2: `call` cannot be used"),
        ("{% set a = 1 %}", "line 1: `assign` cannot be used"),
        ("{{ 2 ** 9 }}", "line 1: `pow` cannot be used"),
        ("{% for a in b %}{% for c in d %}{% endfor %}{% endfor %}", "line 1: loops cannot be nested"),
        ("{% for loop in b %}{% endfor %}", "cannot be called `loop`"),
        ("{{ a|uper }}", "no filter `uper` (did you mean `upper`?); there are abs, capitalize, d, date"),
        ("{{ a is evn }}", "no test `evn` (did you mean `even`?)"),
        ("{{ a|money }}", "wrong arguments for the filter `money`; it takes: currency, locale"),
        ("{{ a|upper(1) }}", "wrong arguments for the filter `upper`; it takes: none"),
        ("{{ a|d(boolean=1, boolean=1) }}", "wrong arguments"),
        ("{{ a|d(*b) }}", "no * or **"),
        ("{{ a is even(1) }}", "takes no arguments"),
        ('{{ a|money("NGX") }}', "unknown currency"),
        ('{{ a|money("NGN", locale="xx") }}', "unknown locale"),
        ('{{ a|date(tz="Moon") }}', "unknown time zone"),
        ('{{ a|date("huge") }}', "unknown format: expected one of short, medium, long, full"),
        ('{{ a|plural(one="x") }}', "wrong arguments for the filter `plural`; it takes: other, zero, one"),
        ("x" * (TEMPLATE_BYTES_MAX + 1), "65537 bytes: at most 65536"),
        ("é" * (TEMPLATE_BYTES_MAX // 2 + 1), "65538 bytes"),
        ("{{ a }}" * (TAGS_MAX + 1), "more than 2000 tags"),
        ("{{ " + "~".join(["a"] * 1_500) + " }}", "line 1: the template has too much within its tags"),
        ("{{ " + "(" * 500 + "1" + ")" * 500 + " }}", "nested too deeply"),
    ],
)
def test_a_template_that_is_not_valid_is_refused_with_its_line(source: str, said: str) -> None:
    with pytest.raises(TemplateRefused) as refused:
        Template(source, BODY_CHARS_MAX)
    assert said in str(refused.value)


def test_a_template_of_64_kib_renders() -> None:
    body = "é" * 30_000 + "{{ name }}" * 500
    assert len(render(body, name="Ada")) == 31_500


def test_a_trial_names_what_is_wrong_with_the_part_of_the_data_that_is_known() -> None:
    message = Message(
        "{{ city }} {{ name }} {% if vip %}{{ code }}{% else %}{{ city }}{% endif %}{{ a.b }}", None
    )
    shared = {"city": " ", "code": None, "a": {}}
    assert message.try_with(shared) == (Lack("city", "blank", ("city",)), Lack("a.b", "missing", ("a", "b")))
    assert message.try_with(shared | {"vip": True})[1] == Lack("code", "null", ("code",))
    assert (
        Message("{% if city %}{{ city }}{% endif %}{{ x|default(city) }}", None).try_with({"city": ""}) == ()
    )
    with pytest.raises(RenderingFailed, match="money"):
        Message('{{ city|money("NGN") }}{{ name }}', None).try_with({"city": "Lagos"})


def test_a_title_is_one_line() -> None:
    message = Message("Hi", "For {{ name }}")
    assert message.render({"name": "Ada"}) == ("Hi", "For Ada")
    for wrong in ("Ada\r\nBcc: x@example.com", "Ada\u2028Bob", "A\x07"):
        with pytest.raises(RenderingFailed) as failed:
            message.render({"name": wrong})
        assert failed.value.code == "not_one_line"
    assert Message("Hi", "{{ ' ' if name }}").render({"name": "x"}) == ("Hi", None)


@pytest.mark.parametrize(
    "source", ["{{ '' }}", " \n", "{% if vip %}x{% endif %}", "{{ name|default('') }}\u200b"]
)
def test_a_text_that_nobody_can_see_is_not_sent(source: str) -> None:
    with pytest.raises(RenderingFailed) as failed:
        render(source, vip=False)
    assert failed.value.code == "template_empty"


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("en", "en"),
        ("en-NG", "en_NG"),
        ("EN_ng", "en_NG"),
        ("zh-TW", "zh_Hant_TW"),
        ("sr-RS", "sr_Cyrl_RS"),
        ("yo", "yo"),
    ],
)
def test_a_locale_is_written_as_in_bcp_47_or_in_cldr(given: str, known: str) -> None:
    assert check_locale(given) == known


@pytest.mark.parametrize(
    "given", ["", "root", "xx", "en-ZZZ", "Lagos", "../en", "en_", "a" * 100, 5, None, ["en"], "en.dat"]
)
def test_a_locale_that_is_not_known_is_refused(given: Any) -> None:
    with pytest.raises(RenderingFailed):
        check_locale(given)


def test_a_template_is_compiled_once_while_it_is_used_and_the_cache_is_bounded() -> None:
    kept = compiled("{{ kept }}", BODY_CHARS_MAX)
    for number in range(400):
        compiled(f"{{{{ a{number} }}}}", BODY_CHARS_MAX)
        assert compiled("{{ kept }}", BODY_CHARS_MAX) is kept
    for number in range(260):
        compiled(f"{number}" + "x" * 60_000, BODY_CHARS_MAX)
    assert compiled("{{ kept }}", BODY_CHARS_MAX) is not kept


@pytest.mark.parametrize(
    "dense", [("{{ " + " or ".join("a" * 150) + " }}") * 6, ("{{ a" + "|e" * 190 + " }}") * 5]
)
def test_the_cache_is_bounded_in_memory_also_if_short_templates_do_much(dense: str) -> None:
    tracemalloc.start()
    try:
        template = Template(dense, BODY_CHARS_MAX)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] <= template.bytes
    finally:
        tracemalloc.stop()
    cache = _Cache()
    for number in range(_CACHED_BYTES_MAX // template.bytes + 5):
        cache.get(f"{dense}{number}", BODY_CHARS_MAX)
    assert sum(kept.bytes for kept in cache._templates.values()) <= _CACHED_BYTES_MAX


def test_a_message_that_names_very_many_values_says_that_there_are_more() -> None:
    with pytest.raises(RenderingFailed) as failed:
        render("".join(f"{{{{ {'a' * 100}{number} }}}} {{{{ b{number} }}}}" for number in range(60)))
    assert "`b24` (missing), …: give a value" in str(failed.value)
    assert len(str(failed.value)) < 5_000
