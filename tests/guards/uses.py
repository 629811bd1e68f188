"""Which names a set of Python files defines, and which of them its code uses: imports and attribute
access, resolved by scope. A word in a string is no use."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from repository import name, tree

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Definition:
    """A function, class, constant or method. `owner` is the class of a method."""

    path: Path
    owner: str | None
    name: str
    node: ast.stmt

    @property
    def module(self) -> str:
        """The dotted name of its module."""
        return module_of(self.path)

    def __str__(self) -> str:
        """As `file:line name`."""
        return f"{name(self.path)}:{self.node.lineno} {f'{self.owner}.' if self.owner else ''}{self.name}"


def module_of(path: Path) -> str:
    """The dotted name of a file's module."""
    return name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def definitions(paths: Iterable[Path]) -> Iterator[Definition]:
    """What modules and their classes define; names with two leading underscores belong to Python."""
    for path in paths:
        for node in tree(path).body:
            for defined in _names_of(node):
                if not defined.startswith("__"):
                    yield Definition(path, None, defined, node)
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, Function) and not inner.name.startswith("__"):
                        yield Definition(path, node.name, inner.name, inner)


def _names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    if isinstance(node, ast.Assign):
        return [n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    return []


class Uses(ast.NodeVisitor):
    """What the files use: names of modules (`module`, `name`), and attributes of anything."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.names: dict[tuple[str, str], list[ast.stmt | None]] = {}
        self.attributes: dict[str, list[ast.stmt | None]] = {}
        paths = list(paths)
        self._modules = {module_of(path) for path in paths}
        for path in paths:
            self._module, self._imported = module_of(path), _imports(tree(path))
            self._locals: list[set[str]] = []
            self._inside: list[ast.stmt] = []
            self.visit(tree(path))

    def of(self, definition: Definition) -> bool:
        """Whether anything outside the definition itself uses it."""
        if definition.owner:
            found = self.attributes.get(definition.name, [])
        else:
            found = self.names.get((definition.module, definition.name), [])
        return any(definition.node not in inside for inside in found)

    def _used(self, module: str, name: str) -> None:
        self.names.setdefault((module, name), []).append(tuple(self._inside))

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store) or any(node.id in scope for scope in self._locals):
            return
        if origin := self._imported.get(node.id):
            module, _, attribute = origin.rpartition(".")
            self._used(module, attribute)
        else:
            self._used(self._module, node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not isinstance(node.ctx, ast.Store):
            self.attributes.setdefault(node.attr, []).append(tuple(self._inside))
            origin = self._imported.get(ast.unparse(node.value).partition(".")[0])
            if origin:
                path = ".".join([origin, *ast.unparse(node.value).split(".")[1:]])
                self._used(path, node.attr)
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        self._annotation(node.annotation)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._inside.append(node)
        self.generic_visit(node)
        self._inside.pop()

    def visit_FunctionDef(self, node: Function | ast.Lambda) -> None:
        if not isinstance(node, ast.Lambda):
            self._annotation(node.returns)
            for decorator in node.decorator_list:
                self.visit(decorator)
            self._inside.append(node)
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(default)
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                self._annotation(argument.annotation)
        self._locals.append(_bound(node))
        for inner in node.body if isinstance(node.body, list) else [node.body]:
            self.visit(inner)
        self._locals.pop()
        if not isinstance(node, ast.Lambda):
            self._inside.pop()

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_Lambda = visit_FunctionDef

    def visit_Assign(self, node: ast.Assign) -> None:
        self._inside.append(node)
        self.generic_visit(node)
        self._inside.pop()

    def _annotation(self, node: ast.expr | None) -> None:
        """Visit an annotation; what it quotes is code too."""
        if node is None:
            return
        self.visit(node)
        for quoted in ast.walk(node):
            if isinstance(quoted, ast.Constant) and isinstance(quoted.value, str):
                try:
                    self.visit(ast.parse(quoted.value, mode="eval"))
                except SyntaxError:
                    continue


def _imports(module: ast.Module) -> dict[str, str]:
    """What each imported name of a file stands for, as a dotted name."""
    found: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def _bound(function: Function | ast.Lambda) -> set[str]:
    """The names that are local to a function: its arguments and what it assigns."""
    bound = {n.arg for n in ast.walk(function.args) if isinstance(n, ast.arg)}
    outer: set[str] = set()
    waiting: list[ast.AST] = list(function.body) if isinstance(function.body, list) else []
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Global | ast.Nonlocal):
            outer |= set(node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, Function | ast.ClassDef):
            bound.add(node.name)
            continue
        elif isinstance(node, ast.Lambda):
            continue
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
        waiting += ast.iter_child_nodes(node)
    return bound - outer
