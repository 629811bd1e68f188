"""The files, modules and definitions that comments, docstrings and documents name exist."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from repository import MODULES, PACKAGES, ROOT, files, name, tree, written_by_hand

SUFFIXES = ("py", "sql", "lua", "md", "toml", "sh", "js", "json", "yml", "yaml", "svg", "lock")
FILE = re.compile(
    rf"(?<![\w*{{}}<>…/.$-])\.?\w[\w.-]*(?:/[\w.-]+)*\.(?:{'|'.join(SUFFIXES)})\b(?![\w*/(-]|\.\w)"
)
# After "[" it is a section of herald.toml.
DOTTED = re.compile(
    rf"(?<![\w./@\[-])(?:{'|'.join(sorted(PACKAGES | MODULES))})(?:\.[A-Za-z_]\w*)+(?![\w/@-]|\.\w)"
)
ADDRESS = re.compile(r"\w+://\S+|[\w.-]+\.(?:com|org|example)\b")
PLACEHOLDER = re.compile(r"\b(?:NAME|CHANNEL|NNNN)")
COMMENT_OR_DOCSTRING = re.compile(r'"""(.*?)"""|#\s(.*?)$', re.DOTALL | re.MULTILINE)

ELSEWHERE = {
    ".herald/dev.json": "what `herald dev` writes into its data directory",
    "dev.json": "the same",
    ".herald/before_after.json": "what `make bench-compare` writes",
    "bare.json": "what a benchmark writes beside its results when it is asked to",
    "load.json": "what a benchmark's load generator writes",
}
"""Names of files that are not in the repository."""


@cache
def speaking() -> dict[Path, str]:
    """The prose of files: Python's comments and docstrings, and the whole of other files.

    Left out: records of decisions, generated figures, and kept releases: they name files of their time.
    """
    prose: dict[Path, str] = {}
    for path in files(".py", ".sql", ".lua", ".md", ".toml", ".sh", ".yml", ".importlinter"):
        if name(path).startswith(("docs/decisions/0", "tests/storage/releases/")):
            continue
        text = written_by_hand(path)
        if path.suffix == ".py":
            text = "\n".join(doc or comment for doc, comment in COMMENT_OR_DOCSTRING.findall(text))
        prose[path] = ADDRESS.sub("", text)
    return prose


def named_by(pattern: re.Pattern[str]) -> Iterator[tuple[Path, str]]:
    """The matches, each with its file; placeholders are left out."""
    for path, text in speaking().items():
        yield from ((path, n) for n in sorted(set(pattern.findall(text))) if not PLACEHOLDER.search(n))


@cache
def ends() -> frozenset[str]:
    """Every suffix of a path in the repository: `c`, `b/c` and `a/b/c` of a/b/c."""
    parts = [name(path).split("/") for path in files()]
    return frozenset("/".join(of[start:]) for of in parts for start in range(len(of)))


@cache
def members(module: str) -> frozenset[str] | None:
    """What a module or class defines or imports, by dotted name; None if there is no such module."""
    path = ROOT / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return frozenset(_defined(tree(path).body)) if path.is_file() else None


def _defined(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from _defined(node.body, f"{prefix}{node.name}.")
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            yield from (
                prefix + n.id
                for n in ast.walk(target or node)
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            )


def resolves(dotted: str) -> bool:
    """Whether it is a module, a package, or something that one of them defines."""
    parts = dotted.split(".")
    for split in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:split])
        if (found := members(".".join(parts[:split]))) is not None:
            return split == len(parts) or ".".join(parts[split:]) in found
        if place.is_dir():
            return split == len(parts)
    return False


def test_every_file_that_is_named_exists() -> None:
    missing = [
        f"{name(path)}: {named}"
        for path, named in named_by(FILE)
        if named not in ends() | ELSEWHERE.keys() and not (path.parent / named).exists()
    ]
    assert missing == []


def test_every_module_and_definition_that_is_named_exists() -> None:
    missing = [
        f"{name(path)}: {named}"
        for path, named in named_by(DOTTED)
        if named.rpartition(".")[2] not in SUFFIXES and not resolves(named)
    ]
    assert missing == []
