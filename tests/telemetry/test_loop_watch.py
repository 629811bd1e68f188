"""The watch of the event loop: how long it was held, and by what."""

import asyncio
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from waiting import until

from telemetry.loop_watch import HELD_S, IDLE_TICK_S, LOOK_EVERY_S, OBSERVE_EVERY_S, LoopWatch, frames_of


def hold(seconds: float) -> None:
    """Hold the loop, as slow code would."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def held(late: list[float], times: int) -> None:
    """Wait until the watch has observed this many holds."""

    async def has() -> bool:
        return sum(one >= HELD_S for one in late) >= times

    await until(has)


async def test_a_held_loop_is_measured_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    late: list[float] = []
    watch = LoopWatch(late.append)
    watch.start()
    held_s = HELD_S + 3 * LOOK_EVERY_S
    hold(held_s)
    await held(late, 1)
    watch.stop()
    assert max(late) >= held_s - IDLE_TICK_S - HELD_S
    logged = capsys.readouterr().out
    assert "event_loop_held" in logged
    assert f"{__file__}:" in logged
    assert "hold" in logged


async def test_repeated_holds_are_counted_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    late: list[float] = []
    watch = LoopWatch(late.append)
    watch.start()
    for number in range(3):
        hold(IDLE_TICK_S + 2 * HELD_S)
        await held(late, number + 1)
    watch.stop()
    assert sum(one >= HELD_S for one in late) == 3
    assert capsys.readouterr().out.count("event_loop_held") == 1


async def test_a_loop_that_was_stopped_is_not_watched() -> None:
    late: list[float] = []
    watch = LoopWatch(late.append)
    watch.start()
    watch.stop()
    hold(2 * HELD_S)
    await asyncio.sleep(0)
    assert late == []


async def test_what_is_not_held_is_observed_once_a_second() -> None:
    late: list[float] = []
    watch = LoopWatch(late.append)
    watch.start()
    began = time.monotonic()

    async def twice() -> bool:
        return len(late) >= 2

    await until(twice)
    watch.stop()
    assert time.monotonic() - began >= OBSERVE_EVERY_S


def test_a_stack_is_read_while_its_thread_runs() -> None:
    looks: list[list[str]] = []
    watched = threading.get_ident()

    def look() -> None:
        looks.extend(frames_of(watched) for _ in range(300))

    def descend(depth: int) -> int:
        return descend(depth - 1) + 1 if depth else 0

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        looking = threading.Thread(target=look)
        looking.start()
        while looking.is_alive():
            descend(60)
    finally:
        sys.setswitchinterval(interval_s)
    assert any(f"{__file__}:" in frame and frame.endswith(" descend") for frames in looks for frame in frames)


def test_a_read_only_machine_names_no_frames(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert frames_of(threading.get_ident()) == []
