"""The SQL that Python runs, by name: the statements of storage/sql/ and the calls of storage/functions/.

A file in storage/sql/ holds the statements about one subject. Each is a block that begins with its name and a
description:

    -- name: count_parked
    -- How many notifications wait for an operator.
    SELECT count(*) FROM notifications WHERE …
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SQL = Path(__file__).with_name("sql")
FUNCTIONS = Path(__file__).with_name("functions")

_NAME = re.compile(r"-- name: ([a-z][a-z0-9_]*)")
_ROW_TYPE = re.compile(r"^CREATE TYPE (\w+) AS \(", re.MULTILINE)


class StatementError(Exception):
    """A file of statements is malformed, or a name is unknown."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A named statement. `text` is what Postgres gets."""

    name: str
    description: str
    text: str


def parse(text: str, file: str) -> list[Statement]:
    """The statements of one file. Raises StatementError for a block without a name, description or SQL."""
    head, *blocks = re.split(r"^(?=-- name:)", text, flags=re.MULTILINE)
    if head.strip():
        raise StatementError(f"{file}: it must begin with `-- name: …`")
    return [_block(block, file) for block in blocks]


def _block(block: str, file: str) -> Statement:
    first, *rest = block.strip().splitlines()
    named = _NAME.fullmatch(first)
    if named is None:
        raise StatementError(f"{file}: `{first}` names no statement")
    length = next((index for index, line in enumerate(rest) if not line.startswith("--")), len(rest))
    description = " ".join(line.removeprefix("--").strip() for line in rest[:length])
    if not description:
        raise StatementError(f"{file}: {named[1]} has no description")
    if not (sql := "\n".join(rest[length:]).strip()):
        raise StatementError(f"{file}: {named[1]} has no SQL")
    return Statement(named[1], description, sql)


def collect(paths: Iterable[Path]) -> dict[str, Statement]:
    """The statements of several files, by name. Raises StatementError when two have the same name."""
    found: dict[str, Statement] = {}
    for path in sorted(paths):
        for one in parse(path.read_text(encoding="utf-8"), path.name):
            if one.name in found:
                raise StatementError(f"{path.name}: there are two statements called {one.name}")
            found[one.name] = one
    return found


@cache
def statements() -> Mapping[str, Statement]:
    """Every statement of storage/sql/, by name."""
    return collect(SQL.glob("*.sql"))


@cache
def statement(name: str) -> str:
    """The text of a named statement. Raises StatementError when there is no such statement."""
    if name not in statements():
        raise StatementError(f"storage/sql has no statement called {name}")
    return statements()[name].text


@cache
def call(function: str) -> str:
    """The statement that calls a function of storage/functions/ with its one argument.

    Raises StatementError when there is no such function.
    """
    if not FUNCTIONS.joinpath(f"{function}.sql").exists():
        raise StatementError(f"storage/functions has no {function}")
    return f"SELECT * FROM {function}($1)"  # noqa: S608 (the name of one of our files)


@cache
def row_types() -> tuple[str, ...]:
    """The names of the row types that storage/functions/ declares."""
    texts = (path.read_text(encoding="utf-8") for path in sorted(FUNCTIONS.glob("*.sql")))
    return tuple(name for text in texts for name in _ROW_TYPE.findall(text))
