"""Keep parts running: restart those that end."""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from devstack.errors import DevStackError
from devstack.process import Part, Process

_PAUSE_MAX_S = 5.0
_STABLE_S = 10.0
"""A part that ran at least this long restarts at once; one that keeps ending restarts with growing pauses."""


class Supervisor:
    """Start and watch parts. `say` receives one line per event; `changed` is called after a pid changed."""

    def __init__(self, logs: Path, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        self._logs = logs
        self._say = say
        self._changed = changed
        self._processes: dict[str, Process] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}

    def pid(self, name: str) -> int | None:
        """The process id of a part, or None if it is not running."""
        process = self._processes.get(name)
        return process.pid if process and process.running else None

    async def start(self, *parts: Part) -> None:
        """Start parts in parallel and wait until all are ready. Raises DevStackError as soon as one fails."""
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(self._start(part))
        except ExceptionGroup as failures:
            # The group cancelled the other starts: the first failure is the cause.
            raise failures.exceptions[0] from None

    async def stop(self, *names: str) -> None:
        """Stop parts in parallel; they stay stopped until `resume`. Unknown names are ignored."""
        for name in names:
            if watcher := self._watchers.pop(name, None):
                watcher.cancel()
                await asyncio.wait([watcher])
        await asyncio.gather(*(self._processes[name].stop() for name in names if name in self._processes))

    async def resume(self, name: str) -> None:
        """Start a stopped part again. Raises DevStackError."""
        await self._start(self._processes[name].part)
        self._changed()

    async def stop_all(self, order: Iterable[tuple[str, ...]]) -> None:
        """Stop the groups in order, and first the parts that are in no group."""
        order = list(order)
        named = {name for group in order for name in group}
        # Stop all restarts first: parts may end because another part that they need has stopped.
        for watcher in self._watchers.values():
            watcher.cancel()
        for group in (tuple(name for name in self._processes if name not in named), *order):
            await self.stop(*group)

    def kill_all(self) -> None:
        """Send SIGKILL to all parts without waiting: for a second Ctrl-C."""
        for watcher in self._watchers.values():
            watcher.cancel()
        for process in self._processes.values():
            process.kill()

    async def _start(self, part: Part) -> None:
        process = self._processes[part.name] = Process(part, self._logs)
        await process.start()
        self._watchers[part.name] = asyncio.create_task(self._watch(process), name=f"watch {part.name}")

    async def _watch(self, process: Process) -> None:
        name, pause_s, started = process.part.name, 0.0, time.monotonic()
        while True:
            how = await process.wait()
            died = time.monotonic()
            pause_s = 0.0 if died - started > _STABLE_S else min(_PAUSE_MAX_S, pause_s * 2 + 0.25)
            while True:
                await asyncio.sleep(pause_s)
                try:
                    await process.start()
                    break
                except DevStackError as error:
                    pause_s = min(_PAUSE_MAX_S, pause_s * 2 + 0.25)
                    reason = str(error).splitlines()[0]
                    self._say(f"{name} ended ({how}) and failed to restart; retrying: {reason}")
            started = time.monotonic()
            self._changed()
            self._say(f"{name} ended ({how}); restarted after {started - died:.1f} s as pid {process.pid}")
