"""A vendor that is driven: the adapter behind the proxies, its simulator, and messages."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from domain.notification import Content, Target
from domain.outcome import Outcome
from providers.base import LookupFailed, Message, Provider
from simulators.base import Simulator
from simulators.faults import Fault, Kind

BUDGET_S = 20.0
TEXT = "Your code is 483920. Ünïcödé & 100%"


def message(to: str, type: str = "otp", text: str = TEXT) -> Message:
    """A message of a new attempt."""
    now, ref = datetime.now(UTC), f"{uuid4()}.1"
    return Message(
        attempt_ref=ref,
        target=Target(to),
        content=Content(body=text, title="Sign in"),
        type=type,
        expires_at=now + timedelta(minutes=5),
        intended_at=now,
        callback_url=f"https://herald.example/v1/callbacks/vendor?ref={ref}",
    )


class SendNotAccepted(Exception):
    """A message that must be accepted was not; the rest of the drive depends on it."""


@dataclass(slots=True)
class VendorDrive:
    """One vendor being driven. Its messages are reported on only on request."""

    provider: Provider
    stranger: Provider
    """The same adapter with a credential that the vendor does not know."""
    simulator: Simulator
    steps: int = 0
    surprises: list[str] = field(default_factory=list[str])
    """Unexpected results: the drive did not check what it was meant to."""

    async def send(
        self, to: str, outcome: Outcome = Outcome.ACCEPTED, *, type: str = "otp", text: str = TEXT
    ) -> tuple[Message, str]:
        """Send one message; returns it and the vendor's id. Raises SendNotAccepted."""
        sent = message(to, type, text)
        return sent, await self.repeat(sent, outcome)

    async def repeat(self, sent: Message, outcome: Outcome = Outcome.ACCEPTED) -> str:
        """Send this message, perhaps again. Raises SendNotAccepted."""
        result = await self.provider.send(sent, timeout_s=BUDGET_S)
        self._expect(f"send to {sent.target.address}", result.outcome, outcome)
        if outcome is Outcome.ACCEPTED and not result.provider_message_id:
            raise SendNotAccepted
        return result.provider_message_id or ""

    async def struck(self, to: str, status: int, outcome: Outcome, code: str | int | None = None) -> None:
        """Send one message that the vendor answers with this status, in its own error form."""
        self.simulator.faults.add(Fault(Kind.STATUS, to, status=status, code=code, times=1))
        await self.send(to, outcome)

    async def unknown_here(self, to: str, outcome: Outcome = Outcome.REJECTED) -> None:
        """Send one message with the wrong credential."""
        result = await self.stranger.send(message(to), timeout_s=BUDGET_S)
        self._expect("send with a wrong credential", result.outcome, outcome)

    async def look_up(self, sent: Message, *ids: str) -> None:
        """Look up one message: the vendor must return exactly these ids."""
        try:
            found = await self.provider.lookup(sent, timeout_s=BUDGET_S)
        except LookupFailed as error:
            self._expect("look-up", str(error), set(ids))
        else:
            self._expect("look-up", {one.provider_message_id for one in found}, set(ids))

    async def poll(self, id: str, status: str | None) -> None:
        """Poll one message and expect this status."""
        try:
            receipt = await self.provider.poll(id, timeout_s=BUDGET_S)
        except LookupFailed as error:
            self._expect("poll", str(error), status)
        else:
            self._expect("poll", receipt.status.value if receipt else None, status)

    async def poll_refused(self, id: str) -> None:
        """Poll a message whose status the vendor does not disclose."""
        try:
            receipt = await self.provider.poll(id, timeout_s=BUDGET_S)
        except LookupFailed:
            self.steps += 1
        else:
            self._expect("poll", receipt, "a refusal")

    def move(self, id: str, status: str, code: str | int | None = None) -> None:
        """Set the status of the vendor's message, without a callback."""
        moved = self.simulator.messages[id]
        moved.status, moved.code = self.simulator.statuses.get(status, status), code
        self.simulator.callback(moved, moved.status, code)

    def _expect(self, what: str, actual: object, expected: object) -> None:
        self.steps += 1
        if actual != expected:
            self.surprises.append(f"{what} resulted in {actual}, not {expected}")
