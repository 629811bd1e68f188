"""Sends notifications through a running stack: submitted to the API, counted at the vendor."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from bench import load
from bench.harness import Running, TookTooLong
from bench.load import NUMBER, SENT_AT, Load, Result
from devstack.stack import TENANT
from simulators.control import Simulators

BATCH = 1000
CONNECTIONS = 2
FIRST = 1_000_000
"""The first recipient's number: all numbers then have the digits that a phone number needs."""
OTP_CONNECTIONS = 16
ACCEPT_S_MAX = 300.0

_SENT = re.compile(r"sent (\d+\.\d+)")
_DUE_SOON = """
SELECT count(*) FROM due WHERE due_at < now() + interval '20 seconds'"""
_OPEN = """
SELECT count(*) FROM notifications
WHERE status IN ('waiting', 'accepted', 'scheduled', 'deferred', 'sending')"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of notification: its type, channel, vendor and recipient address.

    NUMBER in `to` becomes the recipient's number. Without an address, the user's device receives it.
    """

    type: str
    channel: str
    vendor: str
    to: str | None

    def body(self, text: str = "You paid 5,000.00 to Ada's Kitchen. Balance: 12,345.67.") -> str:
        """The request body, as JSON."""
        content = {"body": text} if self.channel == "sms" else {"title": "You paid", "body": text}
        return json.dumps(
            {
                "user_id": f"user-{NUMBER}",
                "type": self.type,
                "channels": [self.channel],
                "content": content,
                **({"to": {self.channel: self.to}} if self.to else {}),
                "idempotency_key": f"{self.type}-{self.channel}-{NUMBER}",
            },
            separators=(",", ":"),
        )


def sms(type: str) -> Kind:
    """An SMS of this type, through Twilio."""
    return Kind(type, "sms", "twilio", f"+234803{NUMBER}")


EMAIL = Kind("alert", "email", "sendgrid", f"user-{NUMBER}@example.com")
PUSH = Kind("alert", "push", "fcm", None)
WHATSAPP = Kind("alert", "whatsapp", "whatsapp_cloud", f"+234803{NUMBER}")


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a message was scheduled, and when the vendor had it, in seconds since the epoch."""

    sent_at: float
    received_at: float


@dataclass(frozen=True, slots=True)
class Drained:
    """The results of a drain. Times are in seconds since the first submission.

    `received_s`: when each message reached the vendor, in order; `times`: messages per recipient.
    """

    count: int
    began: float
    accepted_per_s: float
    received_s: Sequence[float]
    times: Mapping[str, int] = field(repr=False)

    @property
    def per_s(self) -> float:
        """Notifications per second, from the first submission to the last message at the vendor."""
        return self.count / self.received_s[-1]

    def rates(self, parts: int) -> list[float]:
        """The rate over each of `parts` equal parts."""
        edges = [self.received_s[max(0, self.count * part // parts - 1)] for part in range(1, parts + 1)]
        return [
            self.count / parts / max(after - before, 1e-3)
            for before, after in zip([0.0, *edges], edges, strict=False)
        ]

    def curve(self, points: int = 60) -> list[tuple[float, float]]:
        """Messages at the vendor, over time."""
        step = max(1, self.count // points)
        return [(0.0, 0.0), *((self.received_s[n - 1], float(n)) for n in range(step, self.count + 1, step))]


class Traffic:
    """Submits notifications to a running stack and reads what its vendors received. Use with `async with`."""

    def __init__(self, running: Running, *, tenant: str = TENANT, key: str | None = None) -> None:
        """`key`: the tenant's API key; by default the development stack's."""
        self.running = running
        self._tenant = tenant
        self.simulators = Simulators(running.simulators_url)
        self._url = f"{running.stack.api_url}/v1/notifications"
        self._headers = {
            "Authorization": f"Bearer {key or running.stack.api_key}",
            "Content-Type": "application/json",
        }
        self._next: dict[tuple[str, str], int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.simulators.aclose()

    async def add_users(self, count: int, type: str = "*") -> None:
        """Give `count` users a stored preference and a device."""
        last = FIRST + count - 1
        await self.running.query(
            "INSERT INTO user_notification_settings (tenant, user_id, type, channel, enabled) "
            "SELECT $4, 'user-' || n, $3, 'sms', true FROM generate_series($1::int, $2::int) n "
            "ON CONFLICT DO NOTHING",
            *(FIRST, last, type, self._tenant),
        )
        await self.running.query(
            "INSERT INTO devices (tenant, user_id, device_id, fcm_token) "
            "SELECT $3, 'user-' || n, 'phone', 'token-' || n FROM generate_series($1::int, $2::int) n "
            "ON CONFLICT DO NOTHING",
            *(FIRST, last, self._tenant),
        )
        await self.running.query("ANALYZE user_notification_settings, devices")

    async def accept(self, kind: Kind, count: int) -> Result:
        """Submit `count`, below BATCH or a multiple of it, in batches, as fast as they are accepted."""
        items = min(count, BATCH)
        return await load.run(
            Load(
                url=f"{self._url}/batch",
                headers=self._headers,
                body=kind.body(),
                prefix="",
                connections=CONNECTIONS,
                seconds=ACCEPT_S_MAX,
                requests=count // items,
                items=items,
                first=self._numbers(kind, count),
            )
        )

    async def drain(self, kind: Kind, count: int, within_s: float) -> Drained:
        """Submit `count` and wait until the vendor has them all. Raises TookTooLong."""
        await self.simulators.forget(kind.vendor)
        accepted = await self.accept(kind, count)
        await self._arrived(kind, count, within_s)
        messages = await self.simulators.messages(kind.vendor)
        received = sorted(_epoch_s(message) - accepted.began for message in messages)
        times = Counter(message["to"] for message in messages)
        return Drained(count, accepted.began, count / accepted.seconds, received[:count], times)

    async def settled(self, kind: Kind, count: int, within_s: float = 60) -> None:
        """Wait until the vendor has `count` stamped messages. Raises TookTooLong."""

        async def there() -> bool:
            return len(await self.stamps(kind.vendor)) >= count

        await self.running.until(f"{count} stamped messages", there, within_s, 0.25)

    async def _arrived(self, kind: Kind, count: int, within_s: float) -> None:
        started = time.monotonic()
        while (there := await self.simulators.count(kind.vendor)) < count:
            if time.monotonic() - started > within_s:
                raise TookTooLong(f"{there} of {count} reached {kind.vendor} in {within_s:.0f} s")
            await asyncio.sleep(0.1)

    async def quiet(self, within_s: float = 60) -> float:
        """Wait until nothing is left to send; the seconds it took. Raises TookTooLong."""

        async def nothing_left() -> bool:
            return not await self.running.value(_DUE_SOON) and not await self.running.value(_OPEN)

        return await self.running.until("nothing is left to send", nothing_left, within_s, 0.25)

    async def one_by_one(self, kind: Kind, rate_per_s: float, seconds: float) -> Result:
        """Submit single notifications on schedule, each stamped with its scheduled time."""
        count = int(rate_per_s * seconds)
        return await load.run(
            Load(
                url=self._url,
                headers=self._headers,
                body=kind.body(f"Your code is 482913, sent {SENT_AT}"),
                prefix="",
                connections=OTP_CONNECTIONS,
                seconds=seconds,
                rate_per_s=rate_per_s,
                first=self._numbers(kind, count),
            )
        )

    async def stamps(self, vendor: str) -> dict[str, Stamp]:
        """The times of each stamped message, by the vendor's message id."""
        return {
            message["id"]: Stamp(float(sent[1]), _epoch_s(message))
            for message in await self.simulators.messages(vendor, contains=", sent ")
            if (sent := _SENT.search(message["text"]))
        }

    async def stamped(self, vendor: str) -> list[tuple[float, float]]:
        """Each stamped message's scheduled time, and the milliseconds until the vendor had it; sorted."""
        stamps = (await self.stamps(vendor)).values()
        return sorted((stamp.sent_at, (stamp.received_at - stamp.sent_at) * 1000) for stamp in stamps)

    async def received(self, vendor: str) -> list[float]:
        """When each unstamped message reached the vendor, in seconds since the epoch, in order."""
        messages = await self.simulators.messages(vendor)
        return sorted(_epoch_s(message) for message in messages if not _SENT.search(message["text"]))

    def _numbers(self, kind: Kind, count: int) -> int:
        first = self._next.get((kind.type, kind.channel), FIRST)
        self._next[kind.type, kind.channel] = first + count
        return first


def _epoch_s(message: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(message["received_at"]).timestamp()
