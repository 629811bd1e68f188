"""What the signs, tests and `loop` of a template compute."""

import operator
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from math import isfinite
from typing import Any, Final

from jinja2 import nodes

from domain.template_run import MISSING, Run, integer_checked, unfit

_DECIMALS: Final = Context(prec=40, traps=[])
_DECIMAL_UNITS: Final = 4


class Loop:
    """`loop` within a loop."""

    __slots__ = ("index0", "items")

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.index0 = 0

    def __len__(self) -> int:
        return len(self.items)

    def __str__(self) -> str:
        return f"<LoopContext {self.index0 + 1}/{len(self.items)}>"

    def field(self, name: str) -> Any:
        """The field of this name, or MISSING."""
        field = _LOOP_FIELDS.get(name)
        return MISSING if field is None else field(self)

    def item(self, index: int) -> Any:
        """The element at this position, or MISSING."""
        return self.items[index] if 0 <= index < len(self.items) else MISSING


_LOOP_FIELDS: Final[Mapping[str, Callable[[Loop], Any]]] = {
    "index": lambda loop: loop.index0 + 1,
    "index0": lambda loop: loop.index0,
    "revindex": lambda loop: len(loop) - loop.index0,
    "revindex0": lambda loop: len(loop) - loop.index0 - 1,
    "first": lambda loop: loop.index0 == 0,
    "last": lambda loop: loop.index0 == len(loop) - 1,
    "length": len,
    "previtem": lambda loop: loop.item(loop.index0 - 1),
    "nextitem": lambda loop: loop.item(loop.index0 + 1),
    "depth": lambda loop: 1,
    "depth0": lambda loop: 0,
}


def computed(run: Run, kind: type[nodes.BinExpr], one: Any, other: Any) -> Any:
    """Compute with two values. Fractions count as the decimals that they are written as: 0.1 + 0.2 is 0.3."""
    run.weigh(one)
    run.weigh(other)
    if kind is nodes.Mul and not (isinstance(one, int | float) and isinstance(other, int | float)):
        # Multiplying a text by a number would make a text of any length.
        raise unfit("only numbers can be multiplied")
    operate, exact = OPERATIONS[kind]
    result = integer_checked(operate(one, other))
    if (
        not isinstance(result, float)
        or not isfinite(result)
        or (isinstance(one, int) and isinstance(other, int))
    ):
        return result
    run.spend(_DECIMAL_UNITS)
    return float(exact(Decimal(repr(one)), Decimal(repr(other))))


def _remainder(value: Any) -> Any:
    if not isinstance(value, int | float):
        raise unfit("only numbers are even or odd")
    return value % 2


OPERATIONS: Final[
    Mapping[type[nodes.BinExpr], tuple[Callable[[Any, Any], Any], Callable[[Decimal, Decimal], Decimal]]]
] = {
    nodes.Add: (operator.add, _DECIMALS.add),
    nodes.Sub: (operator.sub, _DECIMALS.subtract),
    nodes.Mul: (operator.mul, _DECIMALS.multiply),
    nodes.Div: (operator.truediv, _DECIMALS.divide),
}
COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
    "in": lambda one, other: one in other,
    "notin": lambda one, other: one not in other,
}
ORDERED: Final = frozenset({"lt", "lteq", "gt", "gteq"})
SEARCHES: Final = frozenset({"in", "notin"})
TESTS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "defined": lambda value: value is not MISSING,
    "even": lambda value: _remainder(value) == 0,
    "false": lambda value: value is False,
    "none": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float),
    "odd": lambda value: _remainder(value) == 1,
    "string": lambda value: isinstance(value, str),
    "true": lambda value: value is True,
    "undefined": lambda value: value is MISSING,
}
