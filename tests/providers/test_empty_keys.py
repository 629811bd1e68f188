"""An adapter with an empty key verifies nothing: it refuses what anyone could have signed with it."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pytest
from contract import INSTALLATION
from pydantic import SecretStr, ValidationError

from providers import registry
from providers.base import AnswersChallenge, CallbackRefused, CallbackRequest
from providers.settings import (
    AfricastalkingSettings,
    MailgunSettings,
    ProviderSettings,
    ResendSettings,
    SendgridSettings,
    TermiiSettings,
    TwilioSettings,
    WhatsAppCloudSettings,
)

NOW = datetime.now(UTC)
URL = f"{INSTALLATION.public_url}/v1/callbacks"
KEY = SecretStr("a-key-that-the-vendor-gave")


def signed(key: bytes, message: bytes, digest: str) -> str:
    return hmac.new(key, message, digest).hexdigest()


def twilio(key: SecretStr) -> ProviderSettings:
    # `from` is a keyword of Python.
    account = {"account_sid": "AC5e", "auth_token": key, "shared_key": key, "from": "Herald"}
    return ProviderSettings(twilio=TwilioSettings.model_validate(account))


def from_twilio(key: bytes) -> CallbackRequest:
    url = f"{URL}/twilio"
    signature = base64.b64encode(hmac.digest(key, f"{url}MessageSidSM1MessageStatussent".encode(), "sha1"))
    headers = {"x-twilio-signature": signature.decode(), "content-type": "application/x-www-form-urlencoded"}
    return CallbackRequest(url, headers, {}, b"MessageSid=SM1&MessageStatus=sent", NOW)


def termii(key: SecretStr) -> ProviderSettings:
    return ProviderSettings(termii=TermiiSettings(api_key=KEY, sender_id="Herald", webhook_secret=key))


def from_termii(key: bytes) -> CallbackRequest:
    body = json.dumps({"type": "outbound", "message_id": "1", "status": "Delivered"}).encode()
    headers = {"x-termii-signature": signed(key, body, "sha512")}
    return CallbackRequest(f"{URL}/termii", headers, {}, body, NOW)


def mailgun(key: SecretStr) -> ProviderSettings:
    account = MailgunSettings(api_key=KEY, domain="m.example", from_email="a@m.example", signing_key=key)
    return ProviderSettings(mailgun=account)


def from_mailgun(key: bytes) -> CallbackRequest:
    at = str(int(NOW.timestamp()))
    signature = {"timestamp": at, "token": "t", "signature": signed(key, f"{at}t".encode(), "sha256")}
    event = {"event": "delivered", "id": "e", "timestamp": NOW.timestamp(), "message": {"headers": {}}}
    body = json.dumps({"signature": signature, "event-data": event}).encode()
    return CallbackRequest(f"{URL}/mailgun", {}, {}, body, NOW)


def whatsapp_cloud(key: SecretStr) -> ProviderSettings:
    account = WhatsAppCloudSettings(phone_number_id="1", access_token=KEY, app_secret=key, verify_token=key)
    return ProviderSettings(whatsapp_cloud=account)


def from_whatsapp_cloud(key: bytes) -> CallbackRequest:
    body = b'{"object": "whatsapp_business_account", "entry": []}'
    headers = {"x-hub-signature-256": f"sha256={signed(key, body, 'sha256')}"}
    return CallbackRequest(f"{URL}/whatsapp_cloud", headers, {}, body, NOW)


def resend(key: SecretStr) -> ProviderSettings:
    clear = key.get_secret_value()
    secret = base64.b64encode(clear.encode()).decode() if clear.strip() else clear
    return ProviderSettings(
        resend=ResendSettings(api_key=KEY, from_email="a@m.example", webhook_secret=SecretStr(secret))
    )


def from_resend(key: bytes) -> CallbackRequest:
    # The library that verifies it compares it with the clock.
    now = datetime.now(UTC)
    at, body = str(int(now.timestamp())), b'{"type": "email.delivered", "data": {"email_id": "1"}}'
    signature = base64.b64encode(hmac.digest(key, f"m.{at}.".encode() + body, "sha256")).decode()
    headers = {"svix-id": "m", "svix-timestamp": at, "svix-signature": f"v1,{signature}"}
    return CallbackRequest(f"{URL}/resend", headers, {}, body, now)


def africastalking(key: SecretStr) -> ProviderSettings:
    account = AfricastalkingSettings(username="u", api_key=KEY, callback_secret=key)
    return ProviderSettings(africastalking=account)


def from_africastalking(key: bytes) -> CallbackRequest:
    return CallbackRequest(f"{URL}/africastalking", {}, {"secret": key.decode()}, b"id=1&status=Success", NOW)


def sendgrid(key: SecretStr) -> ProviderSettings:
    clear = key.get_secret_value()
    account = SendgridSettings(api_key=KEY, from_email="a@m.example", webhook_public_key=clear)
    return ProviderSettings(sendgrid=account)


def from_sendgrid(key: bytes) -> CallbackRequest:
    name = "x-twilio-email-event-webhook"
    headers = {f"{name}-signature": "", f"{name}-timestamp": str(int(NOW.timestamp()))}
    digest = hashlib.sha256(key).digest()
    headers[f"{name}-signature"] = base64.b64encode(digest).decode()
    return CallbackRequest(f"{URL}/sendgrid", headers, {}, b"[]", NOW)


VENDORS: Mapping[str, tuple[Callable[[SecretStr], ProviderSettings], Callable[[bytes], CallbackRequest]]] = {
    "twilio": (twilio, from_twilio),
    "termii": (termii, from_termii),
    "mailgun": (mailgun, from_mailgun),
    "whatsapp_cloud": (whatsapp_cloud, from_whatsapp_cloud),
    "resend": (resend, from_resend),
    "africastalking": (africastalking, from_africastalking),
    "sendgrid": (sendgrid, from_sendgrid),
}
SYMMETRIC = sorted(VENDORS.keys() - {"sendgrid"})


def test_every_provider_with_a_signature_is_here() -> None:
    assert {vendor.name for vendor in registry.VENDORS if vendor.capabilities.signature} == VENDORS.keys()


@pytest.mark.parametrize("vendor", SYMMETRIC)
async def test_a_callback_signed_with_the_key_is_read(vendor: str) -> None:
    """Otherwise the refusals below would prove nothing."""
    settings, callback = VENDORS[vendor]
    provider = registry.build(settings(KEY), INSTALLATION.catalog, INSTALLATION.public_url)[vendor]
    provider.parse_callback(callback(KEY.get_secret_value().encode()))
    await provider.aclose()


@pytest.mark.parametrize("key", ["", "  "], ids=["empty", "blank"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_callback_signed_with_an_empty_key_is_refused(vendor: str, key: str) -> None:
    settings, callback = VENDORS[vendor]
    try:
        account = settings(SecretStr(key))
        provider = registry.build(account, INSTALLATION.catalog, INSTALLATION.public_url)[vendor]
    except (ValidationError, registry.SettingsError):
        return  # the start is refused
    with pytest.raises(CallbackRefused):
        provider.parse_callback(callback(key.encode()))
    if isinstance(provider, AnswersChallenge):
        with pytest.raises(CallbackRefused):
            provider.challenge({"hub.mode": "subscribe", "hub.verify_token": key, "hub.challenge": "1"})
    await provider.aclose()
