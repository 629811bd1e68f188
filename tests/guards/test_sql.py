"""Statements live in named files that say what they are for, and each is used."""

import ast

import pytest
from repository import ROOT, code, files, name, tree

STATEMENTS = [path for path in files(".sql") if path.parent == ROOT / "storage" / "sql"]
MIGRATIONS = [path for path in files(".sql") if path.parent == ROOT / "storage" / "migrations"]
WORDS = {
    node.value
    for path in code(production=True)
    for node in ast.walk(tree(path))
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
}


@pytest.mark.parametrize("path", [*STATEMENTS, *MIGRATIONS, *files(".lua")], ids=name)
def test_it_begins_with_what_it_is_for(path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("-- ")


@pytest.mark.parametrize("path", STATEMENTS, ids=name)
def test_it_is_used(path) -> None:
    assert path.stem in WORDS


def test_no_two_migrations_have_one_number() -> None:
    numbers = [path.name[:5] for path in MIGRATIONS]
    assert all(number[:4].isdigit() and number[4] == "_" for number in numbers)
    assert len(set(numbers)) == len(numbers)
