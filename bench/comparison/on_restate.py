"""Restate: a server with its own journal calls a service, whose finished steps are not run again.

As its documentation recommends: every effect is a durable step (`ctx.run_typed`), the send a step with a
retry policy; hypercorn serves the service over HTTP/2; invocations go through the ingress, each with an
idempotency key. Run by `hypercorn bench.comparison.on_restate:app`.
"""

import asyncio
import os
from collections.abc import Sequence
from datetime import timedelta

import aiohttp
import restate

from bench.comparison.shared_settings import PER_PROCESS, RETRIES_MAX, Notification
from bench.comparison.steps import AsyncSteps

_SEND = restate.RunOptions[str | None](
    max_attempts=1 + RETRIES_MAX, initial_retry_interval=timedelta(seconds=1), retry_interval_factor=2
)
_making = asyncio.Lock()
_steps: list[AsyncSteps] = []

service = restate.Service("Notifications")
app = restate.app([service])


async def _own_steps() -> AsyncSteps:
    async with _making:
        if not _steps:
            _steps.append(await AsyncSteps().__aenter__())
    return _steps[0]


@service.handler()
async def deliver(ctx: restate.Context, notification: dict[str, str]) -> None:
    """One step for every effect; a failed send is retried within its step."""
    steps = await _own_steps()
    if not await ctx.run_typed("preferences", steps.check_preferences, notification=notification):
        return
    if not await ctx.run_typed("limit", steps.check_rate_limit, notification=notification):
        return
    number = await ctx.run_typed("attempt", steps.log_attempt, notification=notification)
    if number is None:
        return
    message_id = await ctx.run_typed("send", steps.send, _SEND, notification=notification, number=number)
    await ctx.run_typed(
        "outcome", steps.log_outcome, notification=notification, number=number, message_id=message_id
    )


def submit(notifications: Sequence[Notification]) -> None:
    """Send them through the ingress, several at a time, like concurrent API requests."""
    _runner.run(_submit(notifications))


_runner = asyncio.Runner()
_session: list[aiohttp.ClientSession] = []


async def _submit(notifications: Sequence[Notification]) -> None:
    if not _session:
        _session.append(aiohttp.ClientSession())
    waiting = iter(notifications)

    async def client() -> None:
        for notification in waiting:
            async with _session[0].post(
                f"{os.environ['COMPARISON_INGRESS_URL']}/Notifications/deliver/send",
                json=notification,
                headers={"idempotency-key": notification["id"]},
            ) as answer:
                answer.raise_for_status()

    await asyncio.gather(*(client() for _ in range(PER_PROCESS)))
