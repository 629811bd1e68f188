"""What a scenario works with: clients of the running stack, and its own user, recipients and expectations."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from devstack.scenarios.api import Api, Response
from devstack.scenarios.waiting import stays, until
from devstack.stack import Stack
from simulators.control import Simulators
from simulators.faults import recipient_key

VENDORS = ("twilio", "termii", "sendgrid", "mailgun", "fcm", "apns", "whatsapp_cloud")
PATIENCE_S = 90.0
"""How long to wait for something that should take a second or two: the machine may be busy."""


class ScenarioAborted(Exception):
    """A precondition of the scenario's remaining steps does not hold."""


@dataclass(frozen=True, slots=True)
class StackClients:
    """A running stack, and clients of its API, its simulators and its ledger."""

    stack: Stack
    api: Api
    simulators: Simulators
    ledger: "asyncpg.Pool[asyncpg.Record]"

    @classmethod
    @asynccontextmanager
    async def connect(cls, stack: Stack) -> AsyncGenerator["StackClients"]:
        """Connect to a stack that runs with simulators."""
        description = stack.description
        api, simulators = Api(stack.api_url, stack.api_key), Simulators(description["simulators_url"])
        ledger = await asyncpg.create_pool(description["database_url"], min_size=0, max_size=4)
        try:
            yield cls(stack, api, simulators, ledger)
        finally:
            await ledger.close()
            await simulators.aclose()
            await api.aclose()


@dataclass(slots=True)
class Case:
    """One running scenario. Its users and recipients are separate from those of every other scenario."""

    number: int
    clients: StackClients
    notifications: list[str] = field(default_factory=list[str])
    response_statuses: list[int] = field(default_factory=list[int])
    notes: list[str] = field(default_factory=list[str])
    failures: list[str] = field(default_factory=list[str])
    _addresses: set[str] = field(default_factory=set[str])
    _received: Mapping[str, int] | None = None
    _received_in_all: int | None = None

    @property
    def api(self) -> Api:
        """The REST API."""
        return self.clients.api

    @property
    def vendors(self) -> Simulators:
        """The simulators' control API."""
        return self.clients.simulators

    @property
    def stack(self) -> Stack:
        """The stack. Only a scenario that runs alone may stop its parts."""
        return self.clients.stack

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
        """An FCM token of this scenario. The simulator gives some prefixes a meaning (simulators/fcm.py)."""
        return self._own(f"{prefix}{self.number:02d}-{n}-{'x' * 24}")

    def apns_token(self, n: int = 0) -> str:
        """An APNs device token of this scenario."""
        return self._own(f"{self.number:032x}{n:032x}")

    def expect(self, holds: bool, failure: str) -> None:
        """Record `failure` if the expectation does not hold, and continue."""
        if not holds:
            self.failures.append(failure)

    def note(self, text: str) -> None:
        """Add a note to the API result in the report."""
        self.notes.append(text)

    async def submit(
        self, type: str, channels: Sequence[str], *, user: str = "", key: str | None = None, **more: Any
    ) -> Response:
        """Submit a notification with the scenario's text and record the response, which may be a refusal."""
        content = {"title": f"Scenario {self.number}", "body": f"Scenario {self.number}: {type}"}
        body = {"user_id": user or self.user(), "type": type, "channels": list(channels), "content": content}
        response = await self.api.submit(body | more, key)
        self.response_statuses.append(response.status)
        if response.id and response.id not in self.notifications:
            self.notifications.append(response.id)
        return response

    async def accepted(self, type: str, channels: Sequence[str], **more: Any) -> str:
        """Submit a notification, expect that it is accepted, and return its id."""
        response = await self.submit(type, channels, **more)
        self.expect(response.status == 202, f"the submission returned {response.status}: {response.body}")
        return response.id

    async def becomes(self, id: str, *statuses: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until the notification has one of these statuses, and return it. Raises WaitTimeout."""
        return await until(
            f"notification {id} becomes {' or '.join(statuses)}",
            lambda: self.api.notification(id),
            lambda seen: seen["status"] in statuses,
            within_s,
            lambda seen: seen["status"],
        )

    async def only_attempt(self, id: str) -> dict[str, Any]:
        """The notification's only attempt. Raises ScenarioAborted if there is not exactly one."""
        attempts = await self.api.attempts(id)
        if len(attempts) != 1:
            providers = [attempt["provider"] for attempt in attempts]
            raise ScenarioAborted(f"{len(attempts)} attempts instead of one: {providers}")
        return attempts[0]

    async def only_message(self) -> dict[str, Any]:
        """The only message that was received. Raises ScenarioAborted if there is not exactly one."""
        received = await self.received()
        if len(received) != 1:
            vendors = [name for name, _ in received]
            raise ScenarioAborted(f"{len(received)} messages instead of one: {vendors}")
        return received[0][1]

    async def received(self) -> list[tuple[str, dict[str, Any]]]:
        """The messages that vendors processed for this scenario's recipients, each with the vendor's name."""
        return [(name, found) for name in VENDORS for found in self._mine(await self.vendors.messages(name))]

    async def refused(self) -> Counter[str]:
        """The number of requests that each vendor refused for this scenario's recipients."""
        return Counter({name: len(self._mine(await self.vendors.requests(name))) for name in VENDORS})

    async def expect_received(self, **wanted: int) -> None:
        """Expect exactly this number of messages at each vendor, now and at the end of the run."""
        self._received = wanted
        await self.check_received()

    async def expect_received_in_all(self, wanted: int) -> None:
        """Expect exactly this number of messages over all vendors, now and at the end of the run."""
        self._received_in_all = wanted
        await self.check_received()

    async def check_received(self) -> None:
        """Check again what `expect_received` and `expect_received_in_all` expect."""
        if self._received is None and self._received_in_all is None:
            return
        found = Counter(name for name, _ in await self.received())
        if self._received is not None:
            wanted = counted(self._received)
            self.expect(found == Counter(self._received), f"received {counted(found)}, expected {wanted}")
        if self._received_in_all is not None:
            wanted = f"{self._received_in_all} in all"
            self.expect(
                found.total() == self._received_in_all, f"received {counted(found)}, expected {wanted}"
            )

    async def receives_nothing_more(self, for_s: float) -> None:
        """Expect that vendors receive nothing more for this scenario's recipients for `for_s`."""
        before = len(await self.received())
        after = await stays(self.received, lambda found: len(found) == before, for_s)
        self.expect(len(after) == before, f"{len(after) - before} more messages were received later")

    def _own(self, address: str) -> str:
        self._addresses.add(recipient_key(address))
        return address

    def _mine(self, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [item for item in found if recipient_key(item["to"]) in self._addresses]


def counted(counts: Mapping[str, int]) -> str:
    """Format counts: `twilio 1, termii 2`."""
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "nothing"
