"""One supervised process: started, found ready by a condition, stopped within a bound."""

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
_LAUNCH = Path(__file__).with_name("launch.py")


async def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Part:
    """What to run, and how to tell that it is ready."""

    name: str
    command: tuple[str, ...]
    ready: "Callable[[Process], Awaitable[bool]]"
    cwd: Path
    env: Mapping[str, str] | None = None
    """Its whole environment; None: that of this process."""
    prefix: tuple[str, ...] = ()
    """What the command runs under, for example `unshare …`."""
    before: Callable[[], Awaitable[None]] = _nothing
    """Awaited before every start, also before a restart."""
    ready_within_s: float = 30
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: float = 10
    death_signal: signal.Signals = signal.SIGKILL
    """Sent by the kernel if the process that started it dies."""
    start_again_on: tuple[str, ...] = ()
    """Texts in the log of a failed start that a later start is known to cure."""


class Process:
    """A part that runs. Its output goes to `<logs>/<name>.log`."""

    def __init__(self, part: Part, logs: Path) -> None:
        self.part = part
        self.log = logs / f"{part.name}.log"
        self._child: asyncio.subprocess.Process | None = None
        self._log_offset = 0

    @property
    def pid(self) -> int:
        """The process id of the last start. Raises RuntimeError before the first."""
        if self._child is None:
            raise RuntimeError(f"{self.part.name} was never started")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive, as far as this process has been told."""
        return self._child is not None and self._child.returncode is None

    def output(self) -> str:
        """What the process has printed since its last start."""
        with self.log.open("rb") as file:
            file.seek(self._log_offset)
            return file.read().decode(errors="replace")

    async def start(self) -> None:
        """Start it and return once it is ready. Raises DevStackError with the end of its output if not."""
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
            "was not ready in time"
            if exit_code is None
            else f"ended with {_outcome(exit_code)} while starting"
        )
        tail = "\n".join(f"  {line}" for line in output.splitlines()[-8:])
        raise DevStackError(f"{self.part.name} {what}. The end of {self.log}:\n{tail}")

    async def wait(self) -> str:
        """Wait until the process ends; how it ended, in words."""
        assert self._child is not None
        return _outcome(await self._child.wait())

    async def stop(self) -> None:
        """Ask it to stop, and kill it with its process group if it has not after `stop_within_s`."""
        child = self._child
        if child is None:
            return
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.send_signal(self.part.stop_signal)
                # A process that was halted by SIGSTOP takes no notice of anything before this.
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
        launch = (sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(int(part.death_signal)))
        with self.log.open("ab") as log:
            self._log_offset = log.tell()
            self._child = await asyncio.create_subprocess_exec(
                *part.prefix,
                *launch,
                *part.command,
                cwd=part.cwd,
                env=part.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                # Ctrl-C reaches every process of the terminal's group at once; the stack stops them in order.
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


async def end_orphans(directory: Path, program: str) -> None:
    """Kill what still runs `program` in `directory`, left behind by a stack that was killed.

    Only for a directory that the caller has locked. Raises DevStackError if one does not end.
    """
    deadline = time.monotonic() + 10
    while orphans := _running_in(directory, program):
        if time.monotonic() > deadline:
            raise DevStackError(
                f"Processes {orphans} still run in {directory} and cannot be ended: end them first."
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
        except OSError:  # it ended meanwhile, or belongs to somebody else
            continue
        if cwd == directory.resolve() and executable.name.removesuffix(" (deleted)") == program:
            found.append(int(entry.name))
    return found
