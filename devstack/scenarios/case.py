"""The stage that every scenario is played on, and one scenario's part of it: its user, its recipients."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from devstack.scenarios.api import Answer, Api
from devstack.scenarios.waiting import stays, until
from devstack.stack import Stack
from simulators.control import Simulators
from simulators.faults import recipient_key

VENDORS = ("twilio", "termii", "sendgrid", "mailgun", "fcm", "apns", "whatsapp_cloud")
PATIENCE_S = 30.0
"""How long a scenario waits for what should take a second or two; the machine may be busy."""


class Unexpected(Exception):
    """Something that the rest of the scenario builds on is not there."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A running stack and everybody who looks at it from outside: a client, the vendors, the ledger."""

    stack: Stack
    api: Api
    simulators: Simulators
    ledger: "asyncpg.Pool[asyncpg.Record]"

    @classmethod
    @asynccontextmanager
    async def on(cls, stack: Stack) -> AsyncGenerator["Stage"]:
        """The stage of a stack that runs with simulators."""
        described = stack.description
        api, simulators = Api(stack.api_url, stack.api_key), Simulators(described["simulators_url"])
        ledger = await asyncpg.create_pool(described["database_url"], min_size=0, max_size=4)
        try:
            yield cls(stack, api, simulators, ledger)
        finally:
            await ledger.close()
            await simulators.aclose()
            await api.aclose()


@dataclass(slots=True)
class Case:
    """One scenario being played. Its users and recipients are its own: nothing leaks into another."""

    number: int
    stage: Stage
    notifications: list[str] = field(default_factory=list[str])
    answers: list[int] = field(default_factory=list[int])
    notes: list[str] = field(default_factory=list[str])
    why_not: list[str] = field(default_factory=list[str])
    _addresses: set[str] = field(default_factory=set[str])
    _received: Mapping[str, int] | None = None

    @property
    def api(self) -> Api:
        """The REST API."""
        return self.stage.api

    @property
    def vendors(self) -> Simulators:
        """The simulators' control API."""
        return self.stage.simulators

    @property
    def stack(self) -> Stack:
        """The stack, whose parts may be stopped by a scenario that is played alone."""
        return self.stage.stack

    def user(self, n: int = 0) -> str:
        """A user of this scenario."""
        return f"demo-{self.number:02d}-{n}"

    def phone(self, n: int = 0) -> str:
        """A phone number of this scenario."""
        return self._own(f"+234803{self.number:02d}{n:05d}")

    def email(self, n: int = 0) -> str:
        """An email address of this scenario."""
        return self._own(f"demo-{self.number:02d}-{n}@example.com")

    def token(self, prefix: str = "demo-", n: int = 0) -> str:
        """An FCM token of this scenario; FCM's simulator knows some prefixes (simulators/fcm.py)."""
        return self._own(f"{prefix}{self.number:02d}-{n}-{'x' * 24}")

    def apns_token(self, n: int = 0) -> str:
        """An APNs device token of this scenario."""
        return self._own(f"{self.number:032x}{n:032x}")

    def expect(self, fine: bool, otherwise: str) -> None:
        """Note an expectation that is not met, and go on."""
        if not fine:
            self.why_not.append(otherwise)

    def note(self, text: str) -> None:
        """Add something to what the table says about REST's answers."""
        self.notes.append(text)

    async def submit(
        self, type: str, channels: Sequence[str], *, user: str = "", key: str | None = None, **more: Any
    ) -> Answer:
        """Submit a notification with a text of its own, and keep its id. The answer may be a refusal."""
        content = {"title": f"Scenario {self.number}", "body": f"Scenario {self.number}: {type}"}
        body = {"user_id": user or self.user(), "type": type, "channels": list(channels), "content": content}
        answer = await self.api.submit(body | more, key)
        self.keep(answer)
        return answer

    def keep(self, answer: Answer) -> None:
        """Count an answer to a submission, and its notification as one of this scenario's."""
        self.answers.append(answer.status)
        if answer.id and answer.id not in self.notifications:
            self.notifications.append(answer.id)

    async def accepted(self, type: str, channels: Sequence[str], **more: Any) -> str:
        """Submit a notification that has to be accepted; its id."""
        answer = await self.submit(type, channels, **more)
        self.expect(answer.status == 202, f"the submission was answered {answer.status}: {answer.body}")
        return answer.id

    async def becomes(self, id: str, *statuses: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """The notification once it has one of these statuses. Raises NotInTime."""
        return await until(
            f"notification {id} becomes {' or '.join(statuses)}",
            lambda: self.api.notification(id),
            lambda seen: seen["status"] in statuses,
            within_s,
            lambda seen: seen["status"],
        )

    async def only_attempt(self, id: str) -> dict[str, Any]:
        """The notification's one attempt. Raises Unexpected if it has another number of them."""
        attempts = await self.api.attempts(id)
        if len(attempts) != 1:
            raise Unexpected(f"{len(attempts)} attempts instead of one: {[a['provider'] for a in attempts]}")
        return attempts[0]

    async def only_message(self) -> dict[str, Any]:
        """The one message that was received. Raises Unexpected if it is another number of them."""
        received = await self.received()
        if len(received) != 1:
            raise Unexpected(f"{len(received)} messages instead of one: {[name for name, _ in received]}")
        return received[0][1]

    async def received(self) -> list[tuple[str, dict[str, Any]]]:
        """Every message that a vendor processed for this scenario's recipients, with the vendor's name."""
        return [(name, found) for name in VENDORS for found in self._mine(await self.vendors.messages(name))]

    async def refused(self) -> Counter[str]:
        """How many requests each vendor refused for this scenario's recipients."""
        return Counter({name: len(self._mine(await self.vendors.requests(name))) for name in VENDORS})

    async def expect_received(self, **wanted: int) -> None:
        """Expect exactly so many messages at each vendor, now and still at the end of the run."""
        self._received = wanted
        await self.check_received()

    async def check_received(self) -> None:
        """Note what is not as `expect_received` said."""
        if self._received is None:
            return
        found = Counter(name for name, _ in await self.received())
        self.expect(
            found == Counter(self._received), f"received {counted(found)}, not {counted(self._received)}"
        )

    async def receives_nothing_more(self, for_s: float) -> None:
        """Expect that no vendor receives anything more for this scenario's recipients in that time."""
        before = len(await self.received())
        after = await stays(self.received, lambda found: len(found) == before, for_s)
        self.expect(len(after) == before, f"{len(after) - before} more were received later")

    def _own(self, address: str) -> str:
        self._addresses.add(recipient_key(address))
        return address

    def _mine(self, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [item for item in found if recipient_key(item["to"]) in self._addresses]


def counted(counts: Mapping[str, int]) -> str:
    """Counts in words: `twilio 1, termii 2`."""
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "nothing"
