"""A whole worker over the test's stores, and notifications for it."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

from phone_numbers import unused_number
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

import worker
from delivery.slots import InFlightSlots
from domain.broadcasts import Audience, BroadcastRecipient
from domain.fingerprint import Fingerprint
from domain.ids import workflow_id
from domain.notification import Channel, Lane, Notification, Strategy
from domain.status import Status
from settings import Settings
from storage.broadcasts import create as store_broadcast
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.records import NewBroadcast, Submission
from wiring.parts import Parts

CATALOG = """
[types.otp]
lane = "critical"
required = true
await_receipt = true
receipt_deadline_s = 3600
[types.news]
retry_s = [30]
[types.quick]
retry_s = [0.5, 0.5, 0.5]
retry_jitter = 0
[dispatch]
batch_threshold = 40
lease_s = 2
sweep_s = 0.5
in_flight_max = 20
[providers.twilio]
timeout_s = 5
visibility_delay_s = 1
"""
ORDINARY = (Lane.HIGH, Lane.NORMAL, Lane.BULK)


async def until(holds: Callable[[], Awaitable[Any]], patience_s: float = 90) -> None:
    """Return once it holds; fail if it does not within `patience_s`."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if await holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the condition did not hold in time")


def environment(
    directory: Path, database: str, valkey: str, temporal: str, vendors: Mapping[str, str]
) -> dict[str, str]:
    """The environment variables of a worker over these stores and vendors."""
    config = directory / "herald.toml"
    config.write_text(CATALOG, encoding="utf-8")
    return {
        "HERALD_DEVELOPMENT": "true",
        "HERALD_SECRET_KEY": "tests-secret-8c1f6be2d40a97e35b12",
        "HERALD_DATABASE_URL": database,
        "HERALD_VALKEY_URL": valkey,
        "HERALD_TEMPORAL__ADDRESS": temporal,
        "HERALD_CONFIG": str(config),
        "HERALD_PUBLIC_URL": "http://127.0.0.1:9",
        **vendors,
    }


def settings_for(
    directory: Path, database: str, valkey: str, temporal: str, vendors: Mapping[str, str]
) -> Settings:
    """The settings of a worker over these stores and vendors."""
    variables = environment(directory, database, valkey, temporal, vendors)
    with mock.patch.dict(os.environ, variables, clear=True):
        return Settings()  # pyright: ignore[reportCallIssue] (the environment fills it)


@asynccontextmanager
async def at_work(parts: Parts, client: Client) -> AsyncGenerator[None]:
    """A worker that runs until the end of the block. Raises its error, if any."""
    stop = asyncio.Event()
    working = asyncio.create_task(worker.work(parts, client, stop))
    try:
        yield
    finally:
        stop.set()
        await working


@dataclass(frozen=True)
class WorkerHarness:
    """Submits notifications to a running worker, and observes them."""

    ledger: Ledger

    async def accept(self, type: str = "news", lane: Lane = Lane.NORMAL, **changes: Any) -> UUID:
        """Submit a new notification over SMS to an unused number."""
        id = uuid4()
        submission = Submission(
            id=id,
            tenant=changes.pop("tenant", "bank"),
            user_id=changes.pop("user_id", f"u-{id}"),
            type=type,
            idempotency_key="k",
            fingerprint=Fingerprint(b"f", "k1", 1),
            lane=lane,
            strategy=Strategy(changes.pop("strategy", Strategy.ALL)),
            channels=changes.pop("channels", (Channel.SMS,)),
            body=changes.pop("body", f"text of {id}"),
            to_sms=changes.pop("to_sms", None) or unused_number(),
            **changes,
        )
        assert (await self.ledger.accept(submission)).created
        return id

    async def load(self, id: UUID) -> Notification:
        loaded = await self.ledger.load(id)
        assert loaded is not None
        return loaded

    async def becomes(self, id: UUID, status: Status, patience_s: float = 90) -> None:
        """Wait until the notification has this status."""

        async def holds() -> bool:
            return (await self.load(id)).status is status

        await until(holds, patience_s)

    async def execute(self, statement: str, *arguments: Any) -> str:
        return await self.ledger.pool.execute(statement, *arguments)


async def broadcast(pool: Pool, to: list[BroadcastRecipient], **changes: Any) -> UUID:
    """A new broadcast to a list."""
    new = NewBroadcast(
        id=uuid4(),
        tenant=changes.pop("tenant", "bank"),
        idempotency_key=str(uuid4()),
        fingerprint=Fingerprint(b"f", "k", 1),
        type="news",
        channels=(Channel.SMS,),
        strategy=Strategy.ALL,
        title=None,
        body="Hello {{ name }}",
        audience=Audience.LIST,
        recipients=to,
        **changes,
    )
    async with pool.acquire() as connection, connection.transaction():
        created, id, _ = await store_broadcast(connection, new)
    assert created
    return id


async def event_types(client: Client, id: UUID) -> list[str]:
    """The types of the events of a notification's last run."""
    history = await client.get_workflow_handle(workflow_id(id)).fetch_history()
    return [
        event.WhichOneof("attributes").removesuffix("_event_attributes")  # pyright: ignore[reportOptionalMemberAccess] (every event has attributes)
        for event in history.events
    ]


@dataclass
class FakeTemporal:
    """Stands for the client: accepts starts, or refuses them with `refuses`. `holds`: what was started is
    under way until `release`. `slow`: starts that it answers after `answer` is set.
    """

    slots: InFlightSlots
    refuses: RPCStatusCode | None = None
    poison: frozenset[str] = frozenset()
    slow: frozenset[str] = frozenset()
    answer: asyncio.Event = field(default_factory=asyncio.Event)
    started: list[str] = field(default_factory=list[str])
    rounds: list[int] = field(default_factory=list[int])
    holds: bool = False
    _released: int = 0
    _together: int = 0

    async def start_workflow(self, _run: object, ref: Any, **_: object) -> None:
        """Like Client.start_workflow."""
        self._together += 1
        # All starts of one round arrive here before any of them ends.
        await asyncio.sleep(0)
        if self._together:
            self.rounds.append(self._together)
            self._together = 0
        if ref.notification_id in self.slow:
            await self.answer.wait()
        if ref.notification_id in self.poison:
            raise RPCError("it cannot be started", RPCStatusCode.INVALID_ARGUMENT, b"")
        if self.refuses is not None:
            raise RPCError("refused", self.refuses, b"")
        self.started.append(ref.notification_id)
        if not self.holds:
            self.slots.release(ref.notification_id)

    def under_way(self) -> list[str]:
        """What was started and not released."""
        return self.started[self._released :]

    def release(self, count: int) -> None:
        """End the first `count` of all that was started."""
        for id in self.started[self._released : count]:
            self.slots.release(id)
        self._released = count
