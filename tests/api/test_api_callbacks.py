"""Callbacks: verified over their raw bytes, stored once, then acknowledged."""

import base64
import hashlib
import hmac
import json
import time
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
from api_case import AUTH_TOKEN, SIGNING_KEY, VERIFY_TOKEN

from storage.postgres import Pool

PUBLIC_URL = "https://herald.example"


def twilio(sid: str, ref: str, status: str = "delivered") -> tuple[str, dict[str, str], bytes]:
    """A signed status callback: path, headers, body."""
    path = f"/v1/callbacks/twilio?ref={ref}"
    fields = {"MessageSid": sid, "MessageStatus": status, "To": "+2348031236789", "Extra": "ü &="}
    signed = PUBLIC_URL + path + "".join(f"{name}{fields[name]}" for name in sorted(fields))
    signature = base64.b64encode(hmac.digest(AUTH_TOKEN.encode(), signed.encode(), "sha1")).decode()
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
    return path, headers, urlencode(fields).encode()


def mailgun(event: str = "delivered") -> bytes:
    """A signed webhook."""
    timestamp, token = str(int(time.time())), uuid4().hex
    signature = hmac.new(SIGNING_KEY.encode(), (timestamp + token).encode(), hashlib.sha256).hexdigest()
    return json.dumps(
        {
            "signature": {"timestamp": timestamp, "token": token, "signature": signature},
            "event-data": {
                "event": event,
                "id": uuid4().hex,
                "timestamp": time.time(),
                "message": {"headers": {"message-id": "one@mail.example"}},
            },
        }
    ).encode()


def root(api: httpx.AsyncClient) -> str:
    return str(api.base_url).removesuffix("/v1/")


@pytest.fixture
def sid() -> str:
    return f"SM{uuid4().hex}"


async def test_a_callback_is_stored_once(api: httpx.AsyncClient, pool: Pool, sid: str) -> None:
    delivery = uuid4()
    path, headers, body = twilio(sid, f"{delivery}.1")
    async with httpx.AsyncClient(base_url=root(api), trust_env=False) as vendor:
        for _ in range(2):
            answer = await vendor.post(path, headers=headers, content=body)
            assert answer.status_code == 200, answer.text
    row = await pool.fetchrow("SELECT * FROM receipt_inbox WHERE provider_message_id = $1", sid)
    assert row is not None
    assert (row["delivery_id"], row["attempt_number"], row["status"]) == (delivery, 1, "delivered")
    async with httpx.AsyncClient(base_url=root(api), trust_env=False) as operator:
        text = (await operator.get("/metrics")).text
    assert 'herald_receipts_total{provider="twilio",status="delivered"} 2.0' in text


async def test_mailguns_signature_is_in_the_body(api: httpx.AsyncClient, pool: Pool) -> None:
    answer = await api.post("/callbacks/mailgun", content=mailgun())
    assert answer.status_code == 200, answer.text
    assert await pool.fetchval("SELECT count(*) FROM receipt_inbox WHERE provider = 'mailgun'") == 1


async def test_a_callback_without_a_valid_signature_is_refused(
    api: httpx.AsyncClient, pool: Pool, sid: str
) -> None:
    path, headers, body = twilio(sid, "ref")
    forged = [
        (path, headers, body + b"&More=1"),
        (path.replace("ref=ref", "ref=other"), headers, body),
        (path, headers | {"X-Twilio-Signature": "bm90aGluZw=="}, body),
        (path, {name: value for name, value in headers.items() if name != "X-Twilio-Signature"}, body),
        ("/v1/callbacks/mailgun", {}, mailgun().replace(b'"token": "', b'"token": "0')),
    ]
    async with httpx.AsyncClient(base_url=root(api), trust_env=False) as vendor:
        for where, heads, content in forged:
            answer = await vendor.post(where, headers=heads, content=content)
            assert answer.status_code == 401, answer.text
            assert answer.json()["code"].startswith("signature_")
    assert await pool.fetchval("SELECT count(*) FROM receipt_inbox WHERE provider_message_id = $1", sid) == 0


async def test_a_malformed_callback_is_a_bad_request(api: httpx.AsyncClient) -> None:
    for content in (b"", b"{", b"[]", b"\xff", b"[" * 50_000):
        answer = await api.post("/callbacks/mailgun", content=content)
        assert answer.status_code in (400, 401), (content, answer.text)


async def test_callbacks_of_unconfigured_providers_are_not_found(api: httpx.AsyncClient) -> None:
    for name in ("termii", "nobody", "%00"):
        answer = await api.post(f"/callbacks/{name}", content=b"{}")
        assert (answer.status_code, answer.json()["code"]) == (404, "provider_not_found")


async def test_a_challenge_with_the_right_token_is_answered_in_plain_text(api: httpx.AsyncClient) -> None:
    asked = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": VERIFY_TOKEN}
    async with httpx.AsyncClient(base_url=root(api), trust_env=False) as vendor:
        challenge = await vendor.get("/v1/callbacks/whatsapp_cloud", params=asked)
        assert (challenge.status_code, challenge.text) == (200, "1158201444")
        assert challenge.headers["content-type"].startswith("text/plain")
        for name, query, answer in (
            ("whatsapp_cloud", {**asked, "hub.verify_token": "x"}, (401, "verify_token_wrong")),
            ("twilio", asked, (404, "callbacks_not_challenged")),
            ("nobody", asked, (404, "provider_not_found")),
        ):
            refused = await vendor.get(f"/v1/callbacks/{name}", params=query)
            assert (refused.status_code, refused.json()["code"]) == answer
            assert "1158201444" not in refused.text
