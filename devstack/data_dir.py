"""The data directory of one stack: locked while the stack runs, with its secrets and its description."""

import fcntl
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import IO, Any

from devstack.errors import DevStackError
from devstack.process import kill_orphans

_PROGRAMS = {"postgres": "postgres", "temporal": "temporal", "valkey": "valkey-server"}
_OURS = (*_PROGRAMS, "postgres.new", "simulators", "logs", "secrets.json", "dev.json")


class DataDir:
    """A data directory. Call `acquire` before touching anything in it."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._lock: IO[str] | None = None

    @property
    def logs(self) -> Path:
        """The directory of the parts' log files."""
        return self.path / "logs"

    async def acquire(self, fresh: bool) -> None:
        """Lock the directory, and kill processes that a killed stack left running in it.

        `fresh` deletes its data. Without the lock, two Temporal servers would open the same SQLite file
        without an error. Raises DevStackError if the directory cannot be used or is in use.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.path / "lock").open("a+")
        except OSError as error:
            raise DevStackError(
                f"The data directory {self.path} cannot be used: {error.strerror}. "
                "Choose another one with --data-dir."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise DevStackError(
                f"The data directory {self.path} is in use by another stack (process {holder}). "
                "Stop that stack, or start a second one with --data-dir and --port-offset."
            ) from error
        self._lock = lock
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        for name, program in _PROGRAMS.items():
            await kill_orphans(self.path / name, program)
        self._tidy(_OURS if fresh else ("dev.json",))

    def release(self) -> None:
        """Delete dev.json and unlock the directory."""
        if self._lock is not None:
            (self.path / "dev.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def secret(self, name: str, generated: str) -> str:
        """Return the stored secret of this name; store `generated` first if it is missing."""
        path = self.path / "secrets.json"
        known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        if name not in known:
            known[name] = generated
            self._write(path, known)
        return known[name]

    def describe(self, description: dict[str, Any]) -> None:
        """Replace dev.json atomically: a reader sees the old file or the new one."""
        self._write(self.path / "dev.json", description)

    def _tidy(self, names: tuple[str, ...]) -> None:
        for name in names:
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        # Keep the logs of the previous run.
        for log in list(self.logs.glob("*.log")):
            log.replace(log.with_suffix(".log.1"))

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        draft = path.with_name(path.name + ".new")
        # Both files hold secrets: create them readable by their owner only.
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
        draft.replace(path)


def new_secret() -> str:
    """Generate a secret of 256 random bits."""
    return secrets.token_urlsafe(32)
