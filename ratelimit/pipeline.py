"""Pipeline script calls: the calls that arrive during one round trip go out together in the next.

As in the ledger's group commits (storage/group.py) there is no timer: the load decides how many calls share a
round trip. Each script still runs as its own atomic step.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError

CALLS_MAX = 100
"""The limit on calls in one round trip: the store serves no other client during it."""


class _Call(NamedTuple):
    script: AsyncScript
    keys: Sequence[str]
    arguments: Sequence[str | int | float]
    answer: "asyncio.Future[Any]"


class ScriptPipeline:
    """Script calls to a store, over one connection at a time."""

    def __init__(self, client: Redis, timeout_s: float) -> None:
        """`timeout_s` limits one call's wait, and one round trip."""
        self._client = client
        self._timeout_s = timeout_s
        self._waiting: deque[_Call] = deque()
        self._running: asyncio.Task[None] | None = None

    async def call(
        self, script: AsyncScript, keys: Sequence[str], arguments: Sequence[str | int | float]
    ) -> Any:
        """Run a script and return its result.

        Raises RedisError, OSError or TimeoutError; the script may still have run.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(script, keys, arguments, answer))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="limiter pipeline")
        async with asyncio.timeout(self._timeout_s):
            return await answer

    async def aclose(self) -> None:
        """Cancel the round trip in flight."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def _run(self) -> None:
        while calls := self._take():
            try:
                async with asyncio.timeout(self._timeout_s):
                    answers = await self._send(calls)
            except BaseException as error:
                # Callers must never wait for a round trip that has ended.
                for call in calls:
                    _answer(call, error if isinstance(error, Exception) else TimeoutError())
                if not isinstance(error, Exception):
                    raise
            else:
                for call, answer in zip(calls, answers, strict=True):
                    _answer(call, answer)

    def _take(self) -> list[_Call]:
        """The next calls whose callers still wait. A caller that timed out has counted the store as lost."""
        calls: list[_Call] = []
        while self._waiting and len(calls) < CALLS_MAX:
            call = self._waiting.popleft()
            if not call.answer.done():
                calls.append(call)
        return calls

    async def _send(self, calls: Sequence[_Call]) -> list[Any]:
        answers = await self._once(calls)
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            # A restarted store has lost its scripts, and ran none of these calls.
            for text in {calls[place].script.script for place in unknown}:
                await self._client.script_load(text)
            again = await self._once([calls[place] for place in unknown])
            for place, answer in zip(unknown, again, strict=True):
                answers[place] = answer
        return answers

    async def _once(self, calls: Sequence[_Call]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.evalsha(call.script.sha, len(call.keys), *call.keys, *call.arguments)
            return await pipeline.execute(raise_on_error=False)


def _answer(call: _Call, answer: Any) -> None:
    if call.answer.done():
        return
    if isinstance(answer, Exception):
        call.answer.set_exception(answer)
    else:
        call.answer.set_result(answer)
