"""Keeps parts running: one that dies is started again."""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from devstack.errors import DevStackError
from devstack.process import Part, Process

_PAUSE_MAX_S = 5.0
_SETTLED_S = 10.0
"""A part that lived this long is started again at once; one that keeps dying is given pauses."""


class Supervisor:
    """Starts parts and watches them. `say` is given one line for each event, `changed` follows a new pid."""

    def __init__(self, logs: Path, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        self._logs = logs
        self._say = say
        self._changed = changed
        self._processes: dict[str, Process] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}

    def pid(self, name: str) -> int | None:
        """The process id of a part; None while it does not run."""
        process = self._processes.get(name)
        return process.pid if process and process.running else None

    async def start(self, *parts: Part) -> None:
        """Start parts side by side; return once all are ready. Raises DevStackError as soon as one fails."""
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(self._start(part))
        except ExceptionGroup as failures:
            # The group cancelled the others: the first failure is the only one that says something.
            raise failures.exceptions[0] from None

    async def stop(self, *names: str) -> None:
        """Stop parts side by side; they stay stopped until `resume`. Unknown ones are ignored."""
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
        """Stop group by group, and what the order does not name first."""
        order = list(order)
        named = {name for group in order for name in group}
        # Nothing is started again from here on, whatever dies because of what it depends on.
        for watcher in self._watchers.values():
            watcher.cancel()
        for group in (tuple(name for name in self._processes if name not in named), *order):
            await self.stop(*group)

    def kill_all(self) -> None:
        """SIGKILL to everything, without waiting: for an impatient second Ctrl-C."""
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
            pause_s = 0.0 if died - started > _SETTLED_S else min(_PAUSE_MAX_S, pause_s * 2 + 0.25)
            while True:
                await asyncio.sleep(pause_s)
                try:
                    await process.start()
                    break
                except DevStackError as error:
                    pause_s = min(_PAUSE_MAX_S, pause_s * 2 + 0.25)
                    reason = str(error).splitlines()[0]
                    self._say(f"{name} ended ({how}) and did not start, trying again: {reason}")
            started = time.monotonic()
            self._changed()
            self._say(f"{name} ended ({how}); it runs again after {started - died:.1f} s, pid {process.pid}")
