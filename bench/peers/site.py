"""Where an alternative runs: the same embedded stores and simulators as Herald, and processes of its own."""

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

from bench.counters import cpu_seconds
from bench.peers.terms import SCHEMA, Notification
from devstack import herald
from devstack.ports import Ports, free_port
from devstack.postgres import Postgres
from devstack.process import Part, Process
from devstack.valkey import Valkey
from simulators.control import Simulators

ROOT = Path(__file__).parents[2]
DATABASE, SYSTEM_DATABASE = "peers", "peers_dbos"


class Producer:
    """The process that hands notifications over (`submitter.py`). `stop` ends it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, system: str, environment: Mapping[str, str], log: Path) -> "Producer":
        """Start it, and return once it has imported what it needs."""
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bench.peers.submitter", system),
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
        """Hand these over; when it began and ended, in seconds since the epoch."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(list(notifications)).encode() + b"\n")
        await self._process.stdin.drain()
        answer = await self._answer()
        return answer["began"], answer["ended"]

    async def stop(self) -> None:
        """End it: it leaves when nobody can ask it anything any more."""
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
            raise RuntimeError("the producer ended: its log says why")
        return json.loads(line)


class Site:
    """Stores, simulators and the callback endpoint, running; parts are added by the system."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self.environment = environment
        self.processes: dict[str, Process] = {}
        self.ports = Ports.free()
        self.simulators = Simulators(f"http://127.0.0.1:{self.ports.simulators}")
        self.valkey = Valkey(directory / "valkey", self.ports.valkey)
        self.postgres = Postgres(directory / "postgres", self.ports.postgres)

    def log(self, name: str) -> Path:
        """The file of a part's output."""
        return self.directory / "logs" / f"{name}.log"

    async def start(self, *parts: Part) -> None:
        """Start parts, side by side. Raises DevStackError."""
        started = {part.name: Process(part, self.directory / "logs") for part in parts}
        self.processes |= started
        await asyncio.gather(*(process.start() for process in started.values()))

    async def kill(self, *names: str) -> None:
        """SIGKILL to parts and all their processes; each is started again at once."""
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
    """Everything but the system itself. `settings`: further variables for its processes."""
    with tempfile.TemporaryDirectory(prefix="herald-peers-", ignore_cleanup_errors=True) as directory:
        place = Site(Path(directory), {**os.environ, "PYTHONUNBUFFERED": "1"})
        receipts = free_port()
        place.environment |= {
            "PEERS_DATABASE_URL": place.postgres.url(DATABASE),
            "PEERS_SYSTEM_DATABASE_URL": place.postgres.url(SYSTEM_DATABASE),
            "PEERS_VALKEY_URL": place.valkey.url(0),
            "PEERS_BROKER_URL": place.valkey.url(1),
            "PEERS_VENDOR_URL": f"http://127.0.0.1:{place.ports.simulators}/twilio",
            "PEERS_CALLBACK_URL": f"http://127.0.0.1:{receipts}/callbacks",
            "PEERS_RECEIPTS_PORT": str(receipts),
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
                    command=(sys.executable, "-m", "bench.peers.receipts"),
                    ready=herald.answers(f"http://127.0.0.1:{receipts}/healthz"),
                    cwd=ROOT,
                    env=place.environment,
                )
            )
            yield place
        finally:
            await place.stop()


async def quiet(outstanding: Any, within_s: float) -> float | None:
    """Wait until nothing is outstanding twice in a row; the seconds it took, None if it never was."""
    started, calm = time.monotonic(), 0
    while time.monotonic() - started < within_s:
        calm = calm + 1 if await outstanding() == 0 else 0
        if calm == 2:
            return time.monotonic() - started
        await asyncio.sleep(0.5)
    return None
