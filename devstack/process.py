"""One child process: started, ready on a condition, stopped within a time limit."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import DevStackError

_POLL_S = 0.02
_PARENT_DEATH_SIGNAL = Path(__file__).with_name("parent_death_signal.py")


async def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Part:
    """What to run, and how to check that it is ready."""

    name: str
    command: tuple[str, ...]
    ready: "Callable[[Process], Awaitable[bool]]"
    cwd: Path
    env: Mapping[str, str] | None = None
    """The complete environment; None means this process's environment."""
    prefix: tuple[str, ...] = ()
    """A command to run it under, for example `unshare …`."""
    before: Callable[[], Awaitable[None]] = _nothing
    """Awaited before every start and restart."""
    ready_within_s: float = 60
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: float = 10
    death_signal: signal.Signals = signal.SIGKILL
    """Sent by the kernel if the parent process dies."""
    start_again_on: tuple[str, ...] = ()
    """Log texts of a failed start that mean a retry will succeed."""


class Process:
    """The process of a part. Its output goes to `<logs>/<name>.log`."""

    def __init__(self, part: Part, logs: Path) -> None:
        self.part = part
        self.log = logs / f"{part.name}.log"
        self._child: asyncio.subprocess.Process | None = None
        self._log_offset = 0

    @property
    def pid(self) -> int:
        """The process id of the latest start. Raises RuntimeError before the first start."""
        if self._child is None:
            raise RuntimeError(f"{self.part.name} has not been started")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive: this process has not reaped it."""
        return self._child is not None and self._child.returncode is None

    def output(self) -> str:
        """The output since the latest start."""
        with self.log.open("rb") as file:
            file.seek(self._log_offset)
            return file.read().decode(errors="replace")

    async def start(self) -> None:
        """Start the process and wait until it is ready. Raises DevStackError with the end of its output."""
        deadline = time.monotonic() + self.part.ready_within_s
        while True:
            await self.part.before()
            await self._spawn()
            if await self._becomes_ready(deadline):
                return
            exit_code = None if self._child is None else self._child.returncode
            output = self.output()
            await self.stop()
            if time.monotonic() >= deadline or not any(text in output for text in self.part.start_again_on):
                break
            await asyncio.sleep(0.2)
        what = (
            f"was not ready within {self.part.ready_within_s:g} s"
            if exit_code is None
            else f"ended with {_outcome(exit_code)} while starting"
        )
        tail = "\n".join(f"  {line}" for line in output.splitlines()[-8:]) or "  (no output)"
        raise DevStackError(f"{self.part.name} {what}. The last lines of {self.log}:\n{tail}")

    async def wait(self) -> str:
        """Wait until the process ends. Returns its exit code or signal in words."""
        assert self._child is not None
        return _outcome(await self._child.wait())

    async def stop(self) -> None:
        """Stop the process. Kill its process group if it is still running after `stop_within_s`."""
        child = self._child
        if child is None:
            return
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.send_signal(self.part.stop_signal)
                # A process paused by SIGSTOP handles no other signal first.
                child.send_signal(signal.SIGCONT)
            try:
                async with asyncio.timeout(self.part.stop_within_s):
                    await child.wait()
            except TimeoutError:
                self.kill()
        await child.wait()

    def kill(self) -> None:
        """SIGKILL to the process and its group, without waiting."""
        if self.running:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def _spawn(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        part = self.part
        launcher = (sys.executable, "-I", "-S", str(_PARENT_DEATH_SIGNAL))
        arguments = (str(os.getpid()), str(int(part.death_signal)))
        with self.log.open("ab") as log:
            self._log_offset = log.tell()
            self._child = await asyncio.create_subprocess_exec(
                *part.prefix,
                *launcher,
                *arguments,
                *part.command,
                cwd=part.cwd,
                env=part.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                # Ctrl-C signals the terminal's whole process group; the stack must stop its parts in order.
                start_new_session=True,
            )

    async def _becomes_ready(self, deadline: float) -> bool:
        while time.monotonic() < deadline and self.running:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + 2):
                    if await self.part.ready(self):
                        return True
            await asyncio.sleep(_POLL_S)
        return False


def _outcome(exit_code: int) -> str:
    return f"exit code {exit_code}" if exit_code >= 0 else signal.Signals(-exit_code).name


async def kill_orphans(directory: Path, program: str) -> None:
    """Kill processes that run `program` in `directory`, left behind by a killed stack.

    The caller must hold the directory's lock. Raises DevStackError if one does not end within 10 s.
    """
    deadline = time.monotonic() + 10
    while orphans := _running_in(directory, program):
        if time.monotonic() > deadline:
            raise DevStackError(
                f"Processes {orphans} of an earlier stack still run in {directory} and cannot be killed. "
                "Kill them, then start again."
            )
        for pid in orphans:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(_POLL_S)


def _running_in(directory: Path, program: str) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            cwd, executable = (entry / "cwd").readlink(), (entry / "exe").readlink()
        except OSError:  # it has ended, or belongs to another user
            continue
        if cwd == directory.resolve() and executable.name.removesuffix(" (deleted)") == program:
            found.append(int(entry.name))
    return found
