"""docs/api.md lists the codes of problems: those that the code raises, and no other."""

import ast
import re
from collections.abc import Iterator

from repository import ROOT, code, tree

from api.problems import STATUS_CODES

PLACES = {"Problem": 1, "CallbackRefused": 0, "CommandRefused": 0}
"""What raises a problem, and which argument is its code."""


def _documented() -> set[str]:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    table = page.partition("The problem's `code`:")[2].partition("\n\n##")[0]
    rows = re.findall(r"(?m)^\| (`.*?`) \| \d{3} \|", table)
    return {code for row in rows for code in re.findall(r"`(\w+)`", row)}


def _raised() -> Iterator[str]:
    for path in code(production=True):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PLACES:
                place = PLACES[node.func.id]
                argument = node.args[place] if place < len(node.args) else None
                if isinstance(argument, ast.Constant):
                    yield argument.value


def _written() -> set[str]:
    return {
        node.value
        for path in code(production=True)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_every_code_that_is_raised_is_documented() -> None:
    # What the framework raises gets its code by its status.
    raised = {*_raised()} | {STATUS_CODES[status] for status in (400, 404, 405, 408, 413, 422, 500)}
    assert len(raised) > 30
    assert raised - _documented() == set()


def test_every_documented_code_exists() -> None:
    assert _documented() - _written() == set()
