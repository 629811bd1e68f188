"""SQL is in storage/: named statements, functions and migrations. Each states its purpose and is used."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT, code, files, name, tree

from storage.statements import FUNCTIONS, statements

STORAGE = ROOT / "storage"
MIGRATIONS = [path for path in files(".sql") if path.parent == STORAGE / "migrations"]
FUNCTION_FILES = [path for path in files(".sql") if path.parent == FUNCTIONS]
PRODUCTION = list(code(production=True))
_SQL = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM|TRUNCATE|pg_notify"
    r"|(CREATE|ALTER|DROP) (TABLE|INDEX|FUNCTION|TYPE))\b"
)


def _without_comments(text: str) -> str:
    return re.sub(r"--.*", "", text)


def _called(function: str) -> set[str]:
    """The names that production code passes to `statement(…)` or `call(…)`."""
    return {
        node.args[0].value
        for path in PRODUCTION
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == function
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


STATEMENTS_CALLED, FUNCTIONS_CALLED = _called("statement"), _called("call")
BODIES = {path: _without_comments(path.read_text(encoding="utf-8")) for path in FUNCTION_FILES}


def _names_it(path: Path, text: str) -> bool:
    return re.search(rf"\b{path.stem}\b", text) is not None


@pytest.mark.parametrize("path", [*MIGRATIONS, *FUNCTION_FILES, *files(".lua")], ids=name)
def test_it_begins_with_its_purpose(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("-- ")


@pytest.mark.parametrize("statement", statements())
def test_a_statement_is_used(statement: str) -> None:
    assert statement in STATEMENTS_CALLED


@pytest.mark.parametrize("path", FUNCTION_FILES, ids=name)
def test_a_function_is_used(path: Path) -> None:
    """By Python, by a statement, or by another function."""
    texts = [_without_comments(one.text) for one in statements().values()]
    texts += [body for other, body in BODIES.items() if other != path]
    assert path.stem in FUNCTIONS_CALLED or any(_names_it(path, text) for text in texts)


@pytest.mark.parametrize("path", FUNCTION_FILES, ids=name)
def test_a_function_carries_its_version_and_is_created_once(path: Path) -> None:
    assert re.fullmatch(r"[a-z_]+_v[1-9][0-9]*", path.stem)
    created = re.findall(r"CREATE (?:FUNCTION|TYPE) (\w+)", BODIES[path])
    assert path.stem in created, "the file is named after the function that it creates"
    assert all(re.search(r"_v[1-9][0-9]*$", one) for one in created)
    assert "OR REPLACE" not in BODIES[path]


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [re.match(r"(\d{4})_(before|after)_", path.name) for path in MIGRATIONS]
    assert [int(match[1]) for match in numbers if match] == list(range(1, len(MIGRATIONS) + 1))


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    """The string constants of a file, without its docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_there_is_no_sql_outside_storage() -> None:
    found = [
        f"{name(path)}:{line}"
        for path in PRODUCTION
        if STORAGE not in path.parents
        for line, text in _strings(path)
        if _SQL.search(text)
    ]
    assert found == []
