"""What templates cost: the fuel that operations use and the work of reading, counted and not timed."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from babel import localedata
from template_bombs import HALFWAY

from domain import template_locales
from domain.template_filters import FILTERS
from domain.template_language import TemplateRefused
from domain.template_run import FUEL, RenderingFailed
from domain.templates import BODY_CHARS_MAX, Message, Template


def used(source: str, **data: Any) -> int:
    return Template(source, BODY_CHARS_MAX).run(data).used


def cost(source: str, **data: Any) -> int:
    """The fuel that a rendering used, or wanted to use."""
    try:
        return used(source, **data)
    except RenderingFailed as failed:
        return failed.fuel


def refused(source: str, **data: Any) -> RenderingFailed:
    with pytest.raises(RenderingFailed) as failed:
        Template(source, BODY_CHARS_MAX).run(data)
    return failed.value


def steps(work: Callable[[], object]) -> int:
    """How many calls the work makes, into Python and into C: a measure that no machine changes."""
    count = 0

    def counted(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    ("part", "whole"),
    [(1_249, 2_499), (99, 29_999), (4_000, 6_000), (15_000, 17_000), (31_000, 33_000), (2_000, 60_000)],
)
@pytest.mark.parametrize("sign", ["in", "not in"])
def test_a_search_costs_each_character_times_each_place(sign: str, part: int, whole: int) -> None:
    half = part // 2
    data = {"n": "a" * half + "b" + "a" * (part - half - 1), "h": "a" * whole}
    source = "{% if n " + sign + " h %}{% endif %}"
    fuel = cost(source, **data)
    # Python compares at most about 3,000 pairs in a microsecond, and a unit is about 0.4 of one.
    assert fuel > part * (whole - part) / 1_200
    assert refused("{% for x in many %}" + source + "{% endfor %}", many="x" * 1_000, **data).code == (
        "template_too_costly"
    )


def test_a_search_for_a_word_is_cheap() -> None:
    assert used("{% if 'word' in text %}{% endif %}", text="many words " * 1_000) < 500


@pytest.mark.parametrize("base", [3, 7, 10, 11, 36])
def test_reading_a_number_costs_its_digits_squared(base: int) -> None:
    source = f"{{% if n|int(0, {base}) %}}{{% endif %}}"
    assert used(source, n="1" * 2_400) > 2.5 * used(source, n="1" * 1_200) > 250
    assert used(source, n="12") < 20


def test_an_operation_that_takes_longer_than_a_step_costs_more() -> None:
    nothing = used("{% if n is string %}{% endif %}", n=1)
    for source, data in (
        ("{% if a * a %}{% endif %}", {"a": 0.5}),
        ("{% if a|int %}{% endif %}", {"a": "abc"}),
        ("{% if a|float %}{% endif %}", {"a": "abc"}),
        ("{% if a is odd %}{% endif %}", {"a": 10**4_000}),
    ):
        assert used(source, **data) >= nothing + 4, source


@pytest.mark.parametrize("use", ["round", "round(1)", "round(0, 'floor')"])
def test_rounding_a_fraction_costs_the_digits_before_its_point(use: str) -> None:
    source = "{% if f|" + use + " %}{% endif %}"
    small, large, largest = (used(source, f=f) for f in (1.5, 1.5e100, 1.5e308))
    assert large > small + 20
    assert largest > small + 70


@pytest.mark.parametrize("use", ["float", "int"])
def test_reading_a_fraction_costs_the_digits_that_decide(use: str) -> None:
    source = "{% if t|" + use + " %}{% endif %}"
    short, long = used(source, t="2.5"), used(source, t=HALFWAY)
    # Python reads one in about 50 ns a digit, and a unit is about 0.4 of a microsecond.
    assert long > short + len(HALFWAY) / 8
    assert used(source, t="1." + "0" * 60_000) < long + 4_000


_CHAINS = [
    *[f"|{name}" for name in FILTERS if name not in ("money", "plural")],
    *[".a", "[0]", "['a']", "|money('NGN')", "|plural(1)"],
]


@pytest.mark.parametrize("step", _CHAINS)
@pytest.mark.parametrize("form", ["{{{{ x{} }}}}", "{{% if x{} %}}{{% endif %}}", "{{{{ 'a' ~ x{} }}}}"])
def test_reading_a_chain_costs_its_length(form: str, step: str) -> None:
    short, long = (steps(partial(Template, form.format(step * count), BODY_CHARS_MAX)) for count in (80, 160))
    assert long < 2.2 * short


def test_comments_count_as_what_is_within_tags() -> None:
    assert Template("{# a #}" * 900, BODY_CHARS_MAX).run({}).text == ""
    for source in ("{# a #}" * 1_001 + "{{ a }}", "{# a #}" * 700 + "{{ a }}" * 300):
        with pytest.raises(TemplateRefused, match="too much within its tags"):
            Template(source, BODY_CHARS_MAX)


_ZONES = sorted(template_locales.time_zones())


def test_reading_a_template_loads_no_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        pytest.fail(f"{name} was loaded")

    monkeypatch.setattr(template_locales, "ZoneInfo", load)
    Template("".join(f"{{{{ 0|date(tz='{zone}') }}}}" for zone in _ZONES[:150]), BODY_CHARS_MAX)


def test_the_first_use_of_a_time_zone_is_paid_for_and_the_zone_is_kept() -> None:
    source = "{% for z in zones %}{{ 0|date(tz=z) }}{% endfor %}"
    one, same, other = (
        used(source, zones=zones) for zones in (_ZONES[:1], _ZONES[:1] * 2, [_ZONES[0], _ZONES[1]])
    )
    assert other - one >= same - one + template_locales._ZONE_UNITS
    assert refused(source, zones=_ZONES[:100]).code == "template_too_costly"
    kept = template_locales._load_zone("Africa/Lagos")
    for zone in _ZONES[:100]:
        template_locales._load_zone(zone)
    assert template_locales._load_zone("Africa/Lagos") is kept


_LOCALES = [name for name in sorted(localedata.locale_identifiers()) if "_" in name]


@pytest.mark.parametrize("use", ["number", "money('NGN')", "plural('a')", "percent", "datetime('full')"])
def test_a_text_is_formatted_in_few_locales_and_the_first_use_of_each_is_paid_for(use: str) -> None:
    source = "{% for l in locales %}{{ 1|" + use.replace(")", ",locale=l)") + " }}{% endfor %}"
    if "locale=l" not in source:
        source = source.replace(f"1|{use}", f"1|{use}(locale=l)")
    most = template_locales._LOCALES_MAX
    assert used(source, locales=_LOCALES[:most]) >= most * template_locales._LOCALE_UNITS
    failed = refused(source, locales=_LOCALES[: most + 1])
    assert (failed.code, str(failed)) == ("template_failed", "a text is formatted in at most 3 locales")
    assert used(source, locales=_LOCALES[:1] * 50) < FUEL


def test_a_locale_stays_in_memory_while_it_is_used_and_what_babel_reads_is_bounded() -> None:
    source = Template("{{ x|number(locale=l) }}", BODY_CHARS_MAX)

    def load(name: str) -> Any:
        source.run({"x": 1, "l": name})
        return template_locales._loaded[name]

    kept = load("en_NG")
    for name in _LOCALES[:200]:
        load(name)
        assert load("en_NG") is kept
    assert len(template_locales._loaded) == template_locales._LOADED_MAX
    assert len(localedata._cache) <= template_locales._LOADED_MAX + 1
    assert len(localedata._dict_cache) <= template_locales._LOADED_MAX + 1


def test_a_body_and_its_title_run_on_the_same_fuel() -> None:
    source = "{% for x in many %}{% if x %}{% endif %}{% endfor %}-"
    alone, both = Message(source, None), Message(source, source)
    alone.render({"many": "x" * 400})
    both.render({"many": "x" * 400})
    assert both.fuel == 2 * alone.fuel
    much = {"many": "x" * 8_000}
    alone.render(much)
    with pytest.raises(RenderingFailed) as failed:
        both.render(much)
    assert (failed.value.code, both.fuel > FUEL) == ("template_too_costly", True)


def test_a_title_pays_for_no_locale_and_no_time_zone_of_its_body() -> None:
    source = "{{ 0|datetime('full', tz='Africa/Lagos', locale='fr') }}"
    alone, both = Message(source, None), Message(source, source)
    alone.render({})
    both.render({})
    assert both.fuel < alone.fuel + template_locales._ZONE_UNITS
    locales = "".join(f"{{{{ 1|number(locale='{name}') }}}}" for name in ("de", "en", "es"))
    with pytest.raises(RenderingFailed, match="at most 3 locales"):
        Message(locales, source).render({})
