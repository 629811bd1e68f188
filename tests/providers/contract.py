"""What the contract suite needs to know about one provider, and the listener for its callbacks.

A provider joins the suite by a `*_case.py` file that holds one `CASE`, beside its recorded cases; no other
file has to name it.
"""

import asyncio
import functools
import importlib.util
import itertools
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

from aiohttp import web

from domain.notification import Content, Target
from domain.notification_types import Catalog
from domain.outcome import AddressVerdict, Outcome, Receipt, SendResult
from providers.base import CallbackRequest, Message, Provider
from providers.http import Answer
from providers.installation import Installation
from providers.settings import ProviderSettings
from settings import Settings
from simulators.control import Simulators

EMPTY_CATALOG = Catalog(types={})
INSTALLATION = Installation("http://127.0.0.1:8000", EMPTY_CATALOG)
"""For adapters that a test makes itself."""
WAIT_S = 10.0
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A magic recipient, and the expected result of a send to it."""

    to: str
    outcome: Outcome
    code: str
    verdict: AddressVerdict = AddressVerdict.KEEP


ReadAnswer = Callable[[Mapping[str, Any]], SendResult]
ReadReport = Callable[[Mapping[str, Any]], Receipt | None]
READ_AT = datetime.fromtimestamp(1767225600, UTC)
"""The arrival time of every recorded answer."""


def over_http(parse_result: Callable[[Answer], SendResult]) -> ReadAnswer:
    """A reader of recorded answers that have a `status`, `headers` and a `body`."""

    def read(recorded: Mapping[str, Any]) -> SendResult:
        body = recorded["body"]
        text = body if isinstance(body, str) else json.dumps(body)
        return parse_result(Answer(recorded["status"], recorded["headers"], text.encode(), READ_AT))

    return read


@dataclass(frozen=True, slots=True)
class Case:
    """One provider in the contract suite.

    `recipient` gives a fresh address each time. `read_answer` and `read_report` put a recorded answer or
    report through the adapter's own translation; reports come by `callback`, or otherwise (`by`).
    `by_status`: the outcome of the vendor's own error answer with this HTTP status; `throttle_wait`: whether
    its 429 says how long to wait; `pooled`: whether it uses the pool of providers/http.py.
    """

    name: str
    recipient: Callable[[], str]
    read_answer: ReadAnswer
    read_report: Mapping[str, ReadReport] = field(default_factory=dict[str, ReadReport])
    refusals: Sequence[Refusal] = ()
    by_status: Mapping[int, Outcome] = field(
        default_factory=lambda: {
            400: Outcome.REJECTED,
            401: Outcome.REJECTED,
            500: Outcome.AMBIGUOUS,
            502: Outcome.AMBIGUOUS,
            503: Outcome.UNAVAILABLE,
            504: Outcome.AMBIGUOUS,
        }
    )
    throttle_wait: bool = True
    pooled: bool = True
    malformed: Outcome = Outcome.AMBIGUOUS
    cut: Outcome = Outcome.AMBIGUOUS
    """The outcome of an accepted send whose answer is cut in half."""
    typed: bool = True
    """Whether its answers have a content type."""
    never: Collection[Outcome] = ()
    """Classes of errors that this vendor's answers never mean."""
    lookup: bool = True
    certain: bool = False
    receipts: bool = True
    polls: bool = True
    carries_ref: bool = False
    signature_headers: Sequence[str] = ()
    forge: Callable[[bytes], Sequence[bytes]] = lambda body: (body + b" ", b"")
    """Changed bodies that must not pass with this body's signature."""
    signature_query: Sequence[str] = ()
    """Query parameters of the callback URL that replace a signature."""
    key_setting: str = ""
    other_key: str = "another-key"
    """The setting that verifies callbacks, and another valid value of it."""
    signature_age_s: float | None = None
    """How long a signed callback is valid; None: it carries no time."""
    replies: bool = False
    """Whether it passes on recipients' replies."""
    push: bool = False


Row = Callable[[Case, Provider, "Vendors"], Awaitable[None]]


def where(ability: str, otherwise: Row) -> Callable[[Row], Row]:
    """A test for providers whose case has this ability; for the others `otherwise` runs."""

    def decorate(row: Row) -> Row:
        @functools.wraps(row)
        async def either(case: Case, provider: Provider, vendors: "Vendors") -> None:
            await (row if getattr(case, ability) else otherwise)(case, provider, vendors)

        return either

    return decorate


def message(case: Case, public_url: str, to: str | None = None, text: str | None = None) -> Message:
    """One attempt, by default to a fresh recipient and with a unique text."""
    now, ref, number = datetime.now(UTC), f"{uuid4()}.1", next(_numbers)
    return Message(
        attempt_ref=ref,
        target=Target(to or case.recipient(), device_id=f"device-{number}" if case.push else None),
        content=Content(body=text or f"Your code is {number:06}. Ünïcödé & 100%", title=f"Title {number}"),
        type="otp",
        expires_at=now + timedelta(minutes=5),
        intended_at=now,
        callback_url=f"{public_url}/v1/callbacks/{case.name}?ref={ref}",
    )


@dataclass(slots=True)
class Listener:
    """Receives every callback as the API does, and keeps it unchanged."""

    url: str = ""
    received: list[tuple[str, CallbackRequest]] = field(default_factory=list[tuple[str, CallbackRequest]])
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def receipts(
        self, provider: Provider, enough: Callable[[Sequence[Receipt]], bool]
    ) -> Sequence[tuple[CallbackRequest, Receipt]]:
        """The provider's receipts, once `enough` accepts them. Raises TimeoutError after WAIT_S."""

        def parsed() -> list[tuple[CallbackRequest, Receipt]]:
            return [
                (request, receipt)
                for name, request in self.received
                if name == provider.name
                for receipt in provider.parse_callback(request)
            ]

        async with asyncio.timeout(WAIT_S), self._more:
            await self._more.wait_for(lambda: enough([receipt for _, receipt in parsed()]))
            return parsed()

    async def take(self, request: web.Request) -> web.Response:
        """Keep one callback."""
        callback = CallbackRequest(
            url=str(request.url),
            headers={name.lower(): value for name, value in request.headers.items()},
            query=dict(request.query),
            body=await request.read(),
            now=datetime.now(UTC),
        )
        async with self._more:
            self.received.append((request.match_info["provider"], callback))
            self._more.notify_all()
        return web.Response()


@dataclass(frozen=True, slots=True)
class Vendors:
    """The simulated vendors of the session, and their adapters."""

    simulators: Simulators
    providers: dict[str, Provider]
    listener: Listener
    variables: dict[str, str]


def settings_from(variables: Mapping[str, str]) -> ProviderSettings:
    """The provider settings from an environment with these variables."""
    with mock.patch.dict(os.environ, {"HERALD_SECRET_KEY": "test", **variables}, clear=True):
        return Settings().providers  # pyright: ignore[reportCallIssue] (the environment fills it)


@asynccontextmanager
async def listening() -> AsyncGenerator[Listener]:
    """A listener on a free port."""
    listener = Listener()
    app = web.Application()
    app.add_routes([web.post("/v1/callbacks/{provider}", listener.take)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        listener.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield listener
    finally:
        await runner.cleanup()


CASE_FILES = sorted(Path(__file__).parent.glob("*/*_case.py"))
"""One file per provider, each with one `CASE`."""


def _case(file: Path) -> Case:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASE


CASES = {case.name: case for case in map(_case, CASE_FILES)}
RECORDED: dict[str, dict[str, Any]] = {
    name: json.loads((file.parent / "cases" / f"{name}.json").read_text())
    for name, file in zip(CASES, CASE_FILES, strict=True)
}
"""Recorded or documented `answers` to sends, and reports (`events`), of the vendors."""
