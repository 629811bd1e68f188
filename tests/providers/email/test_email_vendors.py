"""The email adapters against their simulators: results of magic recipients, look-ups and polls."""

import itertools
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from contract import CASES, EMPTY_CATALOG, INSTALLATION, Vendors, listening, message, settings_from
from pydantic import SecretStr

from domain.outcome import AddressVerdict, Outcome, Receipt, ReceiptStatus
from providers import registry
from providers.base import CallbackRefused, CallbackRequest, LookupFailed, Message, Provider
from providers.email.mailgun import Mailgun
from providers.email.sendgrid import DETAILS_MAX, SendGrid
from providers.settings import MailgunSettings, SendgridSettings
from simulators import mailgun as simulated_mailgun
from simulators import sendgrid as simulated_sendgrid
from simulators.base import SimulatorContext
from simulators.faults import Fault
from simulators.server import serve

BUDGET_S = 5.0
MAIL = ("sendgrid", "mailgun")
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Post:
    """The two vendors with their insides open, and their adapters."""

    sendgrid: simulated_sendgrid.SendGrid
    mailgun: simulated_mailgun.Mailgun
    providers: dict[str, Provider]
    url: str


@pytest_asyncio.fixture(scope="module")
async def post(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Post]:
    async with (
        listening() as listener,
        serve(SimulatorContext(f"{listener.url}/v1/callbacks", tmp_path_factory.mktemp("post"))) as running,
    ):
        sendgrid, mailgun = running.simulators["sendgrid"], running.simulators["mailgun"]
        assert isinstance(sendgrid, simulated_sendgrid.SendGrid)
        assert isinstance(mailgun, simulated_mailgun.Mailgun)
        variables = sendgrid.settings(running.url) | mailgun.settings(running.url)
        providers = registry.build(settings_from(variables), EMPTY_CATALOG, listener.url)
        yield Post(sendgrid, mailgun, providers, running.url)
        for provider in providers.values():
            await provider.aclose()


def mail(to: str | None = None, **changes: Any) -> Message:
    return replace(message(CASES["sendgrid"], "http://127.0.0.1:9", to), **changes)


def magic(word: str) -> str:
    return f"{word}+{next(_numbers)}@customers.example"


@pytest.mark.parametrize(
    ("vendor", "word", "code", "permanent", "verdict"),
    [
        ("sendgrid", "bounce", "bounce:5.1.1", True, AddressVerdict.SUPPRESS),
        ("sendgrid", "blocked", "blocked:5.7.1", False, AddressVerdict.KEEP),
        ("sendgrid", "dropped", "dropped:bounced_address", True, AddressVerdict.SUPPRESS),
        ("sendgrid", "deferred", "deferred", False, AddressVerdict.KEEP),
        ("sendgrid", "spamreport", "spamreport", False, AddressVerdict.SUPPRESS),
        ("sendgrid", "unsubscribe", "unsubscribe", False, AddressVerdict.SUPPRESS),
        ("mailgun", "bounce", "failed:permanent:bounce", True, AddressVerdict.SUPPRESS),
        ("mailgun", "suppressed", "failed:permanent:suppress-bounce", True, AddressVerdict.SUPPRESS),
        ("mailgun", "expired", "failed:permanent:old", False, AddressVerdict.KEEP),
        ("mailgun", "temporary", "failed:temporary:generic", False, AddressVerdict.KEEP),
        ("mailgun", "rejected", "rejected", False, AddressVerdict.KEEP),
        ("mailgun", "complained", "complained", False, AddressVerdict.SUPPRESS),
        ("mailgun", "unsubscribed", "unsubscribed", False, AddressVerdict.SUPPRESS),
    ],
)
async def test_a_magic_recipient_reports(
    vendors: Vendors, vendor: str, word: str, code: str, permanent: bool, verdict: AddressVerdict
) -> None:
    provider, sent = vendors.providers[vendor], mail(magic(word))
    assert (await provider.send(sent, timeout_s=BUDGET_S)).outcome is Outcome.ACCEPTED

    def reported(receipts: Sequence[Receipt]) -> bool:
        return any((r.attempt_ref, r.code) == (sent.attempt_ref, code) for r in receipts)

    receipts = [receipt for _, receipt in await vendors.listener.receipts(provider, reported)]
    [receipt] = [r for r in receipts if (r.attempt_ref, r.code) == (sent.attempt_ref, code)]
    assert (receipt.permanent, receipt.address_verdict) == (permanent, verdict)


@pytest.mark.parametrize("vendor", MAIL)
async def test_a_send_without_an_answer_is_found_by_its_reference(post: Post, vendor: str) -> None:
    provider, sent = post.providers[vendor], mail(magic("silent"))
    simulator = post.sendgrid if vendor == "sendgrid" else post.mailgun
    simulator.faults.add(_fault("accept_then_close", sent.target.address))
    assert (await provider.send(sent, timeout_s=BUDGET_S)).outcome is Outcome.AMBIGUOUS
    [found] = await provider.lookup(sent, timeout_s=BUDGET_S)
    [stored] = simulator.messages_of(sent.target.address)
    assert (found.certain, found.provider_message_id) == (True, stored.id)
    assert found.receipt
    assert found.receipt.status is ReceiptStatus.QUEUED


@pytest.mark.parametrize("vendor", MAIL)
async def test_another_attempt_of_the_same_mail_is_not_ours(post: Post, vendor: str) -> None:
    provider, first = post.providers[vendor], mail(magic("silent"))
    await provider.send(first, timeout_s=BUDGET_S)
    second = replace(first, attempt_ref=first.attempt_ref.replace(".1", ".2"))
    assert list(await provider.lookup(second, timeout_s=BUDGET_S)) == []


@pytest.mark.parametrize("vendor", MAIL)
async def test_a_mail_of_another_time_is_not_found(post: Post, vendor: str) -> None:
    provider, sent = post.providers[vendor], mail(magic("silent"))
    await provider.send(sent, timeout_s=BUDGET_S)
    later = replace(sent, intended_at=datetime.now(UTC) + timedelta(hours=1))
    assert list(await provider.lookup(later, timeout_s=BUDGET_S)) == []


async def test_an_event_that_is_not_indexed_yet_is_not_found_yet(post: Post) -> None:
    provider, sent = post.providers["mailgun"], mail(magic("silent"))
    await provider.send(sent, timeout_s=BUDGET_S)
    post.mailgun.lag_s = 60
    try:
        assert list(await provider.lookup(sent, timeout_s=BUDGET_S)) == []
    finally:
        post.mailgun.lag_s = 0
    assert len(await provider.lookup(sent, timeout_s=BUDGET_S)) == 1
    assert provider.capabilities.visibility_delay_s >= 60


async def test_a_log_without_custom_arguments_is_a_candidate_by_its_subject(post: Post) -> None:
    provider, sent = post.providers["sendgrid"], mail(magic("silent"))
    await provider.send(sent, timeout_s=BUDGET_S)
    [stored] = post.sendgrid.messages_of(sent.target.address)
    stored.vendor["custom_args"] = None
    [found] = await provider.lookup(sent, timeout_s=BUDGET_S)
    assert (found.certain, found.provider_message_id) == (False, stored.id)
    stored.title = "Another subject"
    assert list(await provider.lookup(sent, timeout_s=BUDGET_S)) == []


async def test_more_logs_than_can_be_searched_prove_nothing(post: Post) -> None:
    provider, to = post.providers["sendgrid"], magic("silent")
    for _ in range(DETAILS_MAX + 1):
        await provider.send(mail(to), timeout_s=BUDGET_S)
    with pytest.raises(LookupFailed):
        await provider.lookup(mail(to), timeout_s=BUDGET_S)


@pytest.mark.parametrize("vendor", MAIL)
async def test_a_lookup_keeps_its_budget(post: Post, vendor: str) -> None:
    provider, sent = post.providers[vendor], mail()
    simulator = post.sendgrid if vendor == "sendgrid" else post.mailgun
    simulator.faults.add(_fault("black_hole", sent.target.address, operation="lookup"))
    with pytest.raises(LookupFailed):
        await provider.lookup(sent, timeout_s=0.3)


@pytest.mark.parametrize(("vendor", "id"), [("sendgrid", "A" * 22), ("mailgun", "never@mg.herald.example")])
async def test_a_poll_about_an_unknown_mail_returns_nothing(post: Post, vendor: str, id: str) -> None:
    assert await post.providers[vendor].poll(id, timeout_s=BUDGET_S) is None


async def test_an_id_cannot_change_a_polls_query(post: Post) -> None:
    with pytest.raises(LookupFailed):
        await post.providers["sendgrid"].poll("%' OR to_email LIKE '", timeout_s=BUDGET_S)


@pytest.mark.parametrize(
    ("vendor", "status", "code", "expected"),
    [
        ("sendgrid", "bounce", None, (ReceiptStatus.UNDELIVERED, True, AddressVerdict.SUPPRESS)),
        ("sendgrid", "blocked", None, (ReceiptStatus.UNDELIVERED, False, AddressVerdict.KEEP)),
        ("sendgrid", "delivered", None, (ReceiptStatus.DELIVERED, False, AddressVerdict.KEEP)),
        ("mailgun", "failed", "bounce", (ReceiptStatus.UNDELIVERED, True, AddressVerdict.SUPPRESS)),
        ("mailgun", "failed", "temporary", (ReceiptStatus.QUEUED, False, AddressVerdict.KEEP)),
        ("mailgun", "delivered", None, (ReceiptStatus.DELIVERED, False, AddressVerdict.KEEP)),
    ],
)
async def test_a_poll_returns_the_most_significant_event(
    post: Post,
    vendor: str,
    status: str,
    code: str | None,
    expected: tuple[ReceiptStatus, bool, AddressVerdict],
) -> None:
    provider, sent = post.providers[vendor], mail(magic("silent"))
    id = (await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id
    assert id
    simulator = post.sendgrid if vendor == "sendgrid" else post.mailgun
    await simulator.report(simulator.messages[id], status, code)
    receipt = await provider.poll(id, timeout_s=BUDGET_S)
    assert receipt
    assert (receipt.status, receipt.permanent, receipt.address_verdict) == expected


@pytest.mark.parametrize("vendor", MAIL)
async def test_a_title_cannot_add_header_lines(post: Post, vendor: str) -> None:
    sent = mail(magic("silent"))
    sent = replace(sent, content=replace(sent.content, title="Hi\r\nBcc: eve@example.com"))
    result = await post.providers[vendor].send(sent, timeout_s=BUDGET_S)
    assert result.outcome is Outcome.ACCEPTED
    simulator = post.sendgrid if vendor == "sendgrid" else post.mailgun
    [stored] = simulator.messages_of(sent.target.address)
    assert (stored.title, stored.ref) == ("Hi Bcc: eve@example.com", sent.attempt_ref)


async def test_wrong_credentials_are_refused_without_naming_them(post: Post) -> None:
    sendgrid = SendgridSettings(
        base_url=f"{post.url}/sendgrid",
        api_key=SecretStr("SG.secret-of-ours"),
        from_email="n@example.com",
        webhook_public_key=simulated_sendgrid.PUBLIC_KEY,
    )
    mailgun = MailgunSettings(
        base_url=f"{post.url}/mailgun",
        api_key=SecretStr("key-secret-of-ours"),
        domain=simulated_mailgun.DOMAIN,
        from_email="n@example.com",
        signing_key=SecretStr("signing-secret-of-ours"),
    )
    for provider in (SendGrid(sendgrid, INSTALLATION), Mailgun(mailgun, INSTALLATION)):
        sent = mail()
        result = await provider.send(sent, timeout_s=BUDGET_S)
        assert (result.outcome, result.http_status) == (Outcome.REJECTED, 401)
        with pytest.raises(LookupFailed) as failed:
            await provider.lookup(sent, timeout_s=BUDGET_S)
        for private in ("secret-of-ours", sent.target.address, sent.content.body):
            assert private not in f"{provider!r} {result!r} {failed.value!r} {failed.value.__cause__!r}"
        await provider.aclose()


@pytest.mark.parametrize("body", [b"", b"{}", b"[1", b"\xff\xfe", b"null", b'{"signature": 1}'])
async def test_a_callback_of_another_form_is_refused(post: Post, body: bytes) -> None:
    for provider in post.providers.values():
        with pytest.raises(CallbackRefused):
            provider.parse_callback(CallbackRequest("", {}, {}, body, datetime.now(UTC)))


async def test_a_malformed_event_does_not_affect_others(post: Post) -> None:
    events: list[Any] = [None, 7, {}, {"event": {"a": 1}}, {"event": "delivered", "sg_event_id": "e2"}, ["x"]]
    outgoing = post.sendgrid.signed(events)
    headers = {name.lower(): value for name, value in outgoing.headers.items()}
    request = CallbackRequest(outgoing.url, headers, {}, outgoing.body, datetime.now(UTC))
    [receipt] = post.providers["sendgrid"].parse_callback(request)
    assert receipt.event_key == "e2"


BEARER = {"Authorization": f"Bearer {simulated_sendgrid.API_KEY}"}
BASIC = {"Authorization": "Basic " + b64encode(f"api:{simulated_mailgun.API_KEY}".encode()).decode()}
WHOLE_MAIL: dict[str, Any] = {
    "personalizations": [{"to": [{"email": "ada@customers.example"}]}],
    "from": {"email": "n@example.com"},
    "subject": "Hello",
    "content": [{"type": "text/plain", "value": "Hi"}],
}


@pytest.mark.parametrize(
    ("missing", "field"),
    [
        ("personalizations", "personalizations"),
        ("from", "from.email"),
        ("subject", "subject"),
        ("content", "content"),
    ],
)
async def test_the_simulated_sendgrid_refuses_an_incomplete_mail(
    post: Post, missing: str, field: str
) -> None:
    body = {name: value for name, value in WHOLE_MAIL.items() if name != missing}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{post.url}/sendgrid/v3/mail/send", json=body, headers=BEARER) as response,
    ):
        assert response.status == 400
        assert [error["field"] for error in (await response.json())["errors"]] == [field]


@pytest.mark.parametrize("missing", ["from", "to", "subject", "text"])
async def test_the_simulated_mailgun_refuses_an_incomplete_mail(post: Post, missing: str) -> None:
    form = {"from": "n@example.com", "to": "ada@customers.example", "subject": "Hello", "text": "Hi"}
    form.pop(missing)
    url = f"{post.url}/mailgun/v3/{simulated_mailgun.DOMAIN}/messages"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=form, headers=BASIC) as response,
    ):
        assert response.status == 400
        assert missing in (await response.json())["message"]


@pytest.mark.parametrize("path", ["sendgrid/v3/mail/send", f"mailgun/v3/{simulated_mailgun.DOMAIN}/messages"])
async def test_the_simulated_vendors_require_credentials(post: Post, path: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{post.url}/{path}", json={}) as response:
        assert response.status == 401
        forbidden = await response.json()
        assert forbidden == "Forbidden" or forbidden["errors"]


def _fault(kind: str, recipient: str, **more: Any) -> Fault:
    return Fault.from_json({"kind": kind, "recipient": recipient, **more})
