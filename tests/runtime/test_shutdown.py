"""Work that must not be interrupted ends before its task does."""

import asyncio

import pytest

from runtime.shutdown import shielded


async def test_a_cancelled_loop_finishes_its_round() -> None:
    began, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def one_round() -> None:
        began.set()
        await may_end.wait()
        ended.set()

    task = asyncio.create_task(shielded(one_round()))
    await began.wait()
    task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
