"""Where an alternative runs: the same embedded stores and simulators as Herald's, and its own processes."""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from bench.comparison.shared_settings import SCHEMA, Notification
from bench.counters import cpu_seconds
from devstack import herald
from devstack.ports import Ports, free_port
from devstack.postgres import Postgres
from devstack.process import Part, Process
from devstack.valkey import Valkey
from simulators.control import Simulators

ROOT = Path(__file__).parents[2]
DATABASE, SYSTEM_DATABASE = "comparison", "comparison_dbos"


class Producer:
    """The process that submits notifications (`submitter.py`). `stop` ends it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, system: str, environment: Mapping[str, str], log: Path) -> "Producer":
        """Start it, and return when it is ready."""
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bench.comparison.submitter", system),
                cwd=ROOT,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        producer = cls(process)
        await producer._answer()
        return producer

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def submit(self, notifications: Sequence[Notification]) -> tuple[float, float]:
        """Submit these; begin and end, in seconds since the epoch."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(list(notifications)).encode() + b"\n")
        await self._process.stdin.drain()
        answer = await self._answer()
        return answer["began"], answer["ended"]

    async def stop(self) -> None:
        """End it by closing its input."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the producer ended; see its log")
        return json.loads(line)


class Site:
    """Running stores, simulators and callback endpoint, to which a system adds its parts."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self.environment = environment
        self.processes: dict[str, Process] = {}
        self.ports = Ports.free()
        self.simulators = Simulators(f"http://127.0.0.1:{self.ports.simulators}")
        self.valkey = Valkey(directory / "valkey", self.ports.valkey)
        self.postgres = Postgres(directory / "postgres", self.ports.postgres)

    def log(self, name: str) -> Path:
        """The log file of a part."""
        return self.directory / "logs" / f"{name}.log"

    async def start(self, *parts: Part) -> None:
        """Start parts concurrently. Raises DevStackError."""
        started = {part.name: Process(part, self.directory / "logs") for part in parts}
        self.processes |= started
        await asyncio.gather(*(process.start() for process in started.values()))

    async def kill(self, *names: str) -> None:
        """Kill parts and all their processes (SIGKILL), and restart them."""
        for name in names:
            self.processes[name].kill()
        await asyncio.gather(*(self._again(self.processes[name]) for name in names))

    async def stop(self) -> None:
        """Stop everything, the last started first."""
        for process in reversed(self.processes.values()):
            await process.stop()
        await self.simulators.aclose()

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds of every part so far."""
        return {name: cpu_seconds(process.pid) for name, process in self.processes.items() if process.running}

    async def value(self, sql: str, database: str = DATABASE) -> Any:
        """One value from a database."""
        connection: Any = await asyncpg.connect(self.postgres.url(database))
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    async def _again(self, process: Process) -> None:
        await process.wait()
        await process.start()


@asynccontextmanager
async def site(settings: Mapping[str, str]) -> AsyncGenerator[Site]:
    """Start everything but the system itself. `settings`: more variables for its processes."""
    with tempfile.TemporaryDirectory(prefix="herald-comparison-", ignore_cleanup_errors=True) as directory:
        place = Site(Path(directory), {**os.environ, "PYTHONUNBUFFERED": "1"})
        receipts = free_port()
        place.environment |= {
            "COMPARISON_DATABASE_URL": place.postgres.url(DATABASE),
            "COMPARISON_SYSTEM_DATABASE_URL": place.postgres.url(SYSTEM_DATABASE),
            "COMPARISON_VALKEY_URL": place.valkey.url(0),
            "COMPARISON_BROKER_URL": place.valkey.url(1),
            "COMPARISON_VENDOR_URL": f"http://127.0.0.1:{place.ports.simulators}/twilio",
            "COMPARISON_CALLBACK_URL": f"http://127.0.0.1:{receipts}/callbacks",
            "COMPARISON_RECEIPTS_PORT": str(receipts),
            **settings,
        }
        try:
            await place.start(
                place.postgres.part(),
                place.valkey.part(),
                herald.simulators(place.ports, place.directory / "simulators", "http://127.0.0.1:9"),
            )
            for database in (DATABASE, SYSTEM_DATABASE):
                await place.postgres.ensure_database(database)
            connection: Any = await asyncpg.connect(place.postgres.url(DATABASE))
            await connection.execute(SCHEMA)
            await connection.close()
            await place.start(
                Part(
                    name="receipts",
                    command=(sys.executable, "-m", "bench.comparison.receipts"),
                    ready=herald.answers(f"http://127.0.0.1:{receipts}/healthz"),
                    cwd=ROOT,
                    env=place.environment,
                )
            )
            yield place
        finally:
            await place.stop()


async def quiet(outstanding: Any, within_s: float) -> float | None:
    """Wait until nothing is outstanding twice in a row; the seconds it took, or None after `within_s`."""
    started, calm = time.monotonic(), 0
    while time.monotonic() - started < within_s:
        calm = calm + 1 if await outstanding() == 0 else 0
        if calm == 2:
            return time.monotonic() - started
        await asyncio.sleep(0.5)
    return None
