"""The repository as the guards see it: its files, their syntax trees, and the settings' names."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

ROOT = Path(__file__).parents[2]

PACKAGES = frozenset(
    {
        *(
            "activities",
            "api",
            "configuration",
            "console",
            "delivery",
            "devstack",
            "dispatcher",
            "domain",
            "providers",
        ),
        *("ratelimit", "runtime", "simulators", "storage", "telemetry", "temporal", "wiring", "workflows"),
    }
)
MODULES = frozenset({"cli", "settings", "worker"})
NOT_IN_PRODUCTION = frozenset({"devstack", "simulators"})

_FIGURES = re.compile(r"<!-- figures: ([\w-]+): begin -->.*?<!-- figures: \1: end -->", re.DOTALL)


@cache
def files(*suffixes: str) -> tuple[Path, ...]:
    """Every file that is, or would be, committed, with one of the suffixes; all of them without any."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = sorted({ROOT / name for name in listed.split("\0") if name})
    return tuple(path for path in paths if path.is_file() and (not suffixes or path.suffix in suffixes))


def name(path: Path) -> str:
    """A path relative to the root, as it is written in texts."""
    return path.relative_to(ROOT).as_posix()


def written_by_hand(path: Path) -> str:
    """A file's text without the figures that `make bench-pages` writes. Its lines keep their numbers."""
    return _FIGURES.sub(lambda block: "\n" * block[0].count("\n"), path.read_text(encoding="utf-8"))


def part(path: Path) -> str:
    """The package, or the module at the top, that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def code(*, production: bool = False) -> Iterator[Path]:
    """The Python files of Herald; `production`: only what a production image runs."""
    parts = PACKAGES | MODULES
    wanted = parts - NOT_IN_PRODUCTION if production else parts
    return (path for path in files(".py") if part(path) in wanted)


def imported(node: ast.AST) -> list[str]:
    """The modules that an import statement names; `from a import b` is `a.b`, which may be an attribute."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def variables(model: type[BaseModel], prefix: str = "HERALD_") -> dict[str, bool]:
    """The environment variables of a settings model, and whether each must be set."""
    found: dict[str, bool] = {}
    for field_name, field in model.model_fields.items():
        variable = prefix + (field.alias or field_name).upper()
        nested = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_model(kind)]
        if nested:
            found |= {
                inner: required and field.is_required()
                for inner, required in variables(nested[0], f"{variable}__").items()
            }
        else:
            found[variable] = field.is_required()
    return found


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
