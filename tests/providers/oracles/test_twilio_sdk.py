"""Twilio's own SDK as a client of our simulator, as the verifier of its signatures, and as a signer."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode

import pytest
from contract import CASES, EMPTY_CATALOG, Vendors, message
from oracle import BUDGET_S, base_url, callbacks_of
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator, get_signature_algorithm
from twilio.rest import Client

from domain.outcome import Outcome
from providers.base import CallbackRefused, CallbackRequest
from providers.installation import Installation
from providers.settings import TwilioSettings
from providers.sms.twilio import Twilio
from providers.sms.twilio_callbacks import algorithm_of
from simulators.twilio import ACCOUNT_SID, AUTH_TOKEN, SENDER

TO = CASES["twilio"].recipient
PUBLIC_URL = "https://herald.example"
CALLBACK = "/v1/callbacks/twilio?ref=a.1"
FORM = {
    "MessageSid": "SM" + "a" * 32,
    "MessageStatus": "delivered",
    "To": "+2348031236789",
    "From": SENDER,
    "Empty": "",
    "Body": "ü & 100% +",
}


class Rewritten(TwilioHttpClient):
    """The SDK's HTTP client, with another host."""

    def __init__(self, url: str) -> None:
        super().__init__(pool_connections=False)
        self._url = url

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super().request(method, url.replace("https://api.twilio.com", self._url), *args, **kwargs)


@pytest.fixture
def sdk(vendors: Vendors) -> Client:
    return Client(ACCOUNT_SID, AUTH_TOKEN, http_client=Rewritten(base_url(vendors, "twilio")))


async def test_it_sends_fetches_and_lists(vendors: Vendors, sdk: Client) -> None:
    to = TO()
    await vendors.simulators.callbacks("twilio", to, mode="held")
    before = datetime.now(UTC).replace(microsecond=0)
    sent = await asyncio.to_thread(
        lambda: sdk.messages.create(to=to, from_=SENDER, body="Hello", validity_period=60)
    )
    assert (sent.to, sent.from_, sent.body, sent.status, sent.num_segments) == (
        to,
        SENDER,
        "Hello",
        "queued",
        "1",
    )
    assert sent.date_created >= before
    assert (sent.date_sent, sent.error_code, sent.direction) == (None, None, "outbound-api")
    fetched = await asyncio.to_thread(sdk.messages(sent.sid).fetch)
    assert (fetched.sid, fetched.status, fetched.date_created) == (sent.sid, "queued", sent.date_created)
    await vendors.simulators.report("twilio", sent.sid, "undelivered", 30005)
    fetched = await asyncio.to_thread(sdk.messages(sent.sid).fetch)
    assert (fetched.status, fetched.error_code) == ("undelivered", 30005)
    assert fetched.date_sent


async def test_it_lists_page_by_page(vendors: Vendors, sdk: Client) -> None:
    to = TO()
    await vendors.simulators.callbacks("twilio", to, mode="held")

    def work() -> tuple[list[str], list[str]]:
        sent = [sdk.messages.create(to=to, from_=SENDER, body=f"{n}").sid for n in range(5)]
        return sent, [entry.sid for entry in sdk.messages.list(to=to, page_size=2)]

    sent, listed = await asyncio.to_thread(work)
    assert listed == sent[::-1]


async def test_what_the_adapter_sent_is_what_the_sdk_sees(vendors: Vendors, sdk: Client) -> None:
    mine = message(CASES["twilio"], vendors.listener.url)
    result = await vendors.providers["twilio"].send(mine, timeout_s=BUDGET_S)
    seen = await asyncio.to_thread(sdk.messages(result.provider_message_id or "").fetch)
    assert (seen.to, seen.body) == (mine.target.address, mine.content.body)
    assert int(seen.num_segments or 0) == result.segments


@pytest.mark.parametrize("refusal", CASES["twilio"].refusals, ids=lambda refusal: refusal.code)
async def test_a_refusal_has_its_code(sdk: Client, refusal: Any) -> None:
    with pytest.raises(TwilioRestException) as refused:
        await asyncio.to_thread(lambda: sdk.messages.create(to=refusal.to, from_=SENDER, body="Hello"))
    assert (refused.value.status, refused.value.code) == (400, int(refusal.code))


async def test_other_refusals_have_their_codes(vendors: Vendors, sdk: Client) -> None:
    to = TO()
    await vendors.simulators.fault("twilio", "status", to, status=429, times=1)
    stranger = Client(ACCOUNT_SID, "another", http_client=Rewritten(base_url(vendors, "twilio")))
    calls: list[tuple[Callable[[], object], tuple[int, int]]] = [
        (lambda: sdk.messages.create(to=to, from_=SENDER, body="Hello"), (429, 20429)),
        (lambda: stranger.messages.create(to=to, from_=SENDER, body="Hello"), (401, 20003)),
        (sdk.messages("SM" + "0" * 32).fetch, (404, 20404)),
        (lambda: sdk.messages.create(to=to, from_=SENDER, body="x" * 1601), (400, 21617)),
        (lambda: sdk.messages.create(to=to, from_="+15005550007", body="Hello"), (400, 21606)),
    ]
    for call, expected in calls:
        with pytest.raises(TwilioRestException) as refused:
            await asyncio.to_thread(call)
        assert (refused.value.status, refused.value.code) == expected


async def test_it_accepts_the_simulators_signature(vendors: Vendors) -> None:
    _, callbacks = await callbacks_of(vendors, "twilio")
    validator, stranger = RequestValidator(AUTH_TOKEN), RequestValidator("another")
    for callback in callbacks:
        form = dict(parse_qsl(callback.body.decode(), keep_blank_values=True))
        signature = callback.headers["x-twilio-signature"]
        assert validator.validate(callback.url, form, signature)
        assert not validator.validate(callback.url, {**form, "To": "+1"}, signature)
        assert not stranger.validate(callback.url, form, signature)


def adapter(**changes: Any) -> Twilio:
    known = {
        "account_sid": ACCOUNT_SID,
        "auth_token": AUTH_TOKEN,
        "sender": SENDER,
    }
    settings = TwilioSettings.model_validate({**known, **changes})
    return Twilio(settings, Installation(PUBLIC_URL, EMPTY_CATALOG))


def callback(path: str, body: bytes, signature: str, content_type: str, **headers: str) -> CallbackRequest:
    given = {"x-twilio-signature": signature, "content-type": content_type, **headers}
    query = {name: values[0] for name, values in parse_qs(path.partition("?")[2]).items()}
    # A proxy in front of us passes on its own scheme and host.
    return CallbackRequest(f"http://127.0.0.1:8000{path}", given, query, body, datetime.now(UTC))


@pytest.mark.parametrize("algorithm", ["HMAC_SHA1", "HMAC_SHA256"])
@pytest.mark.parametrize("port", ["", ":443"])
def test_the_adapter_accepts_a_form_that_the_sdk_signs(algorithm: str, port: str) -> None:
    signature = RequestValidator("shared").compute_signature(PUBLIC_URL + port + CALLBACK, FORM, algorithm)
    settings = {"x-twilio-webhooks-signature-settings": f"key=webhooks_sharedkey_1,algorithm={algorithm}"}
    body, kind = urlencode(FORM).encode(), "application/x-www-form-urlencoded"
    provider = adapter(shared_key="shared")
    [receipt] = provider.parse_callback(callback(CALLBACK, body, signature, kind, **settings))
    assert (receipt.provider_message_id, receipt.attempt_ref) == (FORM["MessageSid"], "a.1")
    others = (
        callback(CALLBACK, body.replace(b"delivered", b"failed"), signature, kind, **settings),
        callback(CALLBACK.replace("a.1", "a.2"), body, signature, kind, **settings),
        callback(CALLBACK, body, signature, kind, **dict.fromkeys(settings, "algorithm=HMAC_MD5")),
    )
    for other in others:
        with pytest.raises(CallbackRefused):
            provider.parse_callback(other)


def test_the_adapter_accepts_a_json_body_that_the_sdk_signs() -> None:
    body = b'{"MessageSid": "SM' + b"b" * 32 + b'", "MessageStatus": "delivered"}'
    path = f"{CALLBACK}&bodySHA256={hashlib.sha256(body).hexdigest()}"
    validator = RequestValidator(AUTH_TOKEN)
    signature = validator.compute_signature(PUBLIC_URL + path, {})
    assert validator.validate(PUBLIC_URL + path, body.decode(), signature)
    [receipt] = adapter().parse_callback(callback(path, body, signature, "application/json"))
    assert receipt.provider_message_id == "SM" + "b" * 32
    changed = body.replace(b"delivered", b"failed   ")
    assert not validator.validate(PUBLIC_URL + path, changed.decode(), signature)
    with pytest.raises(CallbackRefused):
        adapter().parse_callback(callback(path, changed, signature, "application/json"))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "key=k",
        "key=k,algorithm=HMAC_SHA256",
        " algorithm = HMAC_SHA1 ,key=k",
        "algorithm=",
        "algorithm",
        ",",
    ],
)
def test_both_read_the_same_algorithm(header: str) -> None:
    assert algorithm_of(header) == get_signature_algorithm(header)


async def test_the_adapter_and_the_sdk_read_a_refusal_alike(vendors: Vendors, sdk: Client) -> None:
    to = TO()
    await vendors.simulators.fault("twilio", "status", to, status=503, times=2)
    with pytest.raises(TwilioRestException) as refused:
        await asyncio.to_thread(lambda: sdk.messages.create(to=to, from_=SENDER, body="Hello"))
    sent = message(CASES["twilio"], vendors.listener.url, to)
    result = await vendors.providers["twilio"].send(sent, timeout_s=BUDGET_S)
    assert (result.outcome, result.http_status) == (Outcome.UNAVAILABLE, refused.value.status)
    assert result.code == str(refused.value.code)
