"""HTTP/2 for APNs: whether a broken request may have been processed."""

import asyncio
import contextlib
import socket
import ssl
import time

import httpx
import jwt
import pytest
from contract import INSTALLATION

from domain.outcome import Outcome
from providers.http import Answer, Written
from providers.push.apns import Apns
from providers.push.h2_client import H2Client
from providers.settings import ApnsSettings
from simulators import apns_h2
from simulators.faults import Fault, Kind


async def test_many_requests_share_one_connection(apns, apns_vendor, a_message):
    for _ in range(3):
        await asyncio.gather(*(apns.send(a_message(), timeout_s=10) for _ in range(100)))
    assert len(apns_vendor.messages) == 300
    assert apns_vendor.listener.accepted == 1


async def test_a_timeout_does_not_disturb_its_neighbours(apns, apns_vendor, a_message):
    apns_vendor.faults.add(Fault(Kind.BLACK_HOLE, recipient="hole"))
    apns_vendor.faults.add(Fault(Kind.LATENCY, recipient="slow", latency_s=0.3))
    await apns.send(a_message(), timeout_s=5)
    lost, slow = await asyncio.gather(
        apns.send(a_message("hole"), timeout_s=0.15), apns.send(a_message("slow"), timeout_s=5)
    )
    assert (lost.outcome, lost.code) == (Outcome.AMBIGUOUS, "timeout")
    assert slow.outcome is Outcome.ACCEPTED


async def test_a_request_refused_by_goaway_goes_over_a_new_connection(apns, apns_vendor, a_message):
    await apns.send(a_message(), timeout_s=5)
    apns_vendor.faults.add(Fault(Kind.GOAWAY, recipient="moved", times=1))
    result = await apns.send(a_message("moved"), timeout_s=5)
    assert result.outcome is Outcome.ACCEPTED
    assert len(apns_vendor.messages_of("moved")) == 1
    assert apns_vendor.listener.accepted == 2


async def test_goaway_on_the_first_stream_and_again_is_not_sent(apns, apns_vendor, a_message):
    apns_vendor.faults.add(Fault(Kind.GOAWAY))
    result = await apns.send(a_message(), timeout_s=5)
    assert (result.outcome, result.code) == (Outcome.NOT_SENT, "goaway")
    assert apns_vendor.listener.accepted == 2


async def test_answers_after_a_goaway_are_read(apns, apns_vendor, a_message):
    apns_vendor.faults.add(Fault(Kind.GOAWAY, recipient="last", code="graceful", times=1))
    apns_vendor.faults.add(Fault(Kind.LATENCY, recipient="slow", latency_s=0.2))
    await apns.send(a_message(), timeout_s=5)
    slow, last = await asyncio.gather(
        apns.send(a_message("slow"), timeout_s=5), apns.send(a_message("last"), timeout_s=5)
    )
    assert slow.outcome is last.outcome is Outcome.ACCEPTED
    assert (await apns.send(a_message(), timeout_s=5)).outcome is Outcome.ACCEPTED
    assert apns_vendor.listener.accepted == 2


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Kind.RST_STREAM, "stream_reset"),
        (Kind.RESET, "connection_lost"),
        (Kind.ACCEPT_THEN_CLOSE, "connection_lost"),
    ],
)
async def test_what_breaks_after_the_request_is_ambiguous(apns, apns_vendor, a_message, kind, code):
    apns_vendor.faults.add(Fault(kind, recipient="broken"))
    result = await apns.send(a_message("broken"), timeout_s=5)
    assert (result.outcome, result.code) == (Outcome.AMBIGUOUS, code)
    assert len(apns_vendor.messages_of("broken")) == (1 if kind is Kind.ACCEPT_THEN_CLOSE else 0)
    assert (await apns.send(a_message(), timeout_s=5)).outcome is Outcome.ACCEPTED


async def test_a_refused_stream_was_not_processed_and_is_tried_again(apns, apns_vendor, a_message):
    fault = Fault(Kind.RST_STREAM, recipient="refused", code="refused_stream", times=1)
    apns_vendor.faults.add(fault)
    assert (await apns.send(a_message("refused"), timeout_s=5)).outcome is Outcome.ACCEPTED
    assert len(apns_vendor.messages_of("refused")) == 1


async def test_a_connection_closed_while_idle_is_replaced_safely(apns, apns_vendor, a_message, until):
    await apns.send(a_message(), timeout_s=5)
    for connection in tuple(apns_vendor.listener.connections):
        connection.abort(reset=False)
    await until(lambda: not apns._client._connection.usable)
    assert (await apns.send(a_message(), timeout_s=5)).outcome is Outcome.ACCEPTED


async def test_a_silent_connection_is_pinged_before_use(apns, apns_vendor, a_message):
    apns._client._idle_s_trusted = 0.0
    await apns.send(a_message(), timeout_s=5)
    assert (await apns.send(a_message(), timeout_s=5)).outcome is Outcome.ACCEPTED
    assert apns_vendor.listener.accepted == 1
    for connection in apns_vendor.listener.connections:
        connection.freeze()
    message = a_message()
    assert (await apns.send(message, timeout_s=5)).outcome is Outcome.ACCEPTED
    assert len(apns_vendor.messages_of(message.target.address)) == 1
    assert apns_vendor.listener.accepted == 2


async def test_a_connection_that_fell_silent_is_not_used_again(apns, apns_vendor, a_message):
    await apns.send(a_message(), timeout_s=5)
    # In the same millisecond: an earlier frame is no sign of life.
    assert await apns._client._connection.ping(timeout_s=5)
    for connection in apns_vendor.listener.connections:
        connection.freeze()
    assert (await apns.send(a_message(), timeout_s=0.1)).outcome is Outcome.AMBIGUOUS
    assert (await apns.send(a_message(), timeout_s=5)).outcome is Outcome.ACCEPTED


async def test_a_retired_connection_to_a_silent_server_ends(apns, apns_vendor, a_message):
    await apns.send(a_message(), timeout_s=5)
    connection = apns._client._connection
    for server in apns_vendor.listener.connections:
        server.freeze()
    connection.retire("test")
    await connection.aclose()
    assert connection._closed.done()


async def test_the_servers_limit_of_streams_is_kept(apns_options, apns_vendor):
    at_once, most = 0, 0

    async def handle(exchange: apns_h2.Exchange) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        exchange.respond(200, {})

    listener = apns_h2.H2Listener(handle, str(apns_vendor.credentials.apns_server_file), streams_max=2)
    port = await listener.start("127.0.0.1", 0)
    client = H2Client(f"https://127.0.0.1:{port}", context=_trusting(apns_options))
    try:
        # The limit arrives with the first answer.
        await client.post("/", [], b"x", timeout_s=5)
        answers = await asyncio.gather(*(client.post("/", [], b"x" * 4096, timeout_s=5) for _ in range(40)))
    finally:
        await client.aclose()
        await listener.stop()
    assert all(isinstance(answer, Answer) and answer.status == 200 for answer in answers)
    assert most <= 2


async def test_a_cancelled_request_leaves_the_connection_usable(apns, apns_vendor, a_message, until):
    apns_vendor.faults.add(Fault(Kind.LATENCY, recipient="slow", latency_s=0.2))
    await apns.send(a_message(), timeout_s=5)
    sending = asyncio.create_task(apns.send(a_message("slow"), timeout_s=5))
    await until(lambda: bool(apns._client._connection._streams))
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert (await apns.send(a_message(), timeout_s=5)).outcome is Outcome.ACCEPTED
    assert apns_vendor.listener.accepted == 1


async def test_a_refused_connection_was_not_written(apns_options, apns_vendor, a_message):
    await apns_vendor.listener.stop()
    adapter = Apns(ApnsSettings(**apns_options), INSTALLATION)
    result = await adapter.send(a_message(), timeout_s=5)
    await adapter.aclose()
    assert (result.outcome, result.code) == (Outcome.NOT_SENT, "connection_refused")


async def test_an_unknown_authority_was_not_written(apns_options, apns_vendor, a_message):
    adapter = Apns(ApnsSettings(**{**apns_options, "ca_file": None}), INSTALLATION)
    result = await adapter.send(a_message(), timeout_s=5)
    await adapter.aclose()
    assert (result.outcome, result.code) == (Outcome.NOT_SENT, "certificate")


async def test_a_server_without_a_handshake_was_not_written(apns_options, a_message):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        adapter = Apns(
            ApnsSettings(**{**apns_options, "base_url": f"https://127.0.0.1:{port}"}), INSTALLATION
        )
        result = await adapter.send(a_message(), timeout_s=0.2)
        await adapter.aclose()
    assert (result.outcome, result.code) == (Outcome.NOT_SENT, "connect_timeout")


async def test_nothing_is_written_after_the_budget(apns, apns_vendor, a_message):
    await apns.send(a_message(), timeout_s=5)
    late = a_message()
    result = await apns.send(late, timeout_s=0)
    assert result.outcome is Outcome.NOT_SENT
    assert not apns_vendor.messages_of(late.target.address)


async def test_http_1_is_refused(apns_options, apns_vendor):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(apns_vendor.credentials.apns_server_file)
    ended = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.transport.abort()
        ended.set()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    client = H2Client(f"https://127.0.0.1:{port}", context=_trusting(apns_options))
    answer = await client.post("/", [], b"", timeout_s=5)
    await client.aclose()
    async with asyncio.timeout(5):
        await ended.wait()
    server.close()
    assert (answer.written, answer.code) == (Written.NO, "no_h2")


async def test_the_simulator_answers_an_independent_client(apns_options, apns_vendor):
    key = apns_options["key_file"].read_text()
    claims = {"iss": apns_options["team_id"], "iat": int(time.time())}
    token = jwt.encode(claims, key, algorithm="ES256", headers={"kid": apns_options["key_id"]})
    headers = {
        "authorization": f"bearer {token}",
        "apns-topic": apns_options["topic"],
        "apns-push-type": "alert",
    }
    payload = {"aps": {"alert": {"body": "hello"}}}
    async with httpx.AsyncClient(http2=True, verify=_trusting(apns_options)) as client:
        url = f"{apns_options['base_url']}/3/device/"
        accepted = await client.post(f"{url}some-device", headers=headers, json=payload)
        refused = await client.post(f"{url}unregistered-1", headers=headers, json=payload)
    assert (accepted.status_code, accepted.content, accepted.http_version) == (200, b"", "HTTP/2")
    assert (refused.status_code, refused.json()["reason"]) == (410, "Unregistered")


def _trusting(apns_options: dict[str, object]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(apns_options["ca_file"]))
