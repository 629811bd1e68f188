"""The common part of all simulators: received messages, faults, and callbacks."""

import asyncio
import contextlib
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
from aiohttp import web

from simulators.faults import (
    CallbackPlan,
    CallbackPlans,
    Fault,
    FaultBook,
    Kind,
    Mode,
    Operation,
    recipient_key,
)

BLACK_HOLE_S_MAX = 120.0
REPORTS_AT_ONCE = 24
"""Maximum concurrent callbacks per vendor, so that reports do not delay requests."""
CALLBACK_WAITS_S = (0.2, 0.5, 1.0, 2.0)
"""The delay before each retry of a failed callback; after the last one the vendor gives up."""
MESSAGES_MAX = 200_000
HTML = "<!DOCTYPE html><html><head><title>Welcome</title></head><body>It works!</body></html>"


@dataclass(slots=True)
class Received:
    """A message that the vendor processed.

    `ref`: our reference, where the vendor carries one. `headers`: custom header fields of a mail. `status` is
    the vendor's own. `vendor`: data that only this vendor has.
    """

    id: str
    to: str
    text: str
    title: str | None = None
    ref: str | None = None
    status: str = "accepted"
    accepted: bool = True
    code: str | int | None = None
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    headers: dict[str, str] = field(default_factory=dict[str, str])
    vendor: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "to": self.to,
            "text": self.text,
            "title": self.title,
            "ref": self.ref,
            "status": self.status,
            "accepted": self.accepted,
            "code": self.code,
            "received_at": self.received_at.isoformat(),
            "headers": self.headers,
        }


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that the vendor did not process: refused, or hit by a fault. `status` 0: no answer."""

    to: str
    status: int
    code: str | int | None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to_json(self) -> dict[str, Any]:
        return {"to": self.to, "status": self.status, "code": self.code, "at": self.at.isoformat()}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One callback, signed and ready."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class SimulatorContext:
    """What every simulator gets from the process.

    `callback_base`: account-level callbacks go to `{callback_base}/{provider}`. `state_dir`: where keys and
    certificates are made. Ports of APNs and SMTP: 0 is any free port, None is off.
    """

    callback_base: str
    state_dir: Path
    host: str = "127.0.0.1"
    apns_port: int | None = None
    smtp_port: int | None = None


class Simulator(ABC):
    """One vendor. A subclass has its routes, its error form, its callbacks, and nothing else.

    `name` is the name of its module. `statuses` translates the control API's statuses (sent, delivered,
    undelivered) into the vendor's own; `progress`: the statuses reported before the final one; `magic`: the
    final status and code of accepted messages to magic recipients.
    """

    name: ClassVar[str]
    statuses: ClassVar[Mapping[str, str]] = {}
    progress: ClassVar[Sequence[str]] = ()
    magic: ClassVar[Mapping[str, tuple[str, str | int | None]]] = {}

    def __init__(self, context: SimulatorContext) -> None:
        self.context = context
        self.messages: dict[str, Received] = {}
        self.refusals: list[Refused] = []
        self.faults = FaultBook()
        self.plans = CallbackPlans(
            {
                recipient_key(to): CallbackPlan(to, final=final, code=code)
                for to, (final, code) in self.magic.items()
            }
        )
        self.closing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession | None = None
        self._reporting = asyncio.Semaphore(REPORTS_AT_ONCE)

    @abstractmethod
    def routes(self) -> Sequence[web.RouteDef]:
        """The vendor's routes, below its prefix."""

    @abstractmethod
    def settings(self, base_url: str) -> dict[str, str]:
        """The `HERALD_PROVIDERS__…` variables that point at this simulator.

        `base_url` is that of the process; the vendor's is `{base_url}/{name}`.
        """

    @abstractmethod
    def refusal(self, fault: Fault) -> web.Response:
        """The vendor's own error answer to a `status` or `error_rate` fault."""

    def callback(self, message: Received, status: str, code: str | int | None) -> Outgoing | None:
        """The signed report of this status (the vendor's own); None: the vendor sends none."""
        return None

    def incoming(self, sender: str, text: str) -> Outgoing | None:
        """The callback for a message to our number; None: the vendor sends none."""
        return None

    async def receive_reply(self, sender: str, text: str) -> bool:
        """Receive a reply and send its callback. False: this vendor sends none."""
        outgoing = self.incoming(sender, text)
        if outgoing:
            await self._deliver(outgoing)
        return outgoing is not None

    async def start(self) -> None:
        """Make keys, open other ports. The process serves the HTTP routes."""
        return

    async def stop(self) -> None:
        """Undo `start`."""
        return

    def messages_of(self, to: str) -> list[Received]:
        """The messages to one recipient, oldest first."""
        key = recipient_key(to)
        return [message for message in self.messages.values() if recipient_key(message.to) == key]

    def refuse(self, to: str, status: int, code: str | int | None = None) -> None:
        """Record a request that was not processed."""
        self.refusals.append(Refused(to, status, code))

    async def receive(
        self,
        request: web.Request,
        to: str,
        process: Callable[[], web.Response | tuple[Received, web.Response]],
    ) -> web.StreamResponse:
        """Apply the recipient's faults to one send.

        `process` is the vendor's work: it returns a refusal, an earlier answer, or the message and its
        answer.
        """
        strike = self.faults.strike(to)
        await self.delay(strike.latency_s)
        fault = strike.fault
        if fault and fault.kind in (Kind.STATUS, Kind.ERROR_RATE):
            self.refuse(to, fault.status or 500, fault.code)
            return self.refusal(fault)
        if fault and fault.kind in (Kind.BLACK_HOLE, Kind.RESET):
            self.refuse(to, 0, fault.kind)
            return await self._silence(request, fault)
        result = process()
        if isinstance(result, web.Response):
            # With idempotency keys this may be an earlier answer, which is not a refusal.
            if result.status >= 400:
                self.refuse(to, result.status)
            return result
        message, answer = result
        await self.accept(message)
        if fault and fault.kind is Kind.ACCEPT_THEN_STALL:
            await self.delay(fault.latency_s)
        return self._answer(request, answer, fault)

    async def look_up(
        self, request: web.Request, to: str, answer: Callable[[], web.Response]
    ) -> web.StreamResponse:
        """Apply the recipient's look-up faults to one look-up."""
        strike = self.faults.strike(to, Operation.LOOKUP)
        await self.delay(strike.latency_s)
        fault = strike.fault
        if fault and fault.kind in (Kind.STATUS, Kind.ERROR_RATE):
            return self.refusal(fault)
        if fault and fault.kind in (Kind.BLACK_HOLE, Kind.RESET):
            return await self._silence(request, fault)
        return self._answer(request, answer(), fault)

    async def accept(self, message: Received) -> None:
        """Store a processed message and send its callbacks."""
        if len(self.messages) >= MESSAGES_MAX:
            self.messages.pop(next(iter(self.messages)))
        self.messages[message.id] = message
        plan = self.plans.of(message.to)
        if plan.mode is Mode.HELD:
            return
        if plan.mode is Mode.EARLY:
            await self._follow(message, plan)
        else:
            self.spawn(self._follow(message, plan))

    async def report(
        self, message: Received, status: str, code: str | int | None = None, copies: int = 1
    ) -> None:
        """Set the message's status and send its callback, `copies` times."""
        message.status, message.code = self.statuses.get(status, status), code
        outgoing = self.callback(message, message.status, code)
        for _ in range(copies if outgoing else 0):
            assert outgoing
            await self._deliver(outgoing)

    async def delay(self, seconds: float) -> None:
        """Wait, unless the process ends first."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.closing.wait(), seconds)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background, until the process ends at the latest."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Stop the vendor: pending callbacks are dropped."""
        self.closing.set()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.stop()
        if self._http:
            await self._http.close()

    async def _follow(self, message: Received, plan: CallbackPlan) -> None:
        copies = {Mode.LOST: 0, Mode.REPEATED: 2}.get(plan.mode, 1)
        await self.delay(0 if plan.mode is Mode.EARLY else plan.delay_s)
        for status in self.progress:
            await self.report(message, status, copies=copies)
        await self.report(message, plan.final, plan.code, copies)

    async def _deliver(self, outgoing: Outgoing) -> None:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        for wait_s in (*CALLBACK_WAITS_S, None):
            try:
                async with (
                    self._reporting,
                    self._http.post(outgoing.url, data=outgoing.body, headers=outgoing.headers) as response,
                ):
                    if response.status < 500 and response.status not in (408, 429):
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            if wait_s is None or self.closing.is_set():
                return
            await self.delay(wait_s)

    async def _silence(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault.kind is Kind.RESET:
            return hang_up(request, reset=True)
        ends_at = asyncio.get_running_loop().time() + BLACK_HOLE_S_MAX
        while asyncio.get_running_loop().time() < ends_at and not self.closing.is_set():
            if request.transport is None or request.transport.is_closing():
                break
            await self.delay(0.25)
        return hang_up(request, reset=False)

    def _answer(self, request: web.Request, answer: web.Response, fault: Fault | None) -> web.StreamResponse:
        if fault and fault.kind is Kind.ACCEPT_THEN_CLOSE:
            return hang_up(request, reset=False)
        if fault and fault.kind is Kind.MALFORMED:
            return web.Response(status=fault.status or 200, text=HTML, content_type="text/html")
        if fault and fault.kind is Kind.CUT:
            return web.Response(status=answer.status, body=half(answer), headers=_without_length(answer))
        if fault and fault.kind is Kind.MISTYPED:
            answer.content_type = "text/plain"
        return answer


def half(answer: web.Response) -> bytes:
    """The first half of an answer's body."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    return body[: len(body) // 2]


def _without_length(answer: web.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}


def hang_up(request: web.Request, *, reset: bool) -> web.StreamResponse:
    """Close the connection without an answer; `reset`: with a TCP reset."""
    if request.transport:
        if reset:
            reset_when_closed(request.transport)
        request.transport.abort()
    return web.Response()


def reset_when_closed(transport: asyncio.BaseTransport) -> None:
    """Make the connection end with a TCP reset."""
    connection = transport.get_extra_info("socket")
    if connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
