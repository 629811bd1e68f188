"""SendGrid's own SDK as a client of our simulator, and as the verifier of its signatures."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from contract import CASES, Vendors, message
from oracle import BUDGET_S, base_url, callbacks_of
from python_http_client import exceptions
from sendgrid import SendGridAPIClient
from sendgrid.helpers.eventwebhook import EventWebhook, EventWebhookHeader
from sendgrid.helpers.mail import CustomArg, Mail

from providers.email.fields import REFERENCE
from providers.email.sendgrid_events import load_public_key, verify_signature
from simulators import sendgrid as simulated

FROM = "notices@herald.example"


@pytest.fixture
def sdk(vendors: Vendors) -> SendGridAPIClient:
    return SendGridAPIClient(simulated.API_KEY, host=base_url(vendors, "sendgrid"))


def mail(to: str, text: str = "Hello") -> Mail:
    made = Mail(from_email=FROM, to_emails=to, subject="Sign in", plain_text_content=text)
    made.add_custom_arg(CustomArg(REFERENCE, "sdk.1"))
    return made


async def test_it_sends(vendors: Vendors, sdk: SendGridAPIClient) -> None:
    to = CASES["sendgrid"].recipient()
    answer = await asyncio.to_thread(sdk.send, mail(to))
    assert (answer.status_code, answer.body) == (202, b"")
    [received] = await vendors.simulators.messages("sendgrid", to)
    assert received["id"] == answer.headers["X-Message-Id"]
    assert (received["text"], received["title"], received["ref"]) == ("Hello", "Sign in", "sdk.1")


async def test_it_finds_in_the_logs_and_the_activity_what_the_adapter_sent(
    vendors: Vendors, sdk: SendGridAPIClient
) -> None:
    sent, _ = await callbacks_of(vendors, "sendgrid")
    since = f"{sent.intended_at - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    query = f'to_email = "{sent.target.address}" AND sg_message_id_created_at >= TIMESTAMP "{since}"'

    def work() -> list[dict[str, Any]]:
        [logged] = sdk.client.logs.post(request_body={"query": query, "limit": 5}).to_dict["messages"]
        detail = sdk.client.logs._(logged["sg_message_id"]).get().to_dict
        like = {"query": f"msg_id LIKE '{logged['sg_message_id'].partition('.')[0]}%'", "limit": 1}
        [active] = sdk.client.messages.get(query_params=like).to_dict["messages"]
        return [logged, detail, active, sdk.client.messages._(active["msg_id"]).get().to_dict]

    for entry in await asyncio.to_thread(work):
        assert (entry["to_email"], entry["status"]) == (sent.target.address, "delivered")


async def test_each_refusal_is_its_own_error(vendors: Vendors, sdk: SendGridAPIClient) -> None:
    for status, kind in {
        400: exceptions.BadRequestsError,
        401: exceptions.UnauthorizedError,
        403: exceptions.ForbiddenError,
        404: exceptions.NotFoundError,
        405: exceptions.MethodNotAllowedError,
        413: exceptions.PayloadTooLargeError,
        429: exceptions.TooManyRequestsError,
        500: exceptions.InternalServerError,
        503: exceptions.ServiceUnavailableError,
    }.items():
        to = CASES["sendgrid"].recipient()
        await vendors.simulators.fault("sendgrid", "status", to, status=status)
        with pytest.raises(kind) as refused:
            await asyncio.to_thread(sdk.send, mail(to))
        assert refused.value.status_code == status
        assert refused.value.to_dict["errors"][0]["message"]
        # The reading of one 429 by both.
        if status == 429:
            reset = int(refused.value.headers["X-RateLimit-Reset"])
            result = await vendors.providers["sendgrid"].send(
                message(CASES["sendgrid"], vendors.listener.url, to), timeout_s=BUDGET_S
            )
            assert result.retry_after_s == pytest.approx(reset - datetime.now(UTC).timestamp(), abs=3)


async def test_the_simulator_itself_refuses_in_the_same_form(
    vendors: Vendors, sdk: SendGridAPIClient
) -> None:
    stranger = SendGridAPIClient("SG.another", host=base_url(vendors, "sendgrid"))
    calls: list[tuple[Callable[[], object], type[Exception]]] = [
        (lambda: stranger.send(mail("a@customers.example")), exceptions.UnauthorizedError),
        (lambda: sdk.send(mail("invalid@customers.example")), exceptions.BadRequestsError),
        (lambda: sdk.client.messages._("nothing").get(), exceptions.NotFoundError),
    ]
    for call, kind in calls:
        with pytest.raises(kind):
            await asyncio.to_thread(call)


async def test_it_accepts_the_simulators_signature(vendors: Vendors) -> None:
    _, callbacks = await callbacks_of(vendors, "sendgrid")
    webhook = EventWebhook(simulated.PUBLIC_KEY)
    for callback in callbacks:
        signature = callback.headers[EventWebhookHeader.SIGNATURE.lower()]
        timestamp = callback.headers[EventWebhookHeader.TIMESTAMP.lower()]
        body = callback.body.decode()
        assert webhook.verify_signature(body, signature, timestamp)
        assert not webhook.verify_signature(body.rstrip(), signature, timestamp)
        assert not webhook.verify_signature(body, signature, str(int(timestamp) + 1))
        verify_signature([load_public_key(simulated.PUBLIC_KEY)], callback)
        assert json.loads(body)[0]["sg_message_id"]
