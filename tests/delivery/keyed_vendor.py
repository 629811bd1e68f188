"""A vendor over real HTTP that accepts idempotency keys, and its adapter."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from domain.notification import Channel
from domain.outcome import AddressVerdict, Match, Outcome, Receipt, SendResult
from providers.base import (
    AmbiguityResolution,
    CallbackRefused,
    CallbackRequest,
    Capabilities,
    CodeMeaning,
    Message,
)
from providers.http import HttpProvider, RequestFailed, VendorClient, by_status, refused
from simulators.base import hang_up

KEY_LIFE_S = 3600.0


@dataclass
class KeyedVendor:
    """Records requests, and sends one message per key. `answers` are the results of the next requests: a
    status (refused before the key is checked), `lost` (processed, not answered), or `reset` (neither).
    """

    url: str = ""
    answers: list[int | str] = field(default_factory=list[int | str])
    requests: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    sent: dict[str, bytes] = field(default_factory=dict[str, bytes])

    async def take(self, request: web.Request) -> web.StreamResponse:
        key, body = request.headers["Idempotency-Key"], await request.read()
        self.requests.append((key, body))
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, int) and answer >= 400:
            return web.json_response({"error": answer}, status=answer, headers={"Retry-After": "40"})
        if answer == "reset":
            return hang_up(request, reset=True)
        if self.sent.setdefault(key, body) != body:
            return web.json_response({"error": "another body"}, status=409)
        return hang_up(request, reset=False) if answer == "lost" else web.json_response({"id": f"k-{key}"})


class Keyed(HttpProvider):
    """Takes Twilio's place in the routes."""

    name = "twilio"
    capabilities = Capabilities(
        Channel.SMS,
        AmbiguityResolution.IDEMPOTENT,
        visibility_delay_s=0,
        receipts=False,
        polls=False,
        key_life_s=KEY_LIFE_S,
    )

    def __init__(self, base_url: str) -> None:
        self._client = VendorClient(base_url)

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        answer = await self._client.request(
            "POST",
            "/send",
            timeout_s=timeout_s,
            headers={"Idempotency-Key": message.attempt_ref},
            json={"to": message.target.address, "text": message.content.body, "cb": message.callback_url},
        )
        if isinstance(answer, RequestFailed):
            return answer.result
        if answer.status == 422:
            return refused(answer, CodeMeaning(Outcome.REJECTED_RECIPIENT, AddressVerdict.SUPPRESS))
        if answer.status != 200:
            return refused(answer, by_status(answer.status, vendor_form=True))
        return SendResult(Outcome.ACCEPTED, http_status=200, provider_message_id=answer.fields["id"])

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Match]:
        raise AssertionError("a provider with idempotency keys is not looked up")

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        return None

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        raise CallbackRefused("callbacks_not_supported", "none")


@asynccontextmanager
async def keyed_vendor() -> AsyncGenerator[tuple[KeyedVendor, Keyed]]:
    """The vendor on a free port, and its adapter."""
    vendor = KeyedVendor()
    app = web.Application()
    app.add_routes([web.post("/send", vendor.take)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    vendor.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    adapter = Keyed(vendor.url)
    try:
        yield vendor, adapter
    finally:
        await adapter.aclose()
        await runner.cleanup()
