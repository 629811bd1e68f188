"""Recipients' replies as each vendor passes them on: verified, and reduced to STOP or START."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from contract import CASES, Vendors

from domain.notification import Channel
from domain.replies import Reply, Word
from providers import registry
from providers.base import CallbackRefused, CallbackRequest, ReceivesReplies
from providers.sms import africastalking, termii, twilio_replies
from providers.whatsapp import whatsapp_cloud

VENDORS = [name for name, case in CASES.items() if case.replies]
NUMBER = "+2348031230000"


def test_which_vendors_pass_replies_on(vendors: Vendors) -> None:
    receiving = {name for name, one in vendors.providers.items() if isinstance(one, ReceivesReplies)}
    assert receiving == set(VENDORS)


async def reply_callback(vendors: Vendors, vendor: str, text: str) -> CallbackRequest:
    """The callback for a reply with this text."""
    before = len(vendors.listener.received)
    await vendors.simulators.reply(vendor, NUMBER, text)
    [request] = [request for name, request in vendors.listener.received[before:] if name == vendor]
    return request


def parsed_replies(vendors: Vendors, vendor: str, request: CallbackRequest) -> list[Reply]:
    provider = vendors.providers[vendor]
    assert isinstance(provider, ReceivesReplies)
    assert provider.parse_callback(request) == [], "a reply is not a receipt"
    return list(provider.parse_replies(request))


@pytest.mark.parametrize("vendor", VENDORS)
async def test_stop_and_start_are_recognised(vendors: Vendors, vendor: str) -> None:
    keys = set[str | None]()
    for text, word in (("Stop", Word.STOP), ("START ", Word.START), ("STOP", Word.STOP)):
        [reply] = parsed_replies(vendors, vendor, await reply_callback(vendors, vendor, text))
        assert (reply.channel, reply.address, reply.word) == (registry.KNOWN[vendor], NUMBER, word)
        keys.add(reply.event_key)
    assert len(keys - {None}) == 3


@pytest.mark.parametrize("vendor", VENDORS)
async def test_other_replies_are_ignored(vendors: Vendors, vendor: str) -> None:
    for text in ("Thank you!", "stop it, please", "HELP"):
        assert parsed_replies(vendors, vendor, await reply_callback(vendors, vendor, text)) == []


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_forged_reply_is_refused(vendors: Vendors, vendor: str) -> None:
    request, provider = await reply_callback(vendors, vendor, "START"), vendors.providers[vendor]
    assert isinstance(provider, ReceivesReplies)
    forged = replace(request, body=request.body.replace(b"START", b"STOP"))
    if parameters := CASES[vendor].signature_query:
        forged = replace(request, query=dict.fromkeys(parameters, "another"))
    for wrong in (forged, replace(request, headers={}, query={})):
        with pytest.raises(CallbackRefused):
            provider.parse_replies(wrong)


SID = "SM" + "0" * 32


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"Body": "Basta", "OptOutType": "STOP"}, Word.STOP),
        ({"Body": "Adelante", "OptOutType": "START"}, Word.START),
        # Twilio's own classification of the reply takes precedence.
        ({"Body": "stop", "OptOutType": "HELP"}, None),
        ({"Body": "Arrêt"}, Word.STOP),
        ({"Body": "YES"}, Word.START),
        ({"Body": "STOP", "From": "HERALD"}, None),
        ({"Body": "STOP", "From": "whatsapp:+2348031230000"}, None),
        ({"Body": "STOP", "MessageSid": "1"}, None),
        ({"MessageStatus": "delivered", "Body": "STOP"}, None),
        ({}, None),
    ],
)
def test_twilios_classification_of_a_reply_is_used(fields: Mapping[str, str], word: Word | None) -> None:
    reply = twilio_replies.parse_reply({"From": NUMBER, "MessageSid": SID, **fields})
    assert reply == (Reply(Channel.SMS, NUMBER, word, SID) if word else None)


def test_an_opt_out_at_africas_talking_has_no_id() -> None:
    fields = {"senderId": "Herald", "phoneNumber": NUMBER}
    assert africastalking.parse_reply(fields) == Reply(Channel.SMS, NUMBER, Word.STOP)
    assert africastalking.parse_reply({"senderId": "Herald", "phoneNumber": "nobody"}) is None


async def test_an_opt_out_at_africas_talking_is_recognised(vendors: Vendors) -> None:
    request = await reply_callback(vendors, "africastalking", "OPT-OUT")
    assert parsed_replies(vendors, "africastalking", request) == [Reply(Channel.SMS, NUMBER, Word.STOP)]
    report = replace(request, body=urlencode({"phoneNumber": NUMBER, "status": "Success"}).encode())
    with pytest.raises(CallbackRefused, match="no id"):
        vendors.providers["africastalking"].parse_callback(report)


def test_termiis_received_messages_are_recognised() -> None:
    # The documented example (developer.termii.com/incoming) with another text.
    example: dict[str, Any] = {
        "type": "inbound",
        "id": "8248611476370959318",
        "message_id": "3905204342778053556",
        "receiver": "12022214836",
        "sender": "2347069549231",
        "message": "Stop ",
        "received_at": "2020-12-16T10:51:03.000000Z",
        "cost": None,
        "command": "Received",
        "status": "Received",
        "channel": None,
    }
    reply = termii.parse_reply(example)
    assert reply is not None
    assert (reply.address, reply.word, reply.event_key) == (
        "+2347069549231",
        Word.STOP,
        "3905204342778053556",
    )
    assert reply.said_at is not None
    assert reply.said_at.isoformat() == "2020-12-16T10:51:03+00:00"
    for other in ({"type": "outbound"}, {"channel": "whatsapp"}, {"message_id": None}, {"sender": "Herald"}):
        assert termii.parse_reply(example | other) is None


def test_a_reply_by_our_button_counts() -> None:
    pressed = {
        "from": "2348031230000",
        "id": "wamid.HBgLMjM0ODAzMTIzMDAwMA==",
        "timestamp": "1767225600",
        "type": "button",
        "button": {"text": "STOP", "payload": "anything"},
    }
    reply = whatsapp_cloud.parse_reply(json.loads(json.dumps(pressed)))
    assert reply is not None
    assert (reply.address, reply.word, reply.channel) == (NUMBER, Word.STOP, Channel.WHATSAPP)
    assert reply.said_at is not None
    assert whatsapp_cloud.parse_reply({**pressed, "button": {"payload": "STOP"}}) is None
