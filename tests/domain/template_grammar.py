"""Random templates of the language, and random data for them (hypothesis)."""

import re
from typing import Any, NamedTuple

from hypothesis import strategies as st

NAMES = ("name", "total", "items", "order", "vip", "absent")
KEYS = ("number", "price", "tags")

_words = st.sampled_from(
    ["Ada", "a b-c (d)", "<b>&'", "x" * 40, "12", "3.50", "ß straße", "one\ntwo", "Σίσυφος"]
)
_integers = st.integers(-1000, 1000)
_fractions = st.integers(-10_000, 10_000).map(lambda cents: cents / 100)
_orders = st.fixed_dictionaries(
    {"number": _words, "price": _integers | _fractions},
    optional={"tags": st.lists(_words, min_size=1, max_size=3)},
)
data = st.fixed_dictionaries(
    {
        "name": _words,
        "total": _integers | _fractions,
        "items": st.lists(_orders, max_size=3),
        "order": _orders,
        "vip": st.booleans(),
    }
)
"""Values that can be seen: for a blank or null one, Herald differs from Jinja2 on purpose."""


class Rule(NamedTuple):
    """What a symbol may become: at the end of a branch one of the leaves, before it one of the patterns, in
    which `<t>` stands for a text, `<n>` for a number, `<b>` for a condition, and so on.
    """

    leaves: tuple[str, ...]
    patterns: tuple[str, ...]


RULES = {
    "t": Rule(
        (
            "name",
            "order.number",
            'order["number"]',
            '"b c"',
            "'<i>'",
            '"\\u00df"',
            "name[0]",
            'absent|default("-")',
        ),
        (
            *(
                "<t>|capitalize",
                "<t>|e",
                "<t>|escape|upper",
                "<t>|lower",
                "<t>|title",
                "<t>|trim",
                '<t>|trim("A<")',
            ),
            *(
                "<t>|truncate(5)",
                '<t>|truncate(6, true, "…")',
                "<t>|truncate(8, leeway=0)",
                "<t>|first",
                "<t>|last",
            ),
            *(
                "(<t> ~ <n>)",
                "(<t> ~ <t>)",
                "(<t> + <t>)",
                "(<t> ~ <b>)",
                "(<t> if <b> else <t>)",
                "(<t> if items else <t>)",
                "(<t> if <b>)",
            ),
            *("(<t> or <t>)", "(<t> and <t>)", "(<n> ~ <t>)|d(<t>)", "order.tags[0]|default(<t>)"),
            *("order.absent|d(<t>)", "(<t> if <b>)|default(<t>)", "<n>|default(<t>, true)"),
        ),
    ),
    "n": Rule(
        ("total", "order.price", "items|length", "0", "1", "-3", "0.1", "0.2", "1.5", "10"),
        (
            *(
                "(<n> + <n>)",
                "(<n> - <n>)",
                "(<n> * <n>)",
                "(<n> / <n>)",
                "(-<n>)",
                "(<n>)|abs",
                "(<n>)|round",
            ),
            *("(<n>)|round(1)", '(<n>)|round(2, "floor")', '(<n>)|round(0, "ceil")', "(<n>)|round(-1)"),
            *(
                "(<n>)|int",
                "(<n>)|float",
                "<t>|int",
                "<t>|int(7)",
                "<t>|int(0, 16)",
                "<t>|float(2)",
                "<t>|length",
            ),
            *("(<n> if <b> else <n>)", "(<b> + <n>)"),
        ),
    ),
    "b": Rule(
        (
            "vip",
            "true",
            "(not vip)",
            "(absent is defined)",
            "(order.tags is undefined)",
            "(not items)",
            "(1 < 2 < 3)",
        ),
        (
            *("(<n> == <n>)", "(<n> != <n>)", "(<n> < <n>)", "(<n> >= <n>)", "(<t> == <t>)", "(<t> < <t>)"),
            *(
                "(<t> in <t>)",
                "(<t> not in <t>)",
                "(<t> in items)",
                "(not <b>)",
                "(<b> and <b>)",
                "(<b> or <b>)",
            ),
            *("((<n>) is even)", "((<n>) is odd)", "(<n> is number)", "(<t> is undefined)", "(<b> is true)"),
            *("(<b> is false)", "(<t>|d(1) is string)", "(<n> < <n> <= <n>)"),
        ),
    ),
    "out": Rule(
        ("Hello ", "\n", " ", "100%", "{ }", "ß", "{# note #}", "{% raw %}{{ a }}{% endraw %}", "{{ name }}"),
        (
            *("{{ <t> }}", "{{ <n> }}", "{{- <b> -}}", "<out><out>", "{% if <b> %}<out>{% endif %}"),
            *(
                "{% if <b> %}<out>{% else %}<out>{% endif %}",
                "{% if <b> -%} <out> {%- elif <b> %}<out>{% endif %}",
            ),
        ),
    ),
    "in": Rule(
        (
            *("{{ loop.index }}/{{ loop.length }}", "{{ item.number|upper }}"),
            "{% if not loop.last %}, {% endif %}",
        ),
        (
            *(
                "{{ item.price + <n> }}",
                "{{ loop.previtem.number|d(<t>) }}",
                "{{ loop.revindex0 * item.price }}",
            ),
            *(
                "{% if loop.first %}{{ <t> }}{% endif %}",
                "{{ item.tags[0]|d(<t>) }}",
                "<in><in>",
                "<out><in>",
            ),
        ),
    ),
    "template": Rule(
        ("<out>", "{% for item in items %}<in>{% endfor %}"),
        (
            *("<out>", "<out><template>", "{% for item in items %}<in>{% endfor %}<template>"),
            *(
                "{% for item in items %}<in>{% else %}<out>{% endfor %}",
                "{% for item in order %}{{ item }}{% endfor %}",
            ),
            "{% for item in items if item.price > <n> %}<in>{% else %}<out>{% endfor %}",
            "{% for item in <t> %}<out>{{ loop.index }}{% endfor %}",
        ),
    ),
    # Anything: what is refused, what does not fit, what grows.
    "path": Rule(
        (*NAMES, "order.price", "order['tags'][0]", "items[0].tags", "item", "loop.index", "locale"),
        ("total[<path>]",),
    ),
    "any": Rule(
        ("<path>", "<t>", "<n>"),
        (
            *("<any>|<filter>", "<any>|<filter>", "(<any> + <any>)", "(<any> * <any>)", "(<any> ~ <any>)"),
            *(
                "(<any> in <any>)",
                "(<any> < <any>)",
                "(<any> == <any>)",
                "(<any> and <any>)",
                "(<any> or <any>)",
            ),
            *("(<any> if <any> else <any>)", "(not <any>)", "<any>[<any>]", "(<any> is even)"),
        ),
    ),
    "filter": Rule(
        (
            *(
                "abs",
                "e",
                "first",
                "float",
                "int",
                "last",
                "length",
                "lower",
                "title",
                "upper",
                "trim",
                "truncate",
            ),
            *('default("")', "d(name, true)", "capitalize", 'money("NGN")', "number", "number(3)", "percent"),
            *(
                "date",
                "time",
                "datetime",
                'datetime("full", tz="Africa/Lagos")',
                'plural("x")',
                "round(-9999999999)",
            ),
            *(
                'plural(one="a", other="b", locale="ar")',
                'round(9999999999, "ceil")',
                'round(2500000, "floor")',
            ),
        ),
        (
            *(
                "round(<path>)",
                'round(<path>, "ceil")',
                "truncate(<path>)",
                "truncate(<path>, true)",
                "trim(<path>)",
            ),
            *(
                "int(0, <path>)",
                "money(<path>)",
                "number(locale=<path>)",
                "date(<path>, tz=<path>)",
                "d(<any>)",
            ),
            "plural(<path>, locale=<path>)",
        ),
    ),
    "piece": Rule(
        (
            "{{",
            "}}",
            "{%",
            "%}",
            "{#",
            "#}",
            " if ",
            " for ",
            " in ",
            "(",
            ")",
            "[",
            "'",
            '"',
            "|",
            "~",
            "\\",
            "a",
            "1",
        ),
        ("<piece><piece>", "<any>"),
    ),
    "wild": Rule(
        ("{{ <any> }}", "<out>", "<piece>"),
        (
            *("{{ <any> }}", "{{ <any> }}<wild>", "{% for item in <any> %}<wild>{% endfor %}", "<in><wild>"),
            *("{% if <any> %}<wild>{% endif %}", "<wild><wild>", "<piece><wild>", "<template>"),
        ),
    ),
}
_SYMBOL = re.compile(f"<({'|'.join(RULES)})>")


@st.composite
def _derived(draw: st.DrawFn, symbol: str, depth: int) -> str:
    """What a symbol becomes, with patterns within patterns up to this depth."""

    def fill(text: str, depth: int) -> str:
        return _SYMBOL.sub(lambda found: choose(found[1], depth), text)

    def choose(symbol: str, depth: int) -> str:
        rule = RULES[symbol]
        among = (*rule.leaves, *rule.patterns) if depth > 0 else rule.leaves
        return fill(draw(st.sampled_from(among)), depth - 1)

    return choose(symbol, depth)


templates = _derived("template", 5)
"""Templates that Jinja2 can render as well."""
wild_templates = st.builds(
    lambda template, count: template * count, _derived("wild", 6), st.sampled_from([1, 1, 1, 2, 20, 500])
)

wild_texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", " ", "\u200b", "x" * 60_000, "<" * 60_000, "9" * 60_000, "%999999999d", "1e999999"]),
    st.sampled_from(
        ["a " * 30_000, "ß" * 30_000, "\U000e0001" * 15_000, "en-NG", "NGN", "2026-11-30T18:30:00Z"]
    ),
)
wild_numbers = st.one_of(
    st.integers(),
    st.floats(allow_nan=False),
    st.sampled_from([10**4_000, -(10**4_000), 1e308, 2**63, 1e-300]),
)
wild_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | wild_numbers | wild_texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)
wild_lists = st.builds(
    lambda value, count: [value] * count,
    st.none() | st.integers(-9, 99) | st.just(0.5),
    st.integers(0, 16_000),
)
wild_data = st.fixed_dictionaries({}, optional=dict.fromkeys((*NAMES, "locale"), wild_values | wild_lists))
