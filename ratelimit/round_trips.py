"""Calls of scripts that share round trips: what gathers while one is under way goes out with the next.

As in the ledger's groups (storage/group.py) there is no timer, and a round trip carries as many calls as the
load asks for. Each script is still one atomic step of its own: only the way to the store is shared.
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
"""So many calls at most in one round trip: the store serves nobody else meanwhile."""


class _Call(NamedTuple):
    script: AsyncScript
    keys: Sequence[str]
    arguments: Sequence[str | int | float]
    answer: "asyncio.Future[Any]"


class RoundTrips:
    """One connection's worth of calls to a store."""

    def __init__(self, client: Redis, timeout_s: float) -> None:
        """`timeout_s`: the longest that one call waits, and that one round trip takes."""
        self._client = client
        self._timeout_s = timeout_s
        self._waiting: deque[_Call] = deque()
        self._under_way: asyncio.Task[None] | None = None

    async def call(
        self, script: AsyncScript, keys: Sequence[str], arguments: Sequence[str | int | float]
    ) -> Any:
        """The script's answer. Raises RedisError, OSError or TimeoutError: then nobody knows if it ran."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(script, keys, arguments, answer))
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._run(), name="limiter round trips")
        async with asyncio.timeout(self._timeout_s):
            return await answer

    async def aclose(self) -> None:
        """Give up what is under way."""
        if self._under_way is not None:
            self._under_way.cancel()
            with suppress(asyncio.CancelledError):
                await self._under_way

    async def _run(self) -> None:
        while calls := self._take():
            try:
                async with asyncio.timeout(self._timeout_s):
                    answers = await self._ask(calls)
            except BaseException as error:
                # Whatever happens here, nobody may wait for longer than it takes.
                for call in calls:
                    _answer(call, error if isinstance(error, Exception) else TimeoutError())
                if not isinstance(error, Exception):
                    raise
            else:
                for call, answer in zip(calls, answers, strict=True):
                    _answer(call, answer)

    def _take(self) -> list[_Call]:
        """Those that still wait: a caller that has left has counted the store as lost."""
        calls: list[_Call] = []
        while self._waiting and len(calls) < CALLS_MAX:
            call = self._waiting.popleft()
            if not call.answer.done():
                calls.append(call)
        return calls

    async def _ask(self, calls: Sequence[_Call]) -> list[Any]:
        answers = await self._once(calls)
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            # A store that was restarted knows no script, and ran none of these.
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
