"""Rules of this repository that no linter checks."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT, code, files, name, part, tree

LINES_MAX, PRODUCTION_LINES_MAX, FUNCTION_LINES_MAX = 400, 350, 70
RELEASES = ROOT / "tests" / "storage" / "releases"
"""Written and read by programs."""
LOCKS = set(files(".lock"))
TEXTS = [path for path in files() if path not in LOCKS and path.suffix not in {".png", ".gz", ".ico"}]

# Split, so that this file does not match.
HOSTS = ["pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "crates" + ".io", "golang" + ".org"]
PLACES = ["/" + "root/", "/" + "work/", "/" + "home/", "/opt/" + "wheels/", "/Users" + "/"]
UNFINISHED = re.compile(r"\b(TO" + "DO|FIX" + "ME|HA" + "CK)" + r"\b")
NO_REASON = re.compile(
    r"#\s*(no" + r"qa(: [A-Z0-9, ]+)?|py" + r"right: ignore(\[[\w, ]+\])?|type: ignore\S*)\s*$"
)
NOT_RUN = re.compile(r"\bpytest\.(mark\.)?(skip|skipif|xfail|importorskip)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def found(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{name(path)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(read(path).splitlines(), 1)
        if pattern.search(line)
    ]


def test_nothing_names_this_machine_or_a_package_registry() -> None:
    hosts = "|".join(map(re.escape, HOSTS))
    places = "|".join(rf"(?<![\w.}}]){re.escape(place)}(?=\w)" for place in PLACES)
    assert found(re.compile(f"{hosts}|{places}"), [*TEXTS, *LOCKS]) == []


def test_nothing_is_left_unfinished() -> None:
    assert found(UNFINISHED, TEXTS) == []


def test_every_silenced_check_has_a_reason() -> None:
    assert found(NO_REASON, [path for path in TEXTS if path.suffix == ".py"]) == []


def test_every_test_runs() -> None:
    assert (
        found(NOT_RUN, [path for path in TEXTS if part(path) == "tests" and path.name != "test_text.py"])
        == []
    )


def test_test_files_have_unique_names() -> None:
    """pytest imports them by file name only."""
    names = Counter(path.name for path in files(".py") if part(path) == "tests")
    assert {file for file, count in names.items() if count > 1} <= {"conftest.py"}


def test_no_file_is_too_long_to_read() -> None:
    written = [p for p in TEXTS if p.suffix in {".py", ".sql", ".lua", ".sh"} and RELEASES not in p.parents]
    long = {name(p): len(read(p).splitlines()) for p in written}
    assert {path: lines for path, lines in long.items() if lines > LINES_MAX} == {}


def test_no_production_file_is_too_long() -> None:
    long = {name(path): len(read(path).splitlines()) for path in code()}
    over = {path: lines for path, lines in long.items() if lines > PRODUCTION_LINES_MAX}
    assert over == {}


def test_no_function_is_too_long_to_read() -> None:
    long = [
        f"{name(path)}:{node.lineno} {node.name}: {lines} lines"
        for path in files(".py")
        for node in ast.walk(tree(path))
        if isinstance(node, Function)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_next_over_a_generator_has_a_default() -> None:
    """`next` over a generator raises StopIteration, which a coroutine turns into a RuntimeError."""
    found = {
        f"{name(path)}:{node.lineno}"
        for path in code(production=True)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "next" and len(node.args) == 1
        if isinstance(node.args[0], ast.GeneratorExp)
    }
    assert found == set()


def test_public_names_have_docstrings() -> None:
    """Except methods of a subclass: the base class documents them."""
    documented = {
        node.name for node in ast.walk(tree(ROOT / "providers/base.py")) if isinstance(node, Function)
    }
    silent = [
        f"{name(path)}:{node.lineno} {node.name}"
        for path in code(production=True)
        for node, owner in _public(tree(path))
        if not ast.get_docstring(node)
        and not any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list)
        and not (owner and (owner.bases or (part(path) == "providers" and node.name in documented)))
    ]
    assert silent == []
    modules = [name(path) for path in code() if tree(path).body and not ast.get_docstring(tree(path))]
    assert modules == []


def test_tests_wait_for_conditions() -> None:
    """A fixed sleep is allowed only in a loop that polls a condition, or as `sleep(0)`."""
    wrong = [
        f"{name(path)}:{node.lineno}"
        for path in files(".py")
        if part(path) == "tests"
        for node, in_loop in _calls(tree(path), in_loop=False)
        if (called := ast.unparse(node.func)) in ("time.sleep", "sleep")
        or (
            called == "asyncio.sleep"
            and not in_loop
            and isinstance(node.args[0], ast.Constant)
            and ast.unparse(node.args[0]) != "0"
        )
    ]
    assert wrong == []


@pytest.mark.parametrize("page", files(".md"), ids=name)
def test_links_between_pages_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:|#", t)]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def _public(
    node: ast.AST, owner: ast.ClassDef | None = None
) -> Iterator[tuple[ast.ClassDef | Function, ast.ClassDef | None]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | Function) and not child.name.startswith("_"):
            yield child, owner
            if isinstance(child, ast.ClassDef):
                yield from _public(child, child)


def _calls(node: ast.AST, *, in_loop: bool) -> Iterator[tuple[ast.Call, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield child, in_loop
        yield from _calls(child, in_loop=in_loop or isinstance(child, ast.While | ast.For | ast.AsyncFor))
