"""SMTP replies, missing replies and the bytes on the wire: against the simulator, aiosmtpd and
the standard library's client."""

import asyncio
import itertools
import smtplib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP as Peer
from aiosmtpd.smtp import AuthResult
from contract import CASES, INSTALLATION, message

from domain.outcome import Outcome, SendResult
from providers.base import Message
from providers.email import smtp
from providers.email.smtp import Smtp, stuffed
from providers.settings import SmtpSettings
from simulators import smtp as simulated
from simulators.base import SimulatorContext
from simulators.faults import Fault

BUDGET_S = 5.0
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module")
async def vendor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[simulated.Smtp]:
    server = simulated.Smtp(
        SimulatorContext("http://127.0.0.1:9", tmp_path_factory.mktemp("smtp"), smtp_port=0)
    )
    await server.start()
    yield server
    await server.aclose()


def adapter(vendor: simulated.Smtp, **changes: Any) -> Smtp:
    given = vendor.settings("")
    mine: dict[str, Any] = {
        "base_url": given["HERALD_PROVIDERS__SMTP__BASE_URL"],
        "from_email": simulated.FROM_EMAIL,
        "username": simulated.USERNAME,
        "password": simulated.PASSWORD,
        "starttls": True,
        "ca_file": Path(given["HERALD_PROVIDERS__SMTP__CA_FILE"]),
    }
    return Smtp(SmtpSettings.model_validate({**mine, **changes}), INSTALLATION)


@pytest_asyncio.fixture
async def provider(vendor: simulated.Smtp) -> AsyncIterator[Smtp]:
    one = adapter(vendor)
    yield one
    await one.aclose()


def mail(body: str | None = None, title: str | None = "Hello", to: str | None = None) -> Message:
    sent = message(CASES["smtp"], "http://127.0.0.1:9", to or f"s{next(_numbers)}@customers.example", body)
    return replace(sent, content=replace(sent.content, title=title))


def fault(vendor: simulated.Smtp, sent: Message, kind: str, **more: Any) -> None:
    vendor.faults.add(Fault.from_json({"kind": kind, "recipient": sent.target.address, **more}))


@pytest.mark.parametrize("stage", ["rcpt", "data"])
@pytest.mark.parametrize(
    ("kind", "budget_s", "code"), [("reset", BUDGET_S, "connection_lost"), ("black_hole", 0.3, "timeout")]
)
async def test_silence_before_the_content_is_not_sent(
    vendor: simulated.Smtp, provider: Smtp, stage: str, kind: str, budget_s: float, code: str
) -> None:
    sent = mail()
    fault(vendor, sent, kind, stage=stage)
    result = await provider.send(sent, timeout_s=budget_s)
    assert (result.outcome, result.code) == (Outcome.NOT_SENT, code)
    assert not vendor.messages_of(sent.target.address)


@pytest.mark.parametrize(
    ("kind", "processed"), [("reset", 0), ("black_hole", 0), ("accept_then_close", 1), ("malformed", 1)]
)
async def test_silence_after_the_content_is_ambiguous(
    vendor: simulated.Smtp, provider: Smtp, kind: str, processed: int
) -> None:
    sent = mail()
    fault(vendor, sent, kind)
    result = await provider.send(sent, timeout_s=0.3 if kind == "black_hole" else BUDGET_S)
    assert result.outcome is Outcome.AMBIGUOUS
    assert len(vendor.messages_of(sent.target.address)) == processed


@pytest.mark.parametrize("stage", ["rcpt", "data", "dot"])
@pytest.mark.parametrize(("status", "outcome"), [(451, Outcome.UNAVAILABLE), (554, Outcome.REJECTED)])
async def test_a_reply_decides_at_any_stage(
    vendor: simulated.Smtp, provider: Smtp, stage: str, status: int, outcome: Outcome
) -> None:
    sent = mail()
    fault(vendor, sent, "status", status=status, stage=stage)
    result = await provider.send(sent, timeout_s=BUDGET_S)
    assert (result.outcome, result.code) == (outcome, f"smtp_{status}")
    assert not vendor.messages_of(sent.target.address)


async def test_a_slow_server_is_ambiguous_only_once_the_content_was_written(
    vendor: simulated.Smtp, provider: Smtp
) -> None:
    sent = mail()
    fault(vendor, sent, "accept_then_stall", latency_s=0.5)
    assert (await provider.send(sent, timeout_s=0.3)).outcome is Outcome.AMBIGUOUS
    assert len(vendor.messages_of(sent.target.address)) == 1


async def test_a_connection_is_reused_even_after_a_refusal(vendor: simulated.Smtp, provider: Smtp) -> None:
    before = vendor.connections
    outcomes: list[Outcome] = []
    for to in (None, "unknown+1@customers.example", None, "spam+1@customers.example", None):
        outcomes.append((await provider.send(mail(to=to), timeout_s=BUDGET_S)).outcome)
    assert outcomes.count(Outcome.ACCEPTED) == 3
    assert vendor.connections == before + 1


async def test_a_connections_messages_and_age_are_limited(
    vendor: simulated.Smtp, provider: Smtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = vendor.connections
    monkeypatch.setattr(smtp, "MESSAGES_MAX", 2)
    for _ in range(4):
        assert (await provider.send(mail(), timeout_s=BUDGET_S)).outcome is Outcome.ACCEPTED
    assert vendor.connections == before + 2
    monkeypatch.setattr(smtp, "MESSAGES_MAX", 100)
    monkeypatch.setattr(smtp, "IDLE_S", 0.0)
    for _ in range(2):
        assert (await provider.send(mail(), timeout_s=BUDGET_S)).outcome is Outcome.ACCEPTED
    assert vendor.connections == before + 4


async def test_the_number_of_connections_is_limited(
    vendor: simulated.Smtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "CONNECTIONS_MAX", 2)
    provider, before = adapter(vendor), vendor.connections
    results = await asyncio.gather(*(provider.send(mail(), timeout_s=BUDGET_S) for _ in range(6)))
    await provider.aclose()
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert vendor.connections <= before + 2


async def test_a_connection_that_the_server_closed_costs_no_message(
    vendor: simulated.Smtp, provider: Smtp
) -> None:
    assert (await provider.send(mail(), timeout_s=BUDGET_S)).outcome is Outcome.ACCEPTED
    vendor.hang_up_on_all()
    assert (await provider.send(mail(), timeout_s=BUDGET_S)).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    "body",
    [
        ".\n..\n.hidden\nend.",
        "before\r\n.\r\nMAIL FROM:<eve@example.com>\r\nafter",
        "before\n.\nafter\r.\rend",
        "",
        "x" * 3000,
        "₦5,000 left\nyour account 🎉 " * 40,
        "bell \x07 and null \x00",
    ],
)
async def test_a_body_arrives_as_it_was(vendor: simulated.Smtp, provider: Smtp, body: str) -> None:
    sent = mail(body or None)
    sent = replace(sent, content=replace(sent.content, body=body))
    assert (await provider.send(sent, timeout_s=BUDGET_S)).outcome is Outcome.ACCEPTED
    [stored] = vendor.messages_of(sent.target.address)
    assert stored.text == "\n".join(body.splitlines())
    raw: bytes = stored.vendor["raw"]
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r" not in raw.replace(b"\r\n", b"")


def test_every_dot_at_a_lines_beginning_is_doubled() -> None:
    assert stuffed(b"a\n.b\r..c\r\n.") == b"a\r\n..b\r\n...c\r\n..\r\n.\r\n"


async def test_a_title_cannot_add_header_lines(vendor: simulated.Smtp, provider: Smtp) -> None:
    sent = mail(title="Hi\r\nBcc: eve@example.com\r\n\r\nbody")
    await provider.send(sent, timeout_s=BUDGET_S)
    [stored] = vendor.messages_of(sent.target.address)
    assert stored.title == "Hi Bcc: eve@example.com body"
    assert set(stored.headers) == {
        *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
        *("Content-Type", "Content-Transfer-Encoding", "MIME-Version"),
    }


@pytest.mark.parametrize(
    "to", ["a@example.com\r\nRCPT TO:<eve@example.com>", "a@example.com> NOTIFY=NEVER", "<a@example.com>"]
)
async def test_a_recipient_cannot_add_commands(vendor: simulated.Smtp, provider: Smtp, to: str) -> None:
    before = vendor.connections
    result = await provider.send(mail(to=to), timeout_s=BUDGET_S)
    assert (result.outcome, result.code) == (Outcome.REJECTED_RECIPIENT, "address_malformed")
    assert vendor.connections == before


async def test_a_body_that_cannot_be_written_is_refused_here(provider: Smtp) -> None:
    result = await provider.send(mail("lone \ud800"), timeout_s=BUDGET_S)
    assert (result.outcome, result.code) == (Outcome.REJECTED, "content_malformed")


async def test_the_same_attempt_is_the_same_mail_with_our_id(vendor: simulated.Smtp, provider: Smtp) -> None:
    sent = mail()
    results = [await provider.send(sent, timeout_s=BUDGET_S) for _ in range(2)]
    assert {result.provider_message_id for result in results} == {f"{sent.attempt_ref}@smtp.herald.example"}
    [stored] = vendor.messages_of(sent.target.address)
    assert stored.id == results[0].provider_message_id


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"base_url": "http://127.0.0.1"}, "base_url"),
        ({"base_url": "smtp://"}, "base_url"),
        ({"starttls": False}, "TLS"),
        ({"from_email": "Herald"}, "from_email"),
        ({"from_email": "a@example.com\r\nBcc: b@example.com"}, "from_email"),
    ],
)
def test_unusable_settings_are_refused(vendor: simulated.Smtp, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(ValueError, match=code):
        adapter(vendor, **changes)


async def test_a_server_that_cannot_be_trusted_gets_nothing(vendor: simulated.Smtp) -> None:
    stranger = adapter(vendor, ca_file=None)
    result = await stranger.send(mail(), timeout_s=BUDGET_S)
    assert (result.outcome, result.code) == (Outcome.NOT_SENT, "certificate")
    await stranger.aclose()


async def test_wrong_credentials_are_refused_without_naming_them(vendor: simulated.Smtp) -> None:
    stranger = adapter(vendor, password="secret-of-ours")
    result = await stranger.send(mail(), timeout_s=BUDGET_S)
    assert (result.outcome, result.code) == (Outcome.REJECTED, "smtp_535:5.7.8")
    assert "secret-of-ours" not in f"{stranger!r} {result!r}"
    await stranger.aclose()


@dataclass
class Mailbox:
    """A handler for aiosmtpd with configurable replies to RCPT and to the final dot."""

    at_rcpt: str = "250 OK"
    at_dot: str = "250 OK"
    received: list[tuple[str, list[str], bytes]] = field(default_factory=list[tuple[str, list[str], bytes]])
    logins: list[bytes] = field(default_factory=list[bytes])

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, to: str, options: Any) -> str:
        if self.at_rcpt.startswith("2"):
            envelope.rcpt_tos.append(to)
        return self.at_rcpt

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.received.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return self.at_dot

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append(data.login)
        return AuthResult(success=data.password == simulated.PASSWORD.encode())


@asynccontextmanager
async def peer(vendor: simulated.Smtp, mailbox: Mailbox, **how: Any) -> AsyncIterator[str]:
    """aiosmtpd on a free port, with the simulator's certificate."""
    protocols: list[Peer] = []

    def make() -> Peer:
        options = {"tls_context": vendor.tls, "authenticator": mailbox.authenticate, "hostname": "peer"}
        protocols.append(Peer(mailbox, enable_SMTPUTF8=True, **{**options, **how}))
        return protocols[-1]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    try:
        yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for protocol in protocols:
            if protocol.transport:
                protocol.transport.abort()


async def through(vendor: simulated.Smtp, mailbox: Mailbox, sent: Message, **how: Any) -> SendResult:
    async with peer(vendor, mailbox, **how) as url:
        provider = adapter(vendor, base_url=url)
        try:
            return await provider.send(sent, timeout_s=BUDGET_S)
        finally:
            await provider.aclose()


@pytest.mark.parametrize("to", [None, "grüße@customers.example"])
async def test_another_server_understands_us(vendor: simulated.Smtp, to: str | None) -> None:
    mailbox, sent = Mailbox(), mail("₦5,000\n.\nleft", title="Ünïcödé", to=to)
    assert (await through(vendor, mailbox, sent)).outcome is Outcome.ACCEPTED
    [(sender, recipients, content)] = mailbox.received
    assert (sender, recipients) == ("notices@smtp.herald.example", [sent.target.address])
    assert mailbox.logins == [simulated.USERNAME.encode()]
    letter = message_from_bytes(content, policy=policy.default)
    assert isinstance(letter, EmailMessage)
    assert (letter["Subject"], letter["To"]) == ("Ünïcödé", sent.target.address)
    assert letter["From"].addresses[0].display_name == "Herald"
    assert letter.get_content().splitlines() == ["₦5,000", ".", "left"]
    assert not letter.defects


@pytest.mark.parametrize(
    ("refusals", "outcome"),
    [
        ({"at_rcpt": "550 5.1.1 unknown"}, Outcome.REJECTED_RECIPIENT),
        ({"at_rcpt": "451 4.7.1 later"}, Outcome.UNAVAILABLE),
        ({"at_dot": "554 5.7.1 spam"}, Outcome.REJECTED),
    ],
)
async def test_another_servers_refusals_are_parsed(
    vendor: simulated.Smtp, refusals: dict[str, str], outcome: Outcome
) -> None:
    assert (await through(vendor, Mailbox(**refusals), mail())).outcome is outcome


async def test_no_password_goes_to_a_server_without_tls(vendor: simulated.Smtp) -> None:
    mailbox = Mailbox()
    result = await through(vendor, mailbox, mail(), tls_context=None, auth_require_tls=False)
    assert result.outcome is Outcome.NOT_SENT
    assert (mailbox.logins, mailbox.received) == ([], [])


async def test_another_client_understands_the_simulator(vendor: simulated.Smtp) -> None:
    letter = EmailMessage()
    letter["From"], letter["To"] = "n@smtp.herald.example", "oracle@customers.example"
    letter["Subject"], letter["Message-ID"] = "Hello", "<ref.1@smtp.herald.example>"
    letter.set_content(".\n..dots")
    trusted = ssl.create_default_context(cafile=vendor.settings("")["HERALD_PROVIDERS__SMTP__CA_FILE"])

    def send() -> dict[str, Any]:
        assert vendor.port
        with smtplib.SMTP("127.0.0.1", vendor.port, timeout=BUDGET_S) as client:
            client.starttls(context=trusted)
            client.login(simulated.USERNAME, simulated.PASSWORD)
            client.noop()
            return client.send_message(letter)

    assert await asyncio.to_thread(send) == {}
    [stored] = vendor.messages_of("oracle@customers.example")
    assert (stored.text, stored.title, stored.ref) == (".\n..dots", "Hello", "ref.1")
