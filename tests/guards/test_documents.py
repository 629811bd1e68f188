"""The pages for newcomers are correct: their commands exist and their lists are complete."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest
import typer
from repository import ROOT, code, files, name, part, variables
from typer.core import TyperGroup

import cli
import settings
from devstack.scenarios.registry import SCENARIOS

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
TARGETS = set(re.findall(r"(?m)^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8")))
COLLECTED_S_MAX = 120


def commands(page: str) -> Iterator[list[str]]:
    """The words of each command in the page's console blocks, without comments and output."""
    for block in BLOCK.findall(page):
        lines = iter(block.splitlines())
        for line in lines:
            if line.startswith("$ "):
                yield _split(line.removeprefix("$ "), lines)


def _split(text: str, following: Iterator[str]) -> list[str]:
    """A command's words; it continues after a backslash at a line's end or an open quotation."""
    while True:
        try:
            return shlex.split(text.replace("\\\n", " "), comments=True)
        except ValueError:
            text += "\n" + next(following)


def words(command: list[str]) -> list[str]:
    """A command's words, and those inside ARGS="…"."""
    return [word for item in command for word in item.removeprefix("ARGS=").split()]


NEWCOMERS = [*commands(README), *commands(CONTRIBUTING)]
PYTEST = [command for command in NEWCOMERS if command[1:3] == ["-m", "pytest"]]


def test_every_make_target_that_is_named_exists() -> None:
    named = {
        (name(page), target)
        for page in files(".md")
        for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", page.read_text(encoding="utf-8"))
    }
    assert {(page, target) for page, target in named if target not in TARGETS} == set()
    assert len(named) > 10


def test_every_path_in_a_command_exists() -> None:
    paths = {word.partition("::")[0] for command in NEWCOMERS for word in words(command)}
    paths = {path for path in paths if re.match(r"(?:tests|docs|deploy|bench)/", path)}
    assert {path for path in paths if not (ROOT / path).exists()} == set()
    assert paths


@pytest.mark.parametrize("command", PYTEST, ids=shlex.join)
def test_a_command_that_runs_tests_selects_some(command: list[str]) -> None:
    collect = [sys.executable, *command[1:], "--collect-only", "-p", "no:cacheprovider"]
    done = subprocess.run(
        collect, cwd=ROOT, check=False, capture_output=True, text=True, timeout=COLLECTED_S_MAX
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_every_herald_command_that_is_shown_exists() -> None:
    root = typer.main.get_command(cli.app)
    shown = {
        (name(page), tuple(command[1:]))
        for page in files(".md")
        for command in commands(page.read_text(encoding="utf-8"))
        if command and command[0].rpartition("/")[2] == "herald"
    }
    assert {(page, line) for page, line in shown if not _is_command(root, line)} == set()
    assert len(shown) > 5


def _is_command(command: object, line: tuple[str, ...]) -> bool:
    if not isinstance(command, TyperGroup) or not line or line[0].startswith("-"):
        return True
    return line[0] in command.commands and _is_command(command.commands[line[0]], line[1:])


def test_every_variable_that_is_set_exists() -> None:
    models = (settings.Settings, settings.ClientSettings, settings.StoreSettings)
    known = {variable for model in models for variable in variables(model)}
    assert set(re.findall(r"HERALD_\w+", README + CONTRIBUTING)) - known == set()


def test_the_readme_names_every_folder_page_and_figure() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    folders = {part(path) for path in files() if path.parent != ROOT and not part(path).startswith(".")}
    assert {
        folder for folder in folders if f"`{folder}/`" not in README and f"({folder}/" not in README
    } == set()
    pages = {name(page) for page in files(".md") if page.parent in (ROOT, ROOT / "docs")} - {"README.md"}
    assert {page for page in pages if f"({page})" not in README} == set()
    assert f"Version {project['version']} " in README
    assert f"[{project['license']}](LICENSE)" in README
    assert re.findall(r"(\d+) scenarios", README) == [str(len(SCENARIOS))]


def test_the_architecture_names_every_table_channel_and_loop() -> None:
    # Not those of earlier releases, which tests keep.
    ours = [path for path in files(".sql") if part(path) == "storage"]
    sql = "\n".join(path.read_text(encoding="utf-8") for path in ours)
    tables = set(re.findall(r"CREATE TABLE ([a-z_]+) \(", sql))
    assert {table for table in tables if f"`{table}`" not in ARCHITECTURE} == set()
    channels = set(re.findall(r"pg_notify\('(\w+)'", sql))
    assert {channel for channel in channels if f"NOTIFY `{channel}`" not in ARCHITECTURE} == set()
    loops = {
        name(path)
        for path in code()
        if part(path) == "dispatcher" and path.stem != "loop"
        if re.search(r"(?m)^    async def (?:round|run)\(", path.read_text(encoding="utf-8"))
    }
    assert {loop for loop in loops if f"`{loop}`" not in ARCHITECTURE} == set()
    assert min(len(tables), len(channels), len(loops)) > 4


def test_contributing_names_every_guard() -> None:
    guards = {path.stem for path in (ROOT / "tests" / "guards").glob("test_*.py")}
    assert {guard for guard in guards if f"`{guard}`" not in CONTRIBUTING} == set()
