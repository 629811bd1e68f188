"""The data of a release for later releases' tests: `make release-data` writes it to releases/<version>/.

schema.sql: the steps that made its database. statements.json: the statements of its processes, with types.
life.json: the statements that they sent in a small life (life.py), with the answers of Postgres.
"""

import asyncio
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from life import Life
from recording import RecordedQuery, Recorder

from devstack.ports import free_port
from devstack.postgres import Postgres
from devstack.process import Process
from domain.notification import Lane
from storage.migrate import Release, migrate, steps
from storage.postgres import open_pool
from storage.statements import call, statements

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RELEASES = HERE / "releases"

USER, LANE = "released", Lane.NORMAL
"""The user and the lane of the recorded life."""


@dataclass(frozen=True)
class Types:
    """The types of a statement's parameters, and its columns with their types."""

    parameters: list[str]
    columns: list[list[str]]


@dataclass(frozen=True)
class Released:
    """The data of one release."""

    version: str
    steps: Mapping[str, str]
    """The texts of its migrations and functions by name, in the order in which they ran."""
    statements: Mapping[str, tuple[str, Types]]
    life: Mapping[str, list[RecordedQuery]]


def newest() -> Released:
    """The data of the newest release."""
    folder = max(RELEASES.iterdir(), key=lambda path: [int(part) for part in path.name.split(".")])
    _, *parts = re.split(
        r"^-- step: (\w+)\n", (folder / "schema.sql").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    recorded = json.loads((folder / "statements.json").read_text(encoding="utf-8"))
    return Released(
        folder.name,
        dict(zip(parts[::2], parts[1::2], strict=True)),
        {name: (one["text"], Types(one["parameters"], one["columns"])) for name, one in recorded.items()},
        json.loads((folder / "life.json").read_text(encoding="utf-8")),
    )


def texts() -> dict[str, str]:
    """This tree's statements and function calls, by name."""
    found = {name: one.text for name, one in statements().items()}
    for path in sorted((ROOT / "storage").glob("*.py")):
        for name in re.findall(r'\bcall\("(\w+)"\)', path.read_text(encoding="utf-8")):
            found[name] = call(name)
    return found


async def types_of(connection: Any, text: str) -> Types:
    """The types that Postgres reports for a prepared statement."""
    prepared = await connection.prepare(text)
    return Types(
        [parameter.name for parameter in prepared.get_parameters()],
        [[attribute.name, attribute.type.name] for attribute in prepared.get_attributes()],
    )


async def _made(postgres: Postgres) -> dict[str, str]:
    """The data of this tree, by file name."""
    await postgres.ensure_database()
    await migrate(postgres.url())
    pool = await open_pool(postgres.url(), size_max=1)
    async with pool.acquire() as connection:
        described: dict[str, Any] = {}
        for name, text in sorted(texts().items()):
            types = await types_of(connection, text)
            described[name] = {"text": text, "parameters": types.parameters, "columns": types.columns}
        life = await _recorded(connection)
    await pool.close()
    schema = "".join(f"-- step: {step.name}\n{step.text}" for step in steps(Release()))
    return {"schema.sql": schema, "statements.json": _dumped(described), "life.json": _dumped(life)}


async def _recorded(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, list[RecordedQuery]]:
    recorder = Recorder(connection)
    life: dict[str, list[RecordedQuery]] = {}
    for stage, happens in Life(recorder, USER, LANE).stages.items():
        recorder.queries = life[stage] = []
        await happens()
    return life


def _dumped(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


async def _of_this_tree(directory: Path) -> dict[str, str]:
    server = Postgres(directory / "postgres", free_port(), durable=False)
    process = Process(server.part(), directory / "logs")
    await process.start()
    try:
        return await _made(server)
    finally:
        await process.stop()


def _main() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if subprocess.run(
        ["git", "tag", "--list", f"v{version}"], cwd=ROOT, capture_output=True, check=True
    ).stdout:
        sys.exit(f"Version {version} is released: its data must not change. Set the next version first.")
    with tempfile.TemporaryDirectory() as directory:
        made = asyncio.run(_of_this_tree(Path(directory)))
    folder = RELEASES / version
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")
    print(f"wrote {folder.relative_to(ROOT)}")


if __name__ == "__main__":
    _main()
