"""A template as a program: a closure for each statement, which runs on fuel."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from jinja2 import nodes

from domain.template_expressions import Evaluate, Expressions, Names, Use
from domain.template_operations import Loop
from domain.template_run import CONTAINERS, LACKING, Run, not_a_text, unfit

Execute: TypeAlias = Callable[[Run, Names], None]

_CHARS_PER_UNIT: Final = 8


def build(tree: nodes.Template) -> tuple[Execute, frozenset[str]]:
    """Build the program of a checked template. Returns the names that it reads, too."""
    program = _Program()
    execute = program.body(tree.body)
    return execute, program.names


class _Program:
    """Builds statements. Nodes that run together are paid for together."""

    def __init__(self) -> None:
        self._expressions = Expressions()

    @property
    def names(self) -> frozenset[str]:
        """The names that the expressions read."""
        return frozenset(self._expressions.names)

    def body(self, statements: Sequence[nodes.Node]) -> Execute:
        """Build statements that run together."""
        outer, self._expressions.weight = self._expressions.weight, 1
        steps = [_STATEMENTS[type(statement)](self, statement) for statement in statements]
        weight, self._expressions.weight = self._expressions.weight, outer

        def execute(run: Run, names: Names) -> None:
            run.spend(weight)
            for step in steps:
                step(run, names)

        return execute

    def output(self, node: nodes.Output) -> Execute:
        """Build the text between statements, with its values."""
        steps = [
            child.data
            if isinstance(child, nodes.TemplateData)
            else (self._expressions.expression(child, Use.PRINTED), self._expressions.labels.text(child))
            for child in node.nodes
        ]

        def execute(run: Run, names: Names) -> None:
            for step in steps:
                if isinstance(step, str):
                    run.write(step)
                    continue
                evaluate, text = step
                value = evaluate(run, names)
                if isinstance(value, str):
                    run.write(value)
                elif value is None:
                    run.lack(text, "null")
                elif type(value) in CONTAINERS:
                    raise not_a_text(f"`{text}`")
                elif value is not LACKING:
                    run.write(run.to_text(value))

        return execute

    def condition(self, node: nodes.If) -> Execute:
        """Build `if`. Without an answer, neither branch runs."""
        branches = [
            (self._expressions.expression(branch.test, Use.ASKED), self.body(branch.body))
            for branch in (node, *node.elif_)
        ]
        otherwise = self.body(node.else_)

        def execute(run: Run, names: Names) -> None:
            for test, branch in branches:
                value = test(run, names)
                if value is LACKING:
                    return None
                if value:
                    return branch(run, names)
            return otherwise(run, names)

        return execute

    def loop(self, node: nodes.For) -> Execute:
        """Build `for`."""
        target = cast(nodes.Name, node.target).name
        built = self._expressions
        items = built.expression(node.iter, Use.ASKED)
        text, keys = built.labels.text(node.iter), built.path(node.iter)
        outer, built.local = built.local, frozenset({target, "loop"})
        weight_before = built.weight
        test = built.expression(node.test, Use.ASKED) if node.test else None
        test_weight = built.weight - weight_before
        body, built.local = self.body(node.body), outer
        otherwise = self.body(node.else_)

        def execute(run: Run, names: Names) -> None:
            value = items(run, names)
            if value is None:
                value = run.lack(text, "null", keys)
            if value is LACKING:
                return
            if not isinstance(value, str | list | dict):
                raise unfit(f"`{text}` is not a list")
            run.spend(len(names) + len(value) // _CHARS_PER_UNIT)
            inner = dict(names)
            elements = list(value)
            if test is not None:
                elements = _kept(run, inner, target, elements, test, test_weight)
            inner["loop"] = state = Loop(elements)
            for state.index0, inner[target] in enumerate(elements):
                body(run, inner)
            if not elements:
                otherwise(run, names)

        return execute


def _kept(run: Run, names: Names, target: str, elements: list[Any], test: Evaluate, weight: int) -> list[Any]:
    kept: list[Any] = []
    for names[target] in elements:
        run.spend(weight)
        value = test(run, names)
        if value is not LACKING and value:
            kept.append(names[target])
    return kept


_STATEMENTS: Final[Mapping[type[nodes.Node], Callable[[_Program, Any], Execute]]] = {
    nodes.Output: _Program.output,
    nodes.If: _Program.condition,
    nodes.For: _Program.loop,
}
