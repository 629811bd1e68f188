"""Which names a set of Python files defines, and which of them its code uses: imports and attribute
access, resolved by scope. A word in a string does not count."""

import ast
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from repository import name, part, tree

Function = ast.FunctionDef | ast.AsyncFunctionDef
Key = TypeVar("Key")


@dataclass(frozen=True)
class Definition:
    """A function, class, constant or method; a method is `within` its class."""

    path: Path
    name: str
    node: ast.stmt
    within: ast.ClassDef | None = None

    @property
    def owner(self) -> str | None:
        """The class of a method."""
        return self.within.name if self.within else None

    @property
    def decorators(self) -> list[str]:
        """The decorators, without their arguments."""
        found: list[ast.expr] = getattr(self.node, "decorator_list", [])
        return [ast.unparse(one.func if isinstance(one, ast.Call) else one) for one in found]

    @property
    def is_property(self) -> bool:
        """Whether it is read without a call."""
        return any(decorator.endswith("property") for decorator in self.decorators)

    @property
    def module(self) -> str:
        """The dotted name of the definition's module."""
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
                    yield Definition(path, defined, node)
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, Function) and not inner.name.startswith("__"):
                        yield Definition(path, inner.name, inner, node)


def fields(paths: Iterable[Path]) -> Iterator[Definition]:
    """The fields of dataclasses."""
    for path in paths:
        for owner in tree(path).body:
            if isinstance(owner, ast.ClassDef) and any(
                "dataclass" in ast.unparse(d) for d in owner.decorator_list
            ):
                for node in owner.body:
                    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                        yield Definition(path, node.target.id, node, owner)


def _names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    if isinstance(node, ast.Assign):
        return [n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    return []


@dataclass(frozen=True, slots=True)
class Use:
    """A place where a name is used: in a part of the repository, within these definitions."""

    part: str
    inside: tuple[ast.stmt, ...]


class Uses(ast.NodeVisitor):
    """What the files use: names of modules (`module`, `name`), and attributes of anything.

    The type of an object is not known here, so that an attribute is a use of every method of its name.
    If a field has that name too, only a call counts, or a use inside the method's own class.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._names: dict[tuple[str, str], list[Use]] = {}
        self._attributes: dict[str, list[Use]] = {}
        self._calls: dict[str, list[Use]] = {}
        self._own: dict[str, list[Use]] = {}
        self._fields: set[str] = set()
        for path in paths:
            self._module, self._imported = module_of(path), _imports(tree(path))
            self._part = part(path)
            self._locals: list[set[str]] = []
            self._inside: list[ast.stmt] = []
            self.visit(tree(path))

    def of(self, definition: Definition, parts: Container[str]) -> bool:
        """Whether anything in these parts, outside the definition itself, uses it."""
        if not definition.owner:
            found = self._names.get((definition.module, definition.name), [])
        elif definition.name in self._fields and not definition.is_property:
            own = (u for u in self._own.get(definition.name, []) if definition.within in u.inside)
            found = [*self._calls.get(definition.name, []), *own]
        else:
            found = self._attributes.get(definition.name, [])
        return any(use.part in parts and definition.node not in use.inside for use in found)

    def reads(self, field: str, parts: Container[str]) -> bool:
        """Whether anything in these parts reads an attribute of this name."""
        return any(use.part in parts for use in self._attributes.get(field, []))

    def _use(self, uses: dict[Key, list[Use]], name: Key) -> None:
        uses.setdefault(name, []).append(Use(self._part, tuple(self._inside)))

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store) or any(node.id in scope for scope in self._locals):
            return
        for origin in self._imported.get(node.id, {f"{self._module}.{node.id}"}):
            module, _, attribute = origin.rpartition(".")
            self._use(self._names, (module, attribute))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Store):
            self._fields.add(node.attr)
        else:
            self._use(self._attributes, node.attr)
            if isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}:
                self._use(self._own, node.attr)
            for owner in self._modules_of(node.value):
                self._use(self._names, (owner, node.attr))
        self.generic_visit(node)

    def _modules_of(self, node: ast.expr) -> set[str]:
        """What an expression may name, according to the imports: `package.module`."""
        if isinstance(node, ast.Attribute):
            return {f"{owner}.{node.attr}" for owner in self._modules_of(node.value)}
        if isinstance(node, ast.Name) and not any(node.id in scope for scope in self._locals):
            return self._imported.get(node.id, set())
        return set()

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            self._use(self._calls, node.func.attr)
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        self._annotation(node.annotation)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._inside.append(node)
        self._fields |= {
            inner.target.id
            for inner in node.body
            if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name)
        }
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
        """Visit an annotation; a quoted annotation is code too."""
        if node is None:
            return
        self.visit(node)
        for quoted in ast.walk(node):
            if isinstance(quoted, ast.Constant) and isinstance(quoted.value, str):
                try:
                    self.visit(ast.parse(quoted.value, mode="eval"))
                except SyntaxError:
                    continue


def _imports(module: ast.Module) -> dict[str, set[str]]:
    """What each imported name of a file may stand for, as dotted names: functions import too."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found.setdefault(alias.asname or top, set()).add(alias.name if alias.asname else top)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                found.setdefault(alias.asname or alias.name, set()).add(f"{node.module}.{alias.name}")
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
