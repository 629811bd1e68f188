"""Notifications and workers for tests of the delivery engine; each worker stands for a separate process."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

import asyncpg
from deliveries import delivery_over
from phone_numbers import unused_number
from temporalio.testing import ActivityEnvironment

from activities.check_preferences import CheckPreferences
from activities.check_rate_limit import CheckRateLimit
from activities.deliver import Deliver
from activities.poll_delivery_status import PollDeliveryStatus
from delivery.admission import Admission
from delivery.batch import Batch
from delivery.batch_item import BatchItems
from delivery.call import ProviderCalls
from delivery.delivery_pass import DeliveryPass
from delivery.limits import Limits
from delivery.messages import Messages
from delivery.overdue_receipts import OverdueReceipts
from delivery.planner import Planner
from delivery.prefetch import PrefetchCache
from delivery.provider_health import ProviderHealth
from delivery.resolution import Resolver
from delivery.slots import InFlightSlots
from delivery.snapshots import Snapshots
from delivery.transitions import Transitions
from domain.contracts import Action, DeliveryRef, LimitResult, NotificationRef, PassResult, Plan
from domain.fairness import Turns
from domain.fingerprint import Fingerprint
from domain.notification import Channel, Delivery, Lane, Notification, Strategy
from domain.notification_types import Catalog, DispatchPolicy, NotificationType, OnUnknown, ProviderPolicy
from domain.outcome import Match, Receipt, SendResult
from domain.sms_policy import EVERYWHERE
from domain.status import Status
from providers.base import LookupFailed, Message, Provider
from providers.settings import ProviderSettings
from ratelimit.limiter import Limiter
from settings import Settings
from simulators.control import Simulators
from storage.batch_queue import BatchQueue
from storage.ledger import Ledger
from storage.receipts import Receipts
from storage.records import Submission
from telemetry.metrics import Metrics

ROUTES = {
    Channel.SMS: ("twilio", "termii"),
    Channel.EMAIL: ("sendgrid", "mailgun"),
    Channel.PUSH: ("fcm", "apns"),
}
ALONE = {Channel.SMS: ("twilio",)}
SCHEDULE_S = (30.0, 120.0, 600.0)
TYPES = {
    "news": NotificationType(retry_s=SCHEDULE_S),
    "alone": NotificationType(retry_s=SCHEDULE_S, routes=ALONE),
    "reconcile": NotificationType(on_unknown=OnUnknown.RECONCILE, receipt_deadline_s=60),
    "failover": NotificationType(on_unknown=OnUnknown.FAILOVER, receipt_deadline_s=60),
    "stop": NotificationType(on_unknown=OnUnknown.STOP, receipt_deadline_s=60),
    "must": NotificationType(required=True, await_receipt=True, receipt_deadline_s=60),
}
VISIBILITY_DELAY_S = 5.0
TENANT = "bank"
TURNS_MAX = 20


def catalog(
    types: Mapping[str, NotificationType] | None = None, every: ProviderPolicy | None = None, **changes: Any
) -> Catalog:
    """The tests' catalog. `every`: the policy of every provider. `changes`: other fields of the catalog."""
    policy = every or ProviderPolicy(timeout_s=5, visibility_delay_s=VISIBILITY_DELAY_S)
    policies = {name: policy for names in ROUTES.values() for name in names}
    return Catalog(types={**TYPES, **(types or {})}, providers=policies, **{"sms": EVERYWHERE, **changes})


def settings_from(variables: Mapping[str, str]) -> ProviderSettings:
    """The provider settings from these environment variables."""
    with mock.patch.dict(os.environ, {"HERALD_SECRET_KEY": "tests", **variables}, clear=True):
        return Settings().providers  # pyright: ignore[reportCallIssue] (the environment fills it)


class StubbedProvider:
    """A real adapter whose answers a test may replace: look-ups, polls and results of calls."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.finds: Sequence[Match] | LookupFailed | None = None
        self.polled: Receipt | LookupFailed | None = None
        self.answers: SendResult | None = None
        self.lookups = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        result = await self._provider.send(message, timeout_s=timeout_s)
        return self.answers or result

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Match]:
        self.lookups += 1
        if isinstance(self.finds, LookupFailed):
            raise self.finds
        return await self._provider.lookup(message, timeout_s=timeout_s) if self.finds is None else self.finds

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        if isinstance(self.polled, LookupFailed):
            raise self.polled
        return self.polled or await self._provider.poll(provider_message_id, timeout_s=timeout_s)


class Worker:
    """The engine of one worker process, over the tests' stores and vendors."""

    def __init__(
        self,
        ledger: Ledger,
        receipts: Receipts,
        limiter: Limiter,
        providers: Mapping[str, Provider],
        catalog: Catalog,
        sms_routes: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.ledger = ledger
        self.metrics = Metrics()
        self.providers = providers
        self.health = ProviderHealth(providers, catalog, ROUTES, limiter, sms_routes)
        self.slots = InFlightSlots(10)
        self.prefetched = PrefetchCache()
        self.queue = BatchQueue(ledger.pool)
        snapshots = Snapshots(catalog, providers, self.health)
        limits = Limits(limiter, catalog, self.metrics, "secret")
        parked_max = catalog.parking.open_workflows_max
        transitions = Transitions(ledger, limits, self.metrics, parked_workflows_max=parked_max)
        admission = Admission(ledger, snapshots, transitions, limits)
        messages = Messages("http://127.0.0.1:9", "secret", "secret")
        calls = ProviderCalls(ledger, providers, self.health, catalog, messages, self.metrics)
        resolver = Resolver(ledger, receipts, providers, calls, transitions, messages, catalog)
        self.passes = DeliveryPass(ledger, snapshots, transitions, limits, calls, resolver)
        self.planner = Planner(ledger, snapshots, transitions, self.health)
        overdue = OverdueReceipts(ledger, receipts, providers, snapshots, transitions, catalog)
        self._deliver = Deliver(self.passes, self.slots, self.prefetched)
        self.check_preferences = CheckPreferences(self.planner, self.slots, self.prefetched).check_preferences
        self._limit = CheckRateLimit(admission, self.prefetched)
        self._poll = PollDeliveryStatus(overdue)
        self.turns = Turns()
        self.batch_items = BatchItems(self.planner, admission, self.passes, catalog)

    async def run(self, case: "Case", channel: Channel = Channel.SMS) -> PassResult:
        """Run one pass."""
        delivery = delivery_over((await case.load()), channel)
        return await self.passes.run(case.id, delivery.id)

    def batch(self, lane: Lane = Lane.BULK, **policy: Any) -> Batch:
        """A batch of the lane, not started."""
        return Batch(
            uuid4(), lane, self.queue, self.batch_items, DispatchPolicy(**policy), self.metrics, self.turns
        )

    async def settle(self, case: "Case", channel: Channel = Channel.SMS) -> PassResult:
        """Run passes, each at its time, until something else is needed."""
        for _ in range(TURNS_MAX):
            result = await self.run(case, channel)
            if result.action is not Action.RETRY:
                return result
            await case.elapse()
        raise AssertionError(f"still retried after {TURNS_MAX} passes")

    async def plan(self, case: "Case") -> Plan:
        return await ActivityEnvironment().run(self.check_preferences, NotificationRef(str(case.id)))

    async def carry(self, case: "Case") -> tuple[Status, str | None]:
        """Plan, admit and run first passes, as a workflow does. Returns the status and the reason of the
        first delivery.
        """
        for step in (await self.plan(case)).steps:
            if step.action is Action.SEND and step.limited:
                await self.limit(case, Channel(step.channel))
            await self.run(case, Channel(step.channel))
        first = (await case.load()).deliveries[0]
        return first.status, first.reason_code

    async def exhaust(self, case: "Case", channel: Channel = Channel.SMS) -> None:
        """Run passes, each at its time, until the delivery is a dead letter."""
        while (await case.delivery(channel)).status is not Status.DEAD_LETTERED:
            await case.elapse()
            assert (await self.run(case, channel)).action in (Action.RETRY, Action.PARKED)

    async def limit(self, case: "Case", channel: Channel = Channel.SMS) -> LimitResult:
        return await ActivityEnvironment().run(self._limit.check_rate_limit, await case.ref(channel))

    async def deliver(self, case: "Case", channel: Channel = Channel.SMS) -> PassResult:
        """Run the regular activity. Raises ApplicationError while the delivery must be retried."""
        return await ActivityEnvironment().run(self._deliver.deliver, await case.ref(channel))

    async def poll(self, case: "Case", channel: Channel = Channel.SMS) -> PassResult:
        return await ActivityEnvironment().run(self._poll.poll_delivery_status, await case.ref(channel))


@dataclass(frozen=True)
class Case:
    """One notification, in the ledger and at the vendors."""

    ledger: Ledger
    simulators: Simulators
    id: UUID
    user_id: str
    to: str
    text: str

    async def load(self) -> Notification:
        loaded = await self.ledger.load(self.id)
        assert loaded is not None
        return loaded

    async def delivery(self, channel: Channel = Channel.SMS) -> Delivery:
        return delivery_over((await self.load()), channel)

    async def ref(self, channel: Channel) -> DeliveryRef:
        loaded = await self.load()
        return DeliveryRef(str(self.id), str(delivery_over(loaded, channel).id), channel.value, loaded.type)

    async def attempts(self) -> list[asyncpg.Record]:
        return await self.ledger.pool.fetch(
            "SELECT * FROM notification_attempts WHERE notification_id = $1 ORDER BY channel, number", self.id
        )

    async def outcomes(self) -> list[tuple[str, str | None]]:
        return [(attempt["provider"], attempt["outcome"]) for attempt in await self.attempts()]

    async def received(self, *providers: str) -> list[str]:
        """The ids of the messages that the vendors have processed with this text."""
        names = providers or ROUTES[Channel.SMS]
        lists = [await self.simulators.messages(name, contains=self.text) for name in names]
        return [message["id"] for found in lists for message in found]

    async def is_proven(self, *providers: str) -> bool:
        """Whether every message at the vendors belongs to an attempt: invariant I3."""
        claimed = {attempt["provider_message_id"] for attempt in await self.attempts()}
        return set(await self.received(*providers)) <= claimed

    async def execute(self, statement: str, *arguments: Any) -> str:
        """Execute a statement; $1 is the notification's id."""
        return await self.ledger.pool.execute(statement, self.id, *arguments)

    async def elapse(self, seconds: float | None = None) -> None:
        """Let time pass for this notification: `seconds`, or two hours."""
        past = timedelta(seconds=seconds if seconds is not None else 3600 * 2)
        await self.execute(
            "UPDATE deliveries SET next_pass_at = next_pass_at - $2::interval, due_at = due_at - $2::interval"
            " WHERE notification_id = $1",
            past,
        )
        await self.execute(
            "UPDATE notification_attempts SET send_deadline = send_deadline - $2::interval"
            " WHERE notification_id = $1",
            past,
        )

    async def timeline(self) -> list[str]:
        rows = await self.ledger.pool.fetch(
            "SELECT kind FROM timeline WHERE notification_id = $1 ORDER BY seq", self.id
        )
        return [row["kind"] for row in rows]


_numbers = itertools.count(1)


@dataclass
class Submitter:
    """Submits notifications, and makes vendors fail."""

    ledger: Ledger
    simulators: Simulators
    text: str = field(default_factory=lambda: f"run {uuid4().hex[:8]}")

    async def accept(self, type: str = "news", **changes: Any) -> Case:
        """Submit a new notification; by default over SMS to an unused number."""
        id, to = uuid4(), changes.pop("to", None) or unused_number()
        channels = changes.pop("channels", (Channel.SMS,))
        submission = Submission(
            id=id,
            tenant=TENANT,
            user_id=changes.pop("user_id", f"u-{id}"),
            type=type,
            idempotency_key=str(id),
            fingerprint=Fingerprint(b"f", "k1", 1),
            lane=changes.pop("lane", Lane.NORMAL),
            strategy=changes.pop("strategy", Strategy.ALL),
            channels=channels,
            body=changes.pop("body", None) or f"{self.text} number {next(_numbers)} ends",
            to_sms=to if changes.pop("contact", True) and Channel.SMS in channels else None,
            to_email=changes.pop("to_email", None),
        )
        submission = replace(submission, **changes)
        assert (await self.ledger.accept(submission)).created
        return Case(self.ledger, self.simulators, id, submission.user_id, to, submission.body)

    async def add_device(
        self, case: Case, fcm: str | None, apns: str | None, ago_s: float = 0, webpush: str | None = None
    ) -> None:
        """Add a device of the notification's user. The latest registered device is tried first."""
        pool = self.ledger.pool
        await pool.execute(
            "INSERT INTO users (tenant, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", TENANT, case.user_id
        )
        await pool.execute(
            "INSERT INTO devices (tenant, user_id, device_id, fcm_token, apns_token, registered_at, webpush)"
            " VALUES ($1, $2, $3, $4, $5, now() - make_interval(secs => $6), $7)",
            *(TENANT, case.user_id, f"d{next(_numbers)}", fcm, apns, ago_s, webpush),
        )

    async def opt_out(self, case: Case, channel: Channel = Channel.SMS) -> None:
        await self.ledger.pool.execute(
            "INSERT INTO user_notification_settings (tenant, user_id, type, channel, enabled)"
            " VALUES ($1, $2, '*', $3, false)",
            *(TENANT, case.user_id, channel.value),
        )

    async def suppress(self, address: str, channel: Channel = Channel.SMS) -> None:
        await self.ledger.pool.execute(
            "INSERT INTO suppressions (tenant, channel, address, reason, source)"
            " VALUES ($1, $2, $3, 'stop', 'api')",
            *(TENANT, channel.value, address),
        )

    async def is_suppressed(self, address: str) -> bool:
        return await self.ledger.pool.fetchval(
            "SELECT EXISTS (SELECT FROM suppressions WHERE tenant IN ($1, '*') AND address = $2)",
            *(TENANT, address),
        )

    async def fail(self, case: Case, *providers: str, status: int = 503, **more: Any) -> None:
        """Make the vendors answer with this status for the notification's number."""
        for provider in providers or ROUTES[Channel.SMS]:
            await self.simulators.fault(provider, "status", case.to, status=status, **more)

    async def heal(self, case: Case) -> None:
        for provider in ROUTES[Channel.SMS]:
            await self.simulators.heal(provider, case.to)


def seconds_until(case: Notification, at: datetime | None) -> float:
    """The seconds from when the notification was loaded until `at`."""
    assert at is not None
    return (at - case.now).total_seconds()


async def crash_at(work: Awaitable[Any], suspension: int, *, done: bool) -> bool:
    """Run `work` and cancel it at a suspension point. Returns whether it got that far.

    `done`: cancel it after what it waited for has happened, but before it resumes.
    """
    crashed = False

    class Driven:
        def __await__(self) -> Any:
            nonlocal crashed
            steps = work.__await__()
            for number in itertools.count():
                try:
                    waited_for = next(steps)
                except StopIteration:
                    return
                if number == suspension:
                    crashed = True
                    if done:
                        yield waited_for
                    try:
                        steps.throw(asyncio.CancelledError())
                    except (asyncio.CancelledError, StopIteration):
                        return
                    raise AssertionError("it continued after it was cancelled")
                yield waited_for

    await Driven()
    return crashed
