"""Templates that would cost far more than they are long, if nothing counted what they do."""

from decimal import Context, Decimal
from typing import Any, NamedTuple

TEXT = "x" * 65_000
MANY = [1] * 32_000
DEEP: list[Any] = []
for _ in range(14):
    DEEP = [DEEP]
ZONES = [
    *("Europe/London", "America/New_York", "Europe/Berlin", "America/Chicago", "Africa/Casablanca"),
    *("Africa/El_Aaiun", "Asia/Gaza", "Asia/Hebron", "America/Los_Angeles", "Europe/Dublin"),
]
"""Those with the most to read."""
HALFWAY = str(Context(prec=800).multiply(Decimal.from_float(5e-324), Decimal("1.5")))
"""A number in the middle between two fractions: all its digits have to be read."""
SLOW_LOCALES = [
    *("en_PT", "pt_AO", "ar_QA", "tk", "es_PR", "ba", "be", "en_IN", "fr_BF", "fr_MU", "fr_LU", "syr"),
    *("en_DM", "ru", "xh_ZA", "gsw_FR"),
]


class Bomb(NamedTuple):
    source: str
    data: dict[str, Any] = {}  # noqa: RUF012 (a default that nobody changes)


def _chain(operand: str, sign: str, count: int) -> str:
    return "{{ " + sign.join([operand] * count) + " }}"


def _nested(opening: str, inner: str, closing: str, depth: int) -> str:
    return opening * depth + inner + closing * depth


def _needle(part: int, whole: int, character: str = "a") -> dict[str, str]:
    """A text that nearly fits at each place of another one: it differs in its middle."""
    half = part // 2
    return {"a": character * half + "b" + character * (part - half - 1), "b": character * whole}


def _loop(body: str) -> str:
    return "{% for x in many %}" + body + "{% endfor %}"


def _often(body: str, **data: Any) -> Bomb:
    return Bomb(_loop(body), {"many": [1] * 2_000, **data})


BOMBS: dict[str, Bomb] = {
    # Constants: nothing may be computed before the template runs.
    "round up to millions of digits": Bomb('{{ 1|round(2500000,"ceil") }}'),
    "round down to millions of digits": Bomb('{{ 1|round(2500000,"floor") }}'),
    "round to billions of tens": Bomb("{{ 12345|round(-1000000000) }}"),
    "round a fraction to billions of digits": Bomb("{{ 1.5|round(1000000000) }}"),
    "multiply constants": Bomb(_chain("9" * 4000, " * ", 16)),
    "repeat a text": Bomb('{{ "x" * 1000000000 }}'),
    "repeat a list": Bomb("{{ many * 1000000000 }}", {"many": MANY}),
    "a hexadecimal number of 60,000 digits": Bomb("{{ 0x" + "f" * 60_000 + " }}"),
    "a number of 60,000 digits": Bomb("{{ " + "1" * 60_000 + " }}"),
    "format by a test": Bomb('{{ "%999999999d" is even }}'),
    "format by a test, as data": Bomb("{{ text is odd }}", {"text": "%999999999d"}),
    # Growth: what is produced must be paid for.
    "concatenate a long text": Bomb(_chain("text", "~", 900), {"text": TEXT}),
    "add a long text": Bomb(_chain("text", "+", 150), {"text": TEXT}),
    "add a long list": Bomb(_chain("many", "+", 150) + _loop(""), {"many": MANY}),
    "print a long text often": _often("{{ text }}", text=TEXT),
    "measure a concatenation": Bomb("{{ (" + "~".join(["text"] * 900) + ")|length }}", {"text": TEXT}),
    "escape a text that is escaped five times as long": _often("{{ text|e ~ text|e }}", text="'" * 65_000),
    "print a long list": _often("{{ many }}", many=MANY),
    "print texts that are written ten times as long": _often(
        "{{ many|length }}{{ many|e }}", many=["\U000e0001" * 16_000]
    ),
    "print deep lists": _often("{{ deep }}", deep=[DEEP] * 500),
    # Repetition.
    "loop over many": Bomb(_loop("{{ x }}{{ loop.index }}"), {"many": MANY}),
    "loop over many, doing nothing": Bomb(_loop("") * 100, {"many": MANY}),
    "loop over characters": Bomb("{% for x in text %}{{ x|upper }}{% endfor %}", {"text": TEXT}),
    "filter a loop by a long search": Bomb("{% for x in many if x in many %}{% endfor %}", {"many": MANY}),
    "loop beside many names": Bomb(
        "{% for x in few %}{% endfor %}" * 150, {"few": [1], **{f"n{i}": 1 for i in range(6_000)}}
    ),
    "a loop that escapes": Bomb(_loop("{{ text|e }}"), {"many": MANY, "text": "<" * 5_000}),
    "a loop that titles": _often("{{ text|title }}", text="a " * 32_000),
    "a loop of forms": Bomb(_loop('{{ x|plural(one="a", other="b") }}'), {"many": MANY}),
    "a loop of money": Bomb(_loop('{{ x|money("NGN") }}'), {"many": MANY}),
    "a loop of times": Bomb(_loop('{{ x|datetime("full", tz="Africa/Lagos") }}'), {"many": MANY}),
    "a locale for each element": Bomb(
        "{% for x in many %}{{ 1|number(locale=x) }}{% endfor %}",
        {
            "many": [
                f"{language}-{territory}"
                for language in ("en", "fr", "ar")
                for territory in ("NG", "CI", "EG", "GB", "FR", "KE", "GH", "ZA", "MA", "SN")
            ]
        },
    ),
    "a time zone for each element": Bomb(
        "{% for z in zones %}{{ 1e9|datetime('full', z) }}{% endfor %}", {"zones": (ZONES * 40)[:375]}
    ),
    "locales that are slow to load": Bomb(
        "{% for l in locales %}{{ 1|money('NGN', locale=l) }}{% endfor %}", {"locales": SLOW_LOCALES}
    ),
    # Comparison.
    "compare long texts": _often("{% if a == b %}{% endif %}", a=TEXT, b=TEXT[:-1] + "y"),
    "compare long lists": _often("{% if a == b %}{% endif %}", a=MANY, b=[*MANY]),
    "search a long text": _often("{% if a in b %}{% endif %}", a="x" * 3_000 + "y", b=TEXT),
    "search for half of a text": _often("{% if a in b %}{% endif %}", **_needle(1_249, 2_499)),
    "search for most of a text": _often("{% if a not in b %}{% endif %}", **_needle(4_000, 6_000)),
    "search for nearly all of a text": Bomb("{% if a in b %}{% endif %}" * 20, _needle(31_000, 33_000)),
    "search wide texts": _often("{% if a in b %}{% endif %}", **_needle(9_000, 11_000, "\u4e00")),
    "search long lists in a list": _often(
        "{% if a in b %}{% endif %}", a=[1] * 8_000, b=[[1] * 7_999 + [2]] * 3
    ),
    "compare long numbers": _often("{% if a == b %}{% endif %}", a=10**4_000, b=10**4_000 + 1),
    # Texts.
    "trim by many characters": _often("{{ text|trim(chars) }}", text="a" * 29_000, chars="b" * 29_000 + "a"),
    "truncate a long text": _often("{{ text|truncate(64000) }}", text=TEXT),
    "change the case of a long text": _often("{{ text|upper|lower|capitalize }}", text="ß" * 32_000),
    "look for what is visible": _often("{{ text|default(1) }}", text="\u200b" * 21_000),
    # Numbers.
    "read a hexadecimal number": _often("{{ text|int(0, 16) }}", text="f" * 65_000),
    "read a long number": _often("{{ text|int }}", text="1" * 65_000),
    "read a number of an odd base": _often("{% if n|int(0, 36) %}{% endif %}", n="z" * 2_700),
    "read the longest number of an odd base": _often("{% if n|int(0, 35) %}{% endif %}", n="y" * 4_300),
    "read what is no number": _often("{{ text|int }}{{ text|float }}", text="abc"),
    "divide by two": Bomb("{% for x in many if n is odd %}{% endfor %}", {"many": MANY, "n": 10**4_000}),
    "compute with decimals": _often("{% if f * f * f * f %}{% endif %}", f=1.0000000000000002),
    "compute with small fractions": _often("{{ f + f }}{{ f - f }}", f=2.225073858507201e-308),
    "round the largest fraction": _often("{% if f|round(1) %}{% endif %}", f=1.7976931348623157e308),
    "read a fraction between two": _often("{{ text|float }}{{ text|int }}", text=HALFWAY),
    "read a long fraction": _often("{{ text|float }}", text="1." + "1" * 65_000),
    "multiply long numbers": Bomb(_chain("n", "*", 150), {"n": 10**4_000}),
    "add long numbers": Bomb(_chain("n", "+", 150), {"n": 10**4_000}),
    "print long numbers": _often("{{ n }}", n=10**4_000),
    "a large exponent as money": Bomb('{{ "1e999999999"|money("NGN") }}'),
    "a small exponent as a number": Bomb('{{ "1e-999999999"|number }}'),
    "many decimals": Bomb("{{ 1|number(999999999) }}"),
    "more than infinite": Bomb("{{ 1e308 * 10 }}{{ 1e999|round(400, 'ceil') }}"),
    "a time far away": Bomb("{{ 1e300|date }}{{ 99999999999999999999|date }}"),
    # Reading: a template that is refused must be refused soon.
    "many values": Bomb("{{a}}" * 13_000),
    "many conditions": Bomb("{% if a %}{% endif %}" * 3_000),
    "many alternatives": Bomb("{% if a %}" + "{% elif a %}" * 5_000 + "{% endif %}"),
    "many lines": Bomb("\n" * 65_536),
    "many carriage returns": Bomb("\r\n" * 32_768),
    "many braces": Bomb("{ " * 32_768),
    "many comments": Bomb("{##}" * 16_384),
    "many empty tags": Bomb("{%%}" * 16_384),
    "many raw blocks": Bomb("{% raw %}{% endraw %}" * 3_000),
    "an open raw block": Bomb("{% raw %}" + "{% " * 21_000),
    "an open comment": Bomb("{#" + "-" * 65_000),
    "an open text": Bomb("{{ '" + "\\a" * 32_000),
    "a long name": Bomb("{{ " + "a" * 65_000 + " }}"),
    "a long unknown tag": Bomb("{% " + "a" * 65_000 + " %}"),
    "a long unknown filter": Bomb("{{ 1|" + "a" * 65_000 + " }}"),
    "a text of escapes": Bomb('{{ "' + "\\x41" * 16_000 + '" }}'),
    "a text of names of characters": Bomb('{{ "' + "\\N{DIGIT ONE}" * 4_600 + '" }}'),
    "a fraction of underscores": Bomb("{{ " + "1_" * 32_000 + "1 }}"),
    "blanks in tags": Bomb("{{ a" + " " * 65_000 + "}}"),
    "brackets": Bomb("{{ " + _nested("(", "1", ")", 1_000) + " }}"),
    "lists": Bomb("{{ " + _nested("[", "1", "]", 1_000) + " }}"),
    "nested conditions": Bomb(_nested("{% if 1 %}", "x", "{% endif %}", 250)),
    "nested loops": Bomb(_nested("{% for a in many %}", "x", "{% endfor %}", 20), {"many": MANY}),
    "nested negations": Bomb("{{ " + "not " * 2_000 + "1 }}"),
    "nested signs": Bomb("{{ " + "-" * 2_000 + "1 }}"),
    "a long sum": Bomb(_chain("a", "+", 900)),
    "a long chain of filters": Bomb("{{ a" + "|abs" * 900 + " }}"),
    **{
        f"chains of the filter {name}": Bomb(("{{x" + f"|{name}" * 195 + "}}") * 5, {"x": "a"})
        for name in ("first", "last", "upper", "e", "trim", "truncate", "number", "date")
    },
    "conditions on chains": Bomb(("{% if x" + "|first" * 195 + " %}{% endif %}") * 4, {"x": "a"}),
    "chains of keys": Bomb(("{{x" + ".a" * 190 + "}}") * 5),
    "chains of long keys": Bomb("{{x['" + "k" * 60_000 + "']" + ".a" * 190 + "}}"),
    "comments and chains": Bomb("{# a #}" * 900 + "{{x" + "|upper" * 90 + "}}", {"x": "a"}),
    "texts of wrong escapes": Bomb("{{ '\\d' }}" * 600),
    "time zones as constants": Bomb("".join(f'{{{{0|date(tz="{zone}")}}}}' for zone in (ZONES * 20)[:198])),
    "a long path": Bomb("{{ a" + ".a" * 900 + " }}"),
    "a long choice": Bomb(_chain("a", " or ", 900)),
    "alternatives in each other": Bomb("{{ " + "1 if a else " * 450 + "2 }}"),
    "a repeated argument": Bomb("{{ a|d(boolean=1, boolean=1) }}"),
}
