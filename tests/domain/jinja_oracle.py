"""The same language rendered by Jinja2 itself, to compare with. It has no bounds: give it no bombs."""

import operator
from collections.abc import Mapping
from decimal import Context, Decimal
from math import isfinite
from typing import Any

from jinja2 import StrictUndefined, Undefined, UndefinedError
from jinja2.runtime import LoopContext
from jinja2.sandbox import SandboxedEnvironment

from domain.template_run import is_blank

FILTERS = (
    *("abs", "capitalize", "e", "escape", "first", "float", "int", "last", "length"),
    *("lower", "round", "title", "trim", "truncate", "upper"),
)
DECIMALS = Context(prec=40, traps=[])
NATIVE = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
EXACT = {"+": DECIMALS.add, "-": DECIMALS.subtract, "*": DECIMALS.multiply, "/": DECIMALS.divide}


class JinjaOracle(SandboxedEnvironment):
    """Jinja2 with our rules: names are keys, fractions are decimals, `default` is for blank values too."""

    intercepted_binops = frozenset(NATIVE)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return (
            super().getattr(obj, attribute) if isinstance(obj, LoopContext) else self.getitem(obj, attribute)
        )

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Undefined):
            return super().getitem(obj, argument)
        try:
            return obj[argument]
        except (LookupError, TypeError):
            return self.undefined(obj=obj, name=argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "*" and not numbers:
            raise TypeError
        result = NATIVE[operator](left, right)
        whole = isinstance(left, int) and isinstance(right, int)
        if whole or not isinstance(result, float) or not isfinite(result):
            return result
        return float(EXACT[operator](Decimal(repr(left)), Decimal(repr(right))))


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    absent = isinstance(value, Undefined) or value in (None, [], {})
    absent = absent or (isinstance(value, str) and is_blank(value))
    return default_value if absent or (boolean and not value) else value


def _finalize(value: Any) -> Any:
    if value is None:
        raise UndefinedError("null")
    return value


def _environment() -> JinjaOracle:
    environment = JinjaOracle(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_finalize
    )
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    environment.filters |= {"default": _default, "d": _default}
    environment.globals.clear()
    return environment


_ENVIRONMENT = _environment()


def rendered(source: str, data: Mapping[str, Any]) -> str | None:
    """The text that Jinja2 renders; None if it fails."""
    try:
        return _ENVIRONMENT.from_string(source).render(dict(data))
    except Exception:
        return None
