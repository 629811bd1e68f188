"""The simulators themselves: faults and callbacks per recipient, magic recipients, the process."""

import asyncio
import base64
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from contract import CASES, WAIT_S, Vendors, message

from devstack.ports import free_port
from domain.outcome import Outcome, Receipt, ReceiptStatus
from simulators.base import Received
from simulators.control import Simulators
from simulators.faults import Fault, FaultBook, Kind
from simulators.twilio import ACCOUNT_SID, AUTH_TOKEN

BUDGET_S = 5.0
TWILIO = CASES["twilio"]


async def test_a_fault_strikes_only_its_recipient(vendors: Vendors) -> None:
    struck, spared = (message(TWILIO, vendors.listener.url) for _ in range(2))
    await vendors.simulators.fault("twilio", "status", struck.target.address, status=500)
    provider = vendors.providers["twilio"]
    assert (await provider.send(struck, timeout_s=BUDGET_S)).outcome is Outcome.AMBIGUOUS
    assert (await provider.send(spared, timeout_s=BUDGET_S)).outcome is Outcome.ACCEPTED
    [request] = await vendors.simulators.requests("twilio", struck.target.address)
    assert request["status"] == 500
    await vendors.simulators.heal("twilio", struck.target.address)
    assert (await provider.send(struck, timeout_s=BUDGET_S)).outcome is Outcome.ACCEPTED


async def test_a_fault_may_strike_a_number_of_times(vendors: Vendors) -> None:
    sent = message(TWILIO, vendors.listener.url)
    await vendors.simulators.fault("twilio", "status", sent.target.address, status=503, times=2)
    outcomes = [(await vendors.providers["twilio"].send(sent, timeout_s=BUDGET_S)).outcome for _ in range(3)]
    assert outcomes == [Outcome.UNAVAILABLE, Outcome.UNAVAILABLE, Outcome.ACCEPTED]


async def test_a_slow_vendor_processes_after_the_caller_has_gone(vendors: Vendors) -> None:
    sent = message(TWILIO, vendors.listener.url)
    await vendors.simulators.fault("twilio", "latency", sent.target.address, latency_s=0.3)
    result = await vendors.providers["twilio"].send(sent, timeout_s=0.1)
    assert result.outcome is Outcome.AMBIGUOUS
    receipts = await vendors.listener.receipts(
        vendors.providers["twilio"], lambda receipts: any(r.attempt_ref == sent.attempt_ref for r in receipts)
    )
    assert receipts


@pytest.mark.parametrize("kind", ["reset", "accept_then_close"])
async def test_a_fault_ends_the_connection_on_the_wire(vendors: Vendors, kind: str) -> None:
    number = TWILIO.recipient()
    await vendors.simulators.fault("twilio", kind, number)
    url = httpx.URL(vendors.variables["HERALD_PROVIDERS__TWILIO__BASE_URL"])
    form = f"To=%2B{number[1:]}&From=%2B15005550006&Body=x".encode()
    credentials = base64.b64encode(f"{ACCOUNT_SID}:{AUTH_TOKEN}".encode()).decode()
    head = (
        f"POST /twilio/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json HTTP/1.1\r\n"
        f"Host: {url.netloc.decode()}\r\n"
        f"Authorization: Basic {credentials}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(form)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(head.encode() + form)
    try:
        if kind == "reset":
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), WAIT_S)
        else:
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
    finally:
        writer.close()
    assert len(await vendors.simulators.messages("twilio", to=number)) == (kind == "accept_then_close")


def test_a_share_of_the_requests_fails() -> None:
    book = FaultBook([Fault(Kind.ERROR_RATE, rate=0.25, status=500)])
    struck = sum(book.strike(f"+{number}").fault is not None for number in range(2000))
    assert 400 < struck < 600


def test_a_recipients_fault_precedes_a_general_one_and_latencies_add_up() -> None:
    own = Fault(Kind.RESET, recipient="+1")
    book = FaultBook([Fault(Kind.STATUS, status=500), own, Fault(Kind.LATENCY, latency_s=1.5)])
    strike = book.strike("1")
    assert (strike.fault, strike.latency_s) == (own, 1.5)
    book.clear("+1")
    assert [fault.kind for fault in book.faults] == [Kind.STATUS, Kind.LATENCY]


async def test_an_early_callback_comes_before_the_answer(vendors: Vendors) -> None:
    sent = message(TWILIO, vendors.listener.url)
    await vendors.simulators.callbacks("twilio", sent.target.address, mode="early")
    sending = asyncio.create_task(vendors.providers["twilio"].send(sent, timeout_s=BUDGET_S))
    reported_while_sending: list[bool] = []

    def enough(receipts: Sequence[Receipt]) -> bool:
        reported = any(r.attempt_ref == sent.attempt_ref for r in receipts)
        reported_while_sending.append(reported and not sending.done())
        return reported

    await vendors.listener.receipts(vendors.providers["twilio"], enough)
    assert (await sending).outcome is Outcome.ACCEPTED
    assert any(reported_while_sending)


async def test_a_lost_callback_still_updates_the_message(vendors: Vendors) -> None:
    sent = message(TWILIO, vendors.listener.url)
    await vendors.simulators.callbacks("twilio", sent.target.address, mode="lost", delay_s=0)
    provider = vendors.providers["twilio"]
    id = (await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id or ""
    async with asyncio.timeout(WAIT_S):
        while True:
            receipt = await provider.poll(id, timeout_s=BUDGET_S)
            if receipt and receipt.status is ReceiptStatus.DELIVERED:
                break
    assert not any(sent.attempt_ref in request.url for _, request in vendors.listener.received)


async def test_messages_are_forgotten_by_recipient(vendors: Vendors) -> None:
    kept, forgotten = (message(TWILIO, vendors.listener.url) for _ in range(2))
    for sent in (kept, forgotten):
        await vendors.providers["twilio"].send(sent, timeout_s=BUDGET_S)
    await vendors.simulators.forget("twilio", forgotten.target.address)
    assert not await vendors.simulators.messages("twilio", to=forgotten.target.address)
    assert await vendors.simulators.messages("twilio", to=kept.target.address, contains="code")
    assert not await vendors.simulators.messages("twilio", to=kept.target.address, contains="nonsense")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("twilio/faults", {"kind": "earthquake"}, 422),
        ("twilio/faults", {"kind": "reset", "colour": "red"}, 422),
        ("twilio/callbacks", {"mode": "by pigeon"}, 422),
        ("nobody/faults", {"kind": "reset"}, 404),
        ("twilio/faults", [], 400),
    ],
)
async def test_an_invalid_command_is_refused(vendors: Vendors, path: str, body: object, status: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        base = vendors.variables["HERALD_PROVIDERS__TWILIO__BASE_URL"].removesuffix("/twilio")
        response = await client.put(f"{base}/control/{path}", json=body)
    assert response.status_code == status
    assert response.json()["detail"]


def test_a_message_is_shown_without_the_vendors_internals() -> None:
    shown = Received("1", "+1", "text", vendor={"secret": "x"}).to_json()
    assert set(shown) >= {"id", "to", "text", "title", "ref", "received_at", "status", "accepted"}
    assert "vendor" not in shown


async def test_the_process_serves_until_it_is_stopped(tmp_path: Path) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators", "--port", str(port), "--apns-port", "0",
        "--state-dir", str(tmp_path / "state"), cwd=Path(__file__).parents[2],
    )  # fmt: skip
    simulators = Simulators(f"http://127.0.0.1:{port}")
    try:
        async with asyncio.timeout(WAIT_S * 2):
            while True:
                try:
                    settings = await simulators.settings()
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        assert settings["HERALD_PROVIDERS__TWILIO__BASE_URL"] == f"http://127.0.0.1:{port}/twilio"
        assert settings["HERALD_PROVIDERS__APNS__BASE_URL"].startswith("https://")
    finally:
        await simulators.aclose()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
