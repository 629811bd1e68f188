"""What every topic uses: a private stack, its counters, and time limits."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from rich.console import Console

from bench.counters import Counts, cpu_seconds, postgres_counts, resident_mb, valkey_counts
from devstack.ports import Ports
from devstack.stack import Stack

CATALOG = Path(__file__).with_name("bench.toml")
"""The benchmarks' notification types: those of herald.toml, without limits per user."""
PARTS = ("api", "callbacks", "worker", "worker_critical", "temporal", "postgres", "valkey", "simulators")
_POLL_S = 0.05


def batching(mode: str, catalog: Path = CATALOG) -> str:
    """The text of a catalog with `dispatch.batching` set."""
    return catalog.read_text(encoding="utf-8").replace("[dispatch]\n", f'[dispatch]\nbatching = "{mode}"\n')


class TookTooLong(Exception):
    """A condition did not become true in time."""


@dataclass(frozen=True, slots=True)
class Bench:
    """How to run: the sizes, and where progress goes.

    `small` is for development: everything runs, and the figures mean nothing. `essential` leaves out
    everything that `bench.before_after` does not compare. `options` are the topic's, from `--set name=value`.
    """

    small: bool = False
    essential: bool = False
    repetitions: int = 3
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def scaled(self, full: int, small: int, essential: int | None = None) -> int:
        """The size for this kind of run. `essential` is the full size unless given."""
        if self.small:
            return small
        return full if essential is None or not self.essential else essential

    def option(self, name: str, default: int) -> int:
        """A size that the command line may set. Raises ValueError if it is not a number."""
        return int(self.options.get(name, default))

    def say(self, line: str) -> None:
        """Print progress."""
        self.console.print(f"[{time.strftime('%H:%M:%S')}] {line}", markup=False, soft_wrap=True)

    @asynccontextmanager
    async def stack(
        self, *, catalog: Path | str = CATALOG, statements: bool = False, **environment: str
    ) -> "AsyncGenerator[Running]":
        """The whole embedded stack on an empty directory and free ports, with the given HERALD_… variables.

        `catalog`: a file, or its text. `statements`: Postgres counts statements (a few percent slower).
        Everything is removed at the end. Raises DevStackError.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HERALD_")}
        with tempfile.TemporaryDirectory(prefix="herald-bench-", ignore_cleanup_errors=True) as directory:
            if isinstance(catalog, str):
                text, catalog = catalog, Path(directory) / "catalog.toml"
                catalog.write_text(text, encoding="utf-8")
            given = {"HERALD_CONFIG": str(catalog), "HERALD_LOG_LEVEL": "INFO", **environment}
            stack = Stack(
                Path(directory) / "data", Ports.free(), {**inherited, **given}, fresh=True, say=self.say
            )
            async with stack:
                if statements:
                    await _count_statements(stack)
                async with httpx.AsyncClient(
                    base_url=stack.api_url,
                    headers={"Authorization": f"Bearer {stack.api_key}"},
                    trust_env=False,
                    timeout=60,
                ) as api:
                    yield Running(stack, api)


class Running:
    """A running stack, with what a measurement needs from it."""

    def __init__(self, stack: Stack, api: httpx.AsyncClient) -> None:
        self.stack = stack
        self.api = api
        described = stack.description
        self.database_url: str = described["database_url"]
        self.valkey_url: str = described["valkey_url"]
        self.temporal_address: str = described["temporal_address"]
        self.simulators_url: str = described["simulators_url"]

    def pid(self, part: str) -> int:
        """The process id of a part. Raises RuntimeError while it does not run."""
        found = self.stack.description["pids"].get(part)
        if found is None:
            raise RuntimeError(f"{part} does not run: see {self.stack.logs / part}.log")
        return found

    async def counts(self) -> Counts:
        """Every counter now. Stopped parts and stores are missing."""
        pids = self.stack.description["pids"]
        counts = Counts({part: cpu_seconds(pids[part]) for part in PARTS if pids.get(part)})
        if pids.get("postgres"):
            counts.postgres = await postgres_counts(self.database_url)
        if pids.get("valkey"):
            counts.valkey = await valkey_counts(self.valkey_url)
        return counts

    def resident_mb(self, part: str) -> float:
        """The resident size of a part in MiB."""
        return resident_mb(self.pid(part))

    async def query(self, sql: str, *arguments: Any) -> list[Any]:
        """Rows of the ledger."""
        connection: Any = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    async def value(self, sql: str, *arguments: Any) -> Any:
        """One value from the ledger."""
        rows = await self.query(sql, *arguments)
        return rows[0][0] if rows else None

    async def until(
        self, what: str, condition: Callable[[], Awaitable[bool]], within_s: float, every_s: float = _POLL_S
    ) -> float:
        """Wait for a condition; the seconds it took. Raises TookTooLong."""
        started = time.monotonic()
        while not await condition():
            if time.monotonic() - started > within_s:
                raise TookTooLong(f"{what}: not within {within_s:.0f} s")
            await asyncio.sleep(every_s)
        return time.monotonic() - started

    async def instant_vendors(self, *, callbacks: bool = True) -> None:
        """Have every simulated vendor report a message's outcome immediately, or never."""
        plan = {"mode": "normal", "delay_s": 0} if callbacks else {"mode": "held"}
        async with httpx.AsyncClient(base_url=self.simulators_url, trust_env=False, timeout=120) as client:
            for vendor in (await client.get("/control/healthz")).json()["providers"]:
                (await client.put(f"/control/{vendor}/callbacks", json=plan)).raise_for_status()


async def _count_statements(stack: Stack) -> None:
    url = stack.description["database_url"]
    connection: Any = await asyncpg.connect(url)
    await connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    await connection.close()
    await stack.stop("postgres")
    await stack.resume("postgres")
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    await connection.close()
