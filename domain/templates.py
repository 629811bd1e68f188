"""Templates of broadcasts: a small, bounded part of Jinja2's language.

A template can name values, filter them, choose (`if`) and repeat (`for`, not nested). It cannot call, assign,
include or define anything, so its cost is bounded by its own length and by the recipient's data.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import LoopContext
from jinja2.sandbox import SandboxedEnvironment

TEMPLATE_CHARS_MAX: Final = 20_000
BODY_CHARS_MAX: Final = 100_000
TITLE_CHARS_MAX: Final = 500
"""The longest output of a template: as long as a notification's own texts."""

FILTERS: Final = (
    *("abs", "capitalize", "d", "default", "e", "escape", "first", "float", "int", "last", "length"),
    *("lower", "round", "title", "trim", "truncate", "upper"),
)
_ALLOWED: Final = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const),
    *(nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Keyword, nodes.Test, nodes.Compare, nodes.Operand),
    *(nodes.If, nodes.For, nodes.CondExpr, nodes.And, nodes.Or, nodes.Not),
    *(nodes.Concat, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.Neg, nodes.Pos),
)
_TESTS: Final = frozenset(
    {"defined", "undefined", "none", "number", "string", "true", "false", "even", "odd"}
)


class TemplateRefused(ValueError):
    """The template is not valid. The message names the line and what is wrong."""


class RenderingFailed(ValueError):
    """A recipient's data does not fit the template. The message never repeats the data."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Environment(SandboxedEnvironment):
    """Data are JSON: a name after a dot is a key, never a method of the same name."""

    intercepted_binops = frozenset({"*"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext):
            return super().getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Undefined):
            return super().getitem(obj, argument)
        try:
            return obj[argument]
        except (LookupError, TypeError):
            return self.undefined(obj=obj, name=argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        # Multiplying a text by a number would make an output of any length.
        if not all(isinstance(value, int | float) for value in (left, right)):
            raise SecurityError("only numbers can be multiplied")
        return super().call_binop(context, operator, left, right)


def _not_null(value: Any) -> Any:
    if value is None:
        raise UndefinedError("a value is null")
    return value


def _environment() -> _Environment:
    environment = _Environment(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_not_null
    )
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    environment.tests = {name: test for name, test in environment.tests.items() if name in _TESTS}
    environment.globals.clear()
    return environment


_ENVIRONMENT: Final = _environment()


class Template:
    """A checked template. Raises TemplateRefused if it is not valid."""

    def __init__(self, source: str, chars_max: int) -> None:
        if len(source) > TEMPLATE_CHARS_MAX:
            raise TemplateRefused(
                f"the template has {len(source)} characters: at most {TEMPLATE_CHARS_MAX} are allowed"
            )
        self._chars_max = chars_max
        try:
            tree = _ENVIRONMENT.parse(source)
            _check(tree)
            self._compiled = _ENVIRONMENT.from_string(tree)
        except TemplateSyntaxError as error:
            raise TemplateRefused(f"line {error.lineno}: {error.message}") from None
        except (TemplateError, RecursionError) as error:
            raise TemplateRefused(
                f"the template cannot be compiled ({type(error).__name__}): simplify it"
            ) from None
        self._names = frozenset(
            {str(node.name) for node in tree.find_all(nodes.Name)}
            | {str(node.attr) for node in tree.find_all(nodes.Getattr)}
        )

    def render(self, data: Mapping[str, Any]) -> str:
        """Render the text for one recipient. Raises RenderingFailed."""
        parts: list[str] = []
        room = self._chars_max
        try:
            for part in self._compiled.generate(dict(data)):
                room -= len(part)
                if room < 0:
                    raise RenderingFailed(
                        "template_output_too_long", f"the text is longer than {self._chars_max} characters"
                    )
                parts.append(part)
        except RenderingFailed:
            raise
        except UndefinedError as error:
            raise RenderingFailed("template_value_missing", self._missing(error)) from None
        except Exception as error:
            # The original message may repeat a value.
            message = f"the data does not fit the template ({type(error).__name__})"
            raise RenderingFailed("template_failed", message) from None
        return "".join(parts)

    def _missing(self, error: UndefinedError) -> str:
        named = [name for name in re.findall(r"'([^']*)'", error.message or "") if name in self._names]
        return f"there is no value for `{named[-1]}`" if named else "a value is missing"


@cache
def compiled(source: str, chars_max: int) -> Template:
    """The template of a source that was checked before, compiled once."""
    return Template(source, chars_max)


def _check(tree: nodes.Template) -> None:
    for node in _walk(tree):
        _check_node(node)
    for loop in tree.find_all(nodes.For):
        inner = any(
            other is not loop
            for part in (*loop.body, *loop.else_)
            for other in _walk(part)
            if isinstance(other, nodes.For)
        )
        if inner or loop.recursive:
            raise TemplateSyntaxError("loops cannot be nested", loop.lineno)


def _check_node(node: nodes.Node) -> None:
    if not isinstance(node, _ALLOWED):
        what = type(node).__name__.lower()
        raise TemplateSyntaxError(
            f"`{what}` cannot be used: a template names values, filters them, and has if and for", node.lineno
        )
    if isinstance(node, nodes.Filter) and node.name not in FILTERS:
        raise TemplateSyntaxError(
            f"there is no filter `{node.name}`; there are {', '.join(FILTERS)}", node.lineno
        )
    if isinstance(node, nodes.Filter) and (node.dyn_args or node.dyn_kwargs):
        raise TemplateSyntaxError("a filter takes no * or ** arguments", node.lineno)
    if isinstance(node, nodes.Test) and node.name not in _TESTS:
        raise TemplateSyntaxError(f"there is no test `{node.name}`", node.lineno)


def _walk(tree: nodes.Node) -> list[nodes.Node]:
    """All nodes, without recursion: a template may be nested deeply."""
    found: list[nodes.Node] = []
    pending = [tree]
    while pending:
        node = pending.pop()
        found.append(node)
        pending.extend(node.iter_child_nodes())
    return found
