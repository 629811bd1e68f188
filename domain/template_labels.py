"""How messages name the expressions of a template."""

from typing import Final, NamedTuple, TypeAlias

from jinja2 import nodes

_LABEL_CHARS_MAX: Final = 60


class _Named(NamedTuple):
    """`shown`: what the template writes, cut. `path`: the keys that read the data, or none if unknown."""

    shown: str
    path: tuple[str, ...]


_Step: TypeAlias = nodes.Getattr | nodes.Getitem | nodes.Filter
_STEPS: Final = (nodes.Getattr, nodes.Getitem, nodes.Filter)
_UNNAMED: Final = _Named("", ())


class Labels:
    """The labels of one template. Each node is looked at once, so that a long chain costs its length."""

    def __init__(self) -> None:
        self._known: dict[nodes.Node, _Named] = {}

    def text(self, node: nodes.Node | None) -> str:
        """How a message writes an expression: the value that it names, if it names one."""
        shown = self._of(node).shown
        if not shown:
            return "an expression"
        return shown if len(shown) <= _LABEL_CHARS_MAX else f"{shown[:_LABEL_CHARS_MAX]}…"

    def path(self, node: nodes.Node) -> tuple[str, ...]:
        """The keys by which an expression reads the data, or none if they are not all known."""
        return self._of(node).path

    def _of(self, node: nodes.Node | None) -> _Named:
        steps: list[_Step] = []
        while isinstance(node, _STEPS) and node not in self._known:
            steps.append(node)
            node = node.node
        if isinstance(node, nodes.Name):
            found = _Named(node.name[: _LABEL_CHARS_MAX + 1], (node.name,))
        else:
            found = self._known.get(node, _UNNAMED) if node is not None else _UNNAMED
        for step in reversed(steps):
            found = self._known[step] = _after(found, step)
        return found


def _after(inner: _Named, step: _Step) -> _Named:
    if isinstance(step, nodes.Getattr):
        sign, key = f".{step.attr}", step.attr
    elif isinstance(step, nodes.Filter):
        sign, key = f"|{step.name}", None
    elif isinstance(step.arg, nodes.Const):
        sign, key = f"[{step.arg.value!r}]", str(step.arg.value)
    else:
        sign, key = "[…]", None
    shown = (inner.shown + sign)[: _LABEL_CHARS_MAX + 1] if inner.shown else ""
    return _Named(shown, (*inner.path, key) if inner.path and key is not None else ())
