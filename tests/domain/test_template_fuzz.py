"""Random templates: Herald renders what Jinja2 renders, and whatever is given, it renders or refuses."""

import tracemalloc
from time import process_time
from typing import Any

import pytest
from fuzz_templates import MEMORY_BYTES_MAX, render
from hypothesis import example, given
from jinja_oracle import rendered
from template_bombs import BOMBS
from template_grammar import data, templates, wild_data, wild_templates

from domain.template_run import FUEL, RenderingFailed
from domain.templates import BODY_CHARS_MAX, Template

CPU_S_MAX = 2.0
"""Far above what a bomb takes on a slow machine, and far below what it takes if something is not counted."""


@example("{{ total + 0.2 }}", {"total": 0.1})
@example('{{ name|e ~ "<" ~ (name|e + "<")|upper }}', {"name": "a<b"})
@example(
    "{% for item in items if item %}{{ loop.index }}/{{ loop.length }} {% else %}-{% endfor %}",
    {"items": [0, 1]},
)
@given(templates, data)
def test_it_renders_what_jinja_renders(source: str, values: dict[str, Any]) -> None:
    expected = rendered(source, values)
    if expected is None or len(expected) > BODY_CHARS_MAX:
        return
    run = Template(source, BODY_CHARS_MAX).run(values)
    assert (run.lacks, run.text) == ((), expected)


@given(wild_templates, wild_data)
def test_whatever_is_given_it_renders_or_refuses(source: str, values: dict[str, Any]) -> None:
    render(source, values)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little(name: str) -> None:
    begins = process_time()
    render(*BOMBS[name])
    assert process_time() - begins < CPU_S_MAX
    tracemalloc.start()
    try:
        render(*BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES_MAX
    finally:
        tracemalloc.stop()


def test_fuel_is_used_for_what_is_read_and_written() -> None:
    """Each step costs more with more to do, so no template can do much on little fuel."""
    for source in (
        "{{ a ~ a }}",
        "{{ a|upper }}",
        "{% if a == b %}x{% endif %}",
        "{{ a|truncate(9) }}",
        "{% if 1 in l %}x{% endif %}",
        "{{ n + n }}",
    ):
        template = Template(source, BODY_CHARS_MAX)

        def used(size: int, template: Template = template) -> int:
            values = {"a": "x" * size, "b": "x" * size, "l": [1] * size, "n": 10 ** (size // 10)}
            return template.run(values).used

        assert used(10_000) - used(1_000) > 100, source


def test_trimming_costs_each_character_times_each_that_is_trimmed() -> None:
    values = {"a": "a" * 1_000, "b": "b" * 500 + "a"}
    used = [
        Template(s, BODY_CHARS_MAX).run(values).used for s in ("{{ a|trim|d(1) }}", "{{ a|trim(b)|d(1) }}")
    ]
    assert used[1] > 100 * used[0]


def test_a_template_that_is_out_of_fuel_says_so() -> None:
    template = Template("{% for x in many %}{{ x }}{% endfor %}", BODY_CHARS_MAX)
    with pytest.raises(RenderingFailed) as failed:
        template.run({"many": [1] * FUEL})
    assert failed.value.code == "template_too_costly"
    assert failed.value.fuel >= FUEL
