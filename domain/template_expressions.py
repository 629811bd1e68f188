"""The expressions of a template: a closure for each node, which uses fuel for all that it does.

An expression is built for one of four uses. PRINTED: its value is shown to the reader, so a value that is
missing, null or blank is recorded as lacking. COMPUTED: a condition computes with it, so it may be blank, but
not null. ASKED: a condition looks at it, so it may be null or blank. OPTIONAL: `default` or a test such as
`is defined` looks at it, so it may be missing as well.
"""

import operator
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, TypeAlias

from jinja2 import nodes

from domain.template_filters import DEFAULTS, ELEMENTS, FILTERS, SHORTENED
from domain.template_labels import Labels
from domain.template_operations import COMPARISONS, ORDERED, SEARCHES, TESTS, Loop, computed
from domain.template_run import LACKING, MISSING, Run, unfit

Names: TypeAlias = dict[str, Any]
Evaluate: TypeAlias = Callable[[Run, Names], Any]


class Use(Enum):
    """What an expression's value is for."""

    PRINTED = "printed"
    COMPUTED = "computed"
    ASKED = "asked"
    OPTIONAL = "optional"


_NEEDED: Final = {Use.PRINTED: Run.needed, Use.COMPUTED: Run.present}


class Expressions:
    """Builds expressions. `weight` counts their nodes.

    `names`: all that they read. `local`: the names that are not the data's.
    """

    def __init__(self) -> None:
        self.weight = 0
        self.labels = Labels()
        self.names: set[str] = set()
        self.local: frozenset[str] = frozenset()

    def expression(self, node: nodes.Node, use: Use) -> Evaluate:
        """Build an expression."""
        self.weight += 1
        return _EXPRESSIONS[type(node)](self, node, use)

    def constant(self, node: nodes.Const, use: Use) -> Evaluate:
        """Build a constant. It may be blank: the template's author wrote it."""
        value = node.value
        return lambda run, names: value

    def named_value(self, node: nodes.Name, use: Use) -> Evaluate:
        """Build a name of the data or of a loop."""
        name = node.name
        self.names.add(name)
        return self._value(lambda run, names: names.get(name, run.unknown), node, use)

    def attribute(self, node: nodes.Getattr, use: Use) -> Evaluate:
        """Build a name after a dot: a key, or a field of `loop`."""
        inner, name = self.expression(node.node, Use.OPTIONAL), node.attr

        def find(run: Run, names: Names) -> Any:
            value = inner(run, names)
            if isinstance(value, dict):
                return value.get(name, MISSING)
            if isinstance(value, Loop):
                return value.field(name)
            return LACKING if value is LACKING else MISSING

        return self._value(find, node, use)

    def item(self, node: nodes.Getitem, use: Use) -> Evaluate:
        """Build a key or position in brackets."""
        inner, key = self.expression(node.node, Use.OPTIONAL), self.expression(node.arg, Use.ASKED)

        def find(run: Run, names: Names) -> Any:
            value, position = inner(run, names), key(run, names)
            if value is LACKING or position is LACKING:
                return LACKING
            try:
                return value[position]
            except (LookupError, TypeError):
                return MISSING

        return self._value(find, node, use)

    def concatenation(self, node: nodes.Concat, use: Use) -> Evaluate:
        """Build `~`."""
        parts = [self.expression(part, _whole(use)) for part in node.nodes]

        def evaluate(run: Run, names: Names) -> Any:
            texts: list[str] = []
            lacking = False
            for part in parts:
                value = part(run, names)
                if value is LACKING:
                    lacking = True
                else:
                    texts.append(run.to_text(value))
            return LACKING if lacking else "".join(texts)

        return evaluate

    def arithmetic(self, node: nodes.BinExpr, use: Use) -> Evaluate:
        """Build `+`, `-`, `*` or `/`."""
        left, right = self.expression(node.left, _whole(use)), self.expression(node.right, _whole(use))
        kind = type(node)

        def evaluate(run: Run, names: Names) -> Any:
            one, other = left(run, names), right(run, names)
            if one is LACKING or other is LACKING:
                return LACKING
            return computed(run, kind, one, other)

        return evaluate

    def sign(self, node: nodes.UnaryExpr, use: Use) -> Evaluate:
        """Build `+` or `-` before a number."""
        inner = self.expression(node.node, _whole(use))
        operate = operator.neg if isinstance(node, nodes.Neg) else operator.pos

        def evaluate(run: Run, names: Names) -> Any:
            value = inner(run, names)
            if value is LACKING:
                return LACKING
            run.weigh(value)
            return operate(value)

        return evaluate

    def comparison(self, node: nodes.Compare, use: Use) -> Evaluate:
        """Build a chain of comparisons."""
        ops = [other.op for other in node.ops]
        first, *values = [
            self.expression(operand, _compared(before, after))
            for operand, before, after in zip(
                (node.expr, *(other.expr for other in node.ops)), (None, *ops), (*ops, None), strict=True
            )
        ]
        others = [(COMPARISONS[op], op in SEARCHES, value) for op, value in zip(ops, values, strict=True)]
        text, keys = self.labels.text(node.expr), self.path(node.expr)

        def evaluate(run: Run, names: Names) -> Any:
            left = first(run, names)
            for holds, searches, other in others:
                right = other(run, names)
                if left is LACKING or right is LACKING:
                    return LACKING
                run.weigh(left)
                run.weigh(right)
                if searches and isinstance(right, str):
                    if left is None:
                        return run.lack(text, "null", keys)
                    if isinstance(left, str):
                        run.search(left, right)
                try:
                    if not holds(left, right):
                        return False
                except TypeError:
                    raise unfit(f"`{text}` cannot be compared with this value") from None
                left = right
            return True

        return evaluate

    def choice(self, node: nodes.And | nodes.Or, use: Use) -> Evaluate:
        """Build `and` or `or`."""
        left, right = self.expression(node.left, Use.ASKED), self.expression(node.right, use)
        ends = isinstance(node, nodes.Or)
        text, keys = self.labels.text(node.left), self.path(node.left)
        needed = _NEEDED.get(use)

        def evaluate(run: Run, names: Names) -> Any:
            value = left(run, names)
            if value is LACKING or bool(value) is not ends:
                return LACKING if value is LACKING else right(run, names)
            return value if needed is None else needed(run, value, text, keys)

        return evaluate

    def negation(self, node: nodes.Not, use: Use) -> Evaluate:
        """Build `not`."""
        inner = self.expression(node.node, Use.ASKED)

        def evaluate(run: Run, names: Names) -> Any:
            value = inner(run, names)
            return LACKING if value is LACKING else not value

        return evaluate

    def alternative(self, node: nodes.CondExpr, use: Use) -> Evaluate:
        """Build `A if B else C`."""
        test, yes = self.expression(node.test, Use.ASKED), self.expression(node.expr1, use)
        # Without `else` it is a value that may be missing, and prints nothing.
        nothing = MISSING if use is Use.OPTIONAL else ""
        no = self.expression(node.expr2 or nodes.Const(nothing), use)

        def evaluate(run: Run, names: Names) -> Any:
            value = test(run, names)
            if value is LACKING:
                return LACKING
            return yes(run, names) if value else no(run, names)

        return evaluate

    def tested(self, node: nodes.Test, use: Use) -> Evaluate:
        """Build `is`."""
        needed = node.name in ("even", "odd")
        inner, holds = self.expression(node.node, Use.COMPUTED if needed else Use.OPTIONAL), TESTS[node.name]

        def evaluate(run: Run, names: Names) -> Any:
            value = inner(run, names)
            if value is LACKING:
                return LACKING
            if needed:
                run.weigh(value)
            return holds(value)

        return evaluate

    def filtered(self, node: nodes.Filter, use: Use) -> Evaluate:
        """Build a filter."""
        assert node.node is not None
        if node.name in DEFAULTS:
            return self._default(node, node.node, use)
        function, text = FILTERS[node.name], self.labels.text(node)
        looks = use is Use.ASKED or (use is Use.PRINTED and node.name in ELEMENTS | {"length"})
        inner = self.expression(node.node, Use.COMPUTED if looks else use)
        given = [self.expression(argument, _whole(use)) for argument in node.args]
        named = {str(argument.key): self.expression(argument.value, _whole(use)) for argument in node.kwargs}
        optional = use is Use.OPTIONAL
        shortened = use is Use.PRINTED and node.name in SHORTENED

        def evaluate(run: Run, names: Names) -> Any:
            value = inner(run, names)
            arguments = [argument(run, names) for argument in given]
            keywords = {key: argument(run, names) for key, argument in named.items()}
            if value is LACKING or LACKING in arguments or LACKING in keywords.values():
                return LACKING
            if optional and (value is MISSING or value is None):
                return value
            try:
                result = function(run, value, *arguments, **keywords)
            except (TypeError, ArithmeticError):
                raise unfit(f"`{text}` cannot be computed from this value") from None
            # What was blank before is the author's own, such as `default("")`.
            if shortened and run.blank(result) and not run.blank(value):
                return run.lack(text, "blank")
            return result

        return self._value(evaluate, node, use) if node.name in ELEMENTS else evaluate

    def _default(self, node: nodes.Filter, operand: nodes.Expr, use: Use) -> Evaluate:
        inner = self.expression(operand, Use.OPTIONAL)
        given = dict(zip(("default_value", "boolean"), node.args, strict=False))
        given |= {argument.key: argument.value for argument in node.kwargs}
        fallback = self.expression(given.get("default_value", nodes.Const("")), use)
        boolean = self.expression(given.get("boolean", nodes.Const(False)), Use.ASKED)

        def evaluate(run: Run, names: Names) -> Any:
            value = inner(run, names)
            if value is LACKING:
                return LACKING
            if value is MISSING or value is None or run.blank(value):
                return fallback(run, names)
            return value if value or not boolean(run, names) else fallback(run, names)

        return evaluate

    def _value(self, find: Evaluate, node: nodes.Node, use: Use) -> Evaluate:
        """Build a value that may be missing, null or blank."""
        if use is Use.OPTIONAL:
            return find
        text, keys = self.labels.text(node), self.path(node)
        if needed := _NEEDED.get(use):
            return lambda run, names: needed(run, find(run, names), text, keys)

        def asked(run: Run, names: Names) -> Any:
            value = find(run, names)
            return run.lack(text, "missing", keys) if value is MISSING else value

        return asked

    def path(self, node: nodes.Node) -> tuple[str, ...]:
        """The keys by which an expression reads the data, or none."""
        keys = self.labels.path(node)
        return () if keys[:1] and keys[0] in self.local else keys


def _whole(use: Use) -> Use:
    """The use of a part whose value goes into a text or a number."""
    return Use.COMPUTED if use in (Use.ASKED, Use.COMPUTED) else Use.PRINTED


def _compared(before: str | None, after: str | None) -> Use:
    """The use of a value between two signs of a comparison: null equals nothing else, but has no order."""
    computed = before in ORDERED or after in ORDERED or before in SEARCHES
    return Use.COMPUTED if computed else Use.ASKED


_EXPRESSIONS: Final[Mapping[type[nodes.Node], Callable[[Expressions, Any, Use], Evaluate]]] = {
    nodes.Const: Expressions.constant,
    nodes.Name: Expressions.named_value,
    nodes.Getattr: Expressions.attribute,
    nodes.Getitem: Expressions.item,
    nodes.Concat: Expressions.concatenation,
    nodes.Add: Expressions.arithmetic,
    nodes.Sub: Expressions.arithmetic,
    nodes.Mul: Expressions.arithmetic,
    nodes.Div: Expressions.arithmetic,
    nodes.Neg: Expressions.sign,
    nodes.Pos: Expressions.sign,
    nodes.Compare: Expressions.comparison,
    nodes.And: Expressions.choice,
    nodes.Or: Expressions.choice,
    nodes.Not: Expressions.negation,
    nodes.CondExpr: Expressions.alternative,
    nodes.Test: Expressions.tested,
    nodes.Filter: Expressions.filtered,
}
