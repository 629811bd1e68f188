"""Measures how long an event loop is held by one callback, and finds out by which.

Nothing else runs while the loop is held: one slow callback delays every request and every OTP of the process.
"""

import asyncio
import faulthandler
import re
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

TICK_S: Final = 0.025
IDLE_TICK_S: Final = 0.1
"""While the loop does next to nothing: waking an idle process costs more than measuring a busy one."""
_IDLE: Final = 0.1
"""A thread that works for less than this share of the time is idle."""
HELD_S: Final = 0.05
"""A loop that is held for longer is looked at."""
LOOK_EVERY_S: Final = 0.2
"""Shorter holds are not always looked at: each look costs a switch between threads."""
OBSERVE_EVERY_S: Final = 1.0
"""Of what is not held, the longest is observed this often: observing costs more than measuring."""
LOG_EVERY_S: Final = 10.0
_FRAMES_MAX: Final = 4
_FRAME: Final = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_ROOT: Final = f"{Path(__file__).parents[1]}/"

log = structlog.stdlib.get_logger(__name__)


class LoopWatch:
    """Watches the running loop: a callback due every TICK_S says how late it is, and a thread looks at what
    runs once it is HELD_S late. The first hold of an idle loop may be measured as up to IDLE_TICK_S shorter.

    A loop is held by slow code, or by a machine that gives the process no time. The log line names files and
    lines, never values.
    """

    def __init__(self, observe: Callable[[float], None]) -> None:
        """`observe` is called with how late a tick was, in seconds: each that was HELD_S late or more,
        and once in OBSERVE_EVERY_S the latest of the others.
        """
        self._observe = observe
        self._due = 0.0
        self._began = 0.0
        self._worked_s = 0.0
        self._latest_s = 0.0
        self._observe_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._seen: list[str] | None = None
        self._logged = float("-inf")
        self._unlogged = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to watch the running loop, in its own thread."""
        self._schedule(asyncio.get_running_loop())
        self._thread = threading.Thread(
            target=self._look, args=(threading.get_ident(),), name="loop watch", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopping.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.join()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        now, worked_s = time.monotonic(), time.thread_time()
        is_idle = worked_s - self._worked_s < _IDLE * (now - self._began)
        self._began, self._worked_s = now, worked_s
        tick_s = IDLE_TICK_S if is_idle else TICK_S
        self._due = now + tick_s
        self._timer = loop.call_later(tick_s, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        late_s = max(0.0, now - self._due)
        if late_s >= HELD_S:
            self._observe(late_s)
            self._report(late_s)
        else:
            self._latest_s = max(self._latest_s, late_s)
        if now >= self._observe_at:
            self._observe(self._latest_s)
            self._latest_s, self._observe_at = 0.0, now + OBSERVE_EVERY_S
        self._seen = None
        self._schedule(loop)

    def _report(self, late_s: float) -> None:
        now = time.monotonic()
        if now - self._logged < LOG_EVERY_S:
            self._unlogged += 1
            return
        log.warning("event_loop_held", held_s=round(late_s, 3), where=self._seen, unlogged=self._unlogged)
        self._logged, self._unlogged = now, 0

    def _look(self, thread_id: int) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            if self._seen is None and time.monotonic() - self._due > HELD_S:
                self._seen = frames_of(thread_id)


def frames_of(thread_id: int) -> list[str]:
    """Return the frames of Herald in a thread's stack, innermost first; of any code if there is none.

    It is empty where no temporary file can be written.
    """
    try:
        with tempfile.TemporaryFile() as file:
            # Frames that another thread still uses may be gone before Python code has read them, which ends
            # in a segmentation fault (CPython 3.11). This reads them all at once.
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    _, _, stack = text.partition(f"hread 0x{thread_id:016x} ")
    frames = _FRAME.findall(stack.partition("\n\n")[0])
    ours = [frame for frame in frames if frame[0].startswith(_ROOT) and "site-packages" not in frame[0]]
    return [f"{file}:{line} {name}" for file, line, name in (ours or frames)[:_FRAMES_MAX]]
