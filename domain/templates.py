"""Templates of broadcasts: a small part of Jinja2's language, run on fuel.

A template can name values, filter them, choose (`if`) and repeat (`for`, not nested). It cannot call, assign,
include or define anything. Reading it is bounded by its tokens, rendering it by its fuel, which pays for
every step and for every character that a step reads.
"""

import sys
import unicodedata
from collections import OrderedDict
from collections.abc import Mapping, Set
from typing import Any, Final

from domain.template_language import TemplateRefused, count_nodes, parse, uses_locale
from domain.template_program import build
from domain.template_run import LACKING, LACKS_MAX, MISSING, Absent, Lack, RenderingFailed, Run, is_blank

BODY_CHARS_MAX: Final = 100_000
TITLE_CHARS_MAX: Final = 500
"""The longest output of a template: as long as a notification's own texts."""
_CACHED_MAX: Final = 256
_CACHED_BYTES_MAX: Final = 32 * 1024 * 1024
_NODE_BYTES: Final = 1_000
"""What a node of a template takes in memory: 300 to 1,000 bytes, whatever its source takes."""
_NOT_IN_A_LINE: Final = frozenset({"Cc", "Zl", "Zp"})
"""Unicode's categories of control characters, and of line and paragraph separators."""


class Template:
    """A checked template. Raises TemplateRefused if it is not valid.

    `uses_locale`: whether it formats anything by the value `locale`. `names`: the names that it reads.
    `bytes`: about how much memory it takes.
    """

    def __init__(self, source: str, chars_max: int) -> None:
        self._chars_max = chars_max
        tree = parse(source)
        # The text of the source is in the cache's key, and again in the program.
        self.bytes = 2 * sys.getsizeof(source) + _NODE_BYTES * count_nodes(tree)
        self.uses_locale = uses_locale(tree)
        try:
            self._execute, self.names = build(tree)
        except RecursionError:
            raise TemplateRefused("the template is nested too deeply: simplify it") from None

    def run(self, data: Mapping[str, Any], unknown: Absent = MISSING, before: Run | None = None) -> Run:
        """Render with the data. What is absent is recorded, not raised. Raises RenderingFailed.

        `unknown`: what a name stands for that the data does not have. `before`: the rendering of the same
        message that this one goes on with.
        """
        locale = data.get("locale")
        run = Run(self._chars_max, None if locale is LACKING else locale, unknown, before)
        try:
            self._execute(run, dict(data))
        except RenderingFailed as error:
            error.fuel = run.used
            raise
        except Exception as error:
            # The original message may repeat a value.
            message = f"the data does not fit the template ({type(error).__name__})"
            raise RenderingFailed("template_failed", message, fuel=run.used) from None
        return run


class _Cache:
    """The templates that were used last, bounded by their number and their size together."""

    def __init__(self) -> None:
        self._templates: OrderedDict[tuple[str, int], Template] = OrderedDict()
        self._bytes = 0

    def get(self, source: str, chars_max: int) -> Template:
        key = (source, chars_max)
        found = self._templates.get(key)
        if found is None:
            found = self._templates[key] = Template(source, chars_max)
            self._bytes += found.bytes
            while len(self._templates) > _CACHED_MAX or self._bytes > _CACHED_BYTES_MAX:
                _, old = self._templates.popitem(last=False)
                self._bytes -= old.bytes
        self._templates.move_to_end(key)
        return found


_CACHE: Final = _Cache()


def compiled(source: str, chars_max: int) -> Template:
    """The template of a source, compiled once while it is in use. Raises TemplateRefused."""
    return _CACHE.get(source, chars_max)


class Message:
    """The body and the title of a broadcast, as templates on the same fuel. Raises TemplateRefused.

    `fuel`: what the last rendering used.
    """

    def __init__(self, body: str, title: str | None) -> None:
        self._body = compiled(body, BODY_CHARS_MAX)
        self._title = compiled(title, TITLE_CHARS_MAX) if title else None
        self.fuel = 0

    @property
    def uses_locale(self) -> bool:
        """Whether it formats anything by the value `locale`."""
        return self._body.uses_locale or (self._title is not None and self._title.uses_locale)

    def render(self, data: Mapping[str, Any]) -> tuple[str, str | None]:
        """Render the body and the title for one recipient. Raises RenderingFailed, which names all values
        that are absent.
        """
        body, title = self._run(data, MISSING)
        if lacks := _lacks(body, title):
            raise RenderingFailed("template_value_missing", absent_message(lacks), lacks)
        if is_blank(text := body.text):
            raise RenderingFailed("template_empty", "the text is empty")
        line = title.text if title else ""
        if not is_one_line(line):
            raise RenderingFailed("not_one_line", "the title must be one line, without control characters")
        return text, None if is_blank(line) else line

    def try_with(self, data: Mapping[str, Any], others: Set[str] | None = None) -> tuple[Lack, ...]:
        """Render what depends on this part of the data alone. Returns what is null or blank in it.

        `others`: the names that the rest of the data may have; then any other name is missing, and is
        returned too. None: it may have any. Raises RenderingFailed if the data does not fit the template.
        """
        if others is None:
            return _lacks(*self._run(data, LACKING))
        read = self._body.names | (self._title.names if self._title else frozenset())
        unknown = dict.fromkeys(read & others, LACKING)
        return _lacks(*self._run({**unknown, **data}, MISSING))

    def _run(self, data: Mapping[str, Any], unknown: Absent) -> tuple[Run, Run | None]:
        try:
            body = self._body.run(data, unknown)
            title = self._title.run(data, unknown, body) if self._title else None
        except RenderingFailed as error:
            self.fuel = error.fuel
            raise
        self.fuel = (title or body).used
        return body, title


def is_one_line(text: str) -> bool:
    """Whether a text is one line. A mail's subject has to be: a line break could add header fields."""
    return not any(unicodedata.category(character) in _NOT_IN_A_LINE for character in text)


def absent_message(lacks: tuple[Lack, ...]) -> str:
    """Name what is absent: "the template needs `city` (missing), `name` (blank)"."""
    named = ", ".join(f"`{lack.text}` ({lack.kind})" for lack in lacks)
    more = ", …" if len(lacks) >= LACKS_MAX else ""
    return f'the template needs {named}{more}: give a value, or write `|default("…")` in the template'


def _lacks(body: Run, title: Run | None) -> tuple[Lack, ...]:
    return tuple(dict.fromkeys((*body.lacks, *(title.lacks if title else ()))))
