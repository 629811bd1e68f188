"""The language of templates: a part of Jinja2's, read by Jinja2's parser within limits, and checked.

Nothing of a template is computed here. Jinja2 computes constants when it compiles, so it does not compile.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import Final, cast

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser

from domain.template_filters import ARGUED, CONSTANTS, FILTERS, SIGNATURES, usage
from domain.template_operations import TESTS
from domain.template_run import INTEGER_BITS_MAX, RenderingFailed

TEMPLATE_BYTES_MAX: Final = 65_536
TAGS_MAX: Final = 2_000
TOKENS_MAX: Final = 2_000
"""The most words and signs within a template's tags; reading and building one takes about 12 µs."""
_COMMENT_TOKENS: Final = 2
"""What a comment counts: reading it takes as long."""
LINES_MAX: Final = 8_000
DEPTH_MAX: Final = 200
_SHOWN_CHARS_MAX: Final = 200

_ALLOWED: Final = frozenset(
    {
        *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const),
        *(
            nodes.Getattr,
            nodes.Getitem,
            nodes.Filter,
            nodes.Keyword,
            nodes.Test,
            nodes.Compare,
            nodes.Operand,
        ),
        *(nodes.If, nodes.For, nodes.CondExpr, nodes.And, nodes.Or, nodes.Not),
        *(nodes.Concat, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.Neg, nodes.Pos),
    }
)


class TemplateRefused(ValueError):
    """The template is not valid. The message names the line and what is wrong."""


_ENVIRONMENT: Final = Environment(  # noqa: S701 (the texts are plain; a template escapes with the filter `e`)
    keep_trailing_newline=True
)


def parse(source: str) -> nodes.Template:
    """Read and check a template. Raises TemplateRefused."""
    if (size := len(source.encode(errors="replace"))) > TEMPLATE_BYTES_MAX:
        raise TemplateRefused(f"the template has {size} bytes: at most {TEMPLATE_BYTES_MAX} are allowed")
    if source.count("\n") + source.count("\r") > LINES_MAX:
        raise TemplateRefused(f"the template has more than {LINES_MAX} lines")
    if sum(map(source.count, ("{{", "{%", "{#"))) > TAGS_MAX:
        raise TemplateRefused(f"the template has more than {TAGS_MAX} tags and comments")
    try:
        parser = Parser(_ENVIRONMENT, source)
        parser.stream = TokenStream(_bounded(parser.stream, source), None, None)
        tree = nodes.Template(parser.subparse(), lineno=1)
        for node, depth in _walk(tree):
            _check(node, depth)
    except TemplateSyntaxError as error:
        message = error.message or "the template is not valid"
        raise TemplateRefused(f"line {error.lineno}: {message[:_SHOWN_CHARS_MAX]}") from None
    except RecursionError:
        raise TemplateRefused("the template is nested too deeply: simplify it") from None
    except ValueError:
        raise TemplateRefused("the template has a number with too many digits") from None
    return tree


def _bounded(stream: TokenStream, source: str) -> Iterator[Token]:
    """End reading once the template has too many tokens, so that no work is put into the rest."""
    left = TOKENS_MAX - _COMMENT_TOKENS * source.count("{#")
    for count, token in enumerate(stream):
        if count >= left:
            raise TemplateSyntaxError("the template has too much within its tags: shorten it", token.lineno)
        yield token


def uses_locale(tree: nodes.Template) -> bool:
    """Whether a filter takes the locale from the data."""
    return any(
        "locale" in SIGNATURES[node.name].parameters
        and "locale" not in SIGNATURES[node.name].bind(None, None, *node.args, **_named(node)).arguments
        for node, _ in _walk(tree)
        if isinstance(node, nodes.Filter)
    )


def count_nodes(tree: nodes.Template) -> int:
    """How many nodes a template has."""
    return sum(1 for _ in _walk(tree))


def _named(node: nodes.Filter) -> dict[str, nodes.Expr]:
    return {str(keyword.key): keyword.value for keyword in node.kwargs}


def _walk(tree: nodes.Node) -> Iterator[tuple[nodes.Node, int]]:
    """All nodes with their depth, in the order of the text, without recursion."""
    pending = [(tree, 0)]
    while pending:
        node, depth = pending.pop()
        yield node, depth
        pending.extend([(child, depth + 1) for child in reversed(_children(node))])


def _children(node: nodes.Node) -> list[nodes.Node]:
    children: list[nodes.Node] = []
    for name in node.fields:
        value = getattr(node, name)
        if isinstance(value, nodes.Node):
            children.append(value)
        elif isinstance(value, list):
            children += cast(list[nodes.Node], value)
    return children


def _check(node: nodes.Node, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise TemplateSyntaxError("the template is nested too deeply: simplify it", node.lineno)
    if type(node) not in _ALLOWED:
        what = type(node).__name__.lower()
        raise TemplateSyntaxError(
            f"`{what}` cannot be used: a template names values, filters them, and has if and for", node.lineno
        )
    if isinstance(node, nodes.Const):
        if isinstance(node.value, int) and node.value.bit_length() > INTEGER_BITS_MAX:
            raise TemplateSyntaxError("a number has too many digits", node.lineno)
    elif isinstance(node, nodes.Filter):
        _check_filter(node)
    elif isinstance(node, nodes.Test):
        if node.name not in TESTS:
            raise TemplateSyntaxError(_unknown("test", node.name, TESTS), node.lineno)
        if node.args or node.kwargs or node.dyn_args or node.dyn_kwargs:
            raise TemplateSyntaxError(f"the test `{node.name}` takes no arguments", node.lineno)
    elif isinstance(node, nodes.For):
        _check_loop(node)


def _check_filter(node: nodes.Filter) -> None:
    if node.name not in FILTERS:
        raise TemplateSyntaxError(_unknown("filter", node.name, FILTERS), node.lineno)
    if node.dyn_args or node.dyn_kwargs:
        raise TemplateSyntaxError("a filter takes no * or ** arguments", node.lineno)
    if not node.args and not node.kwargs and node.name not in ARGUED:
        return
    named = _named(node)
    try:
        if len(named) < len(node.kwargs):
            raise TypeError
        bound = SIGNATURES[node.name].bind(None, None, *node.args, **named)
    except TypeError:
        raise TemplateSyntaxError(
            f"wrong arguments for the filter `{node.name}`; it takes: {usage(node.name)}", node.lineno
        ) from None
    for name, given in bound.arguments.items():
        if name in CONSTANTS and isinstance(given, nodes.Const) and given.value is not None:
            try:
                CONSTANTS[name](given.value)
            except RenderingFailed as error:
                raise TemplateSyntaxError(f"{name} of `{node.name}`: {error}", node.lineno) from None


def _check_loop(node: nodes.For) -> None:
    if node.recursive or any(
        isinstance(inner, nodes.For) for part in (*node.body, *node.else_) for inner, _ in _walk(part)
    ):
        raise TemplateSyntaxError("loops cannot be nested", node.lineno)
    if isinstance(node.target, nodes.Name) and node.target.name == "loop":
        raise TemplateSyntaxError("a loop's value cannot be called `loop`", node.lineno)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:_SHOWN_CHARS_MAX], known, n=1)
    meant = f" (did you mean `{near[0]}`?)" if near else ""
    return f"there is no {what} `{name[:40]}`{meant}; there are {', '.join(known)}"
