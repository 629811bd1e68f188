"""Every operation of every adapter whose vendor publishes a document, in every documented form.

Server errors that a document does not describe are not simulated: they would check nothing.
Undocumented refusals are simulated: their request is still checked.
"""

import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from vendor_drive import TEXT, VendorDrive, message

from domain.outcome import Outcome

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Drive:
    """How one vendor is driven. `documents`: file name by the beginning of the paths that it describes.

    `credential`: the setting that is wrong for the stranger.
    """

    vendor: str
    documents: Mapping[str, str]
    credential: str
    run: Callable[[VendorDrive], Awaitable[None]]


def number(ending: str = "00") -> str:
    """An unused phone number."""
    return f"+234803{next(_numbers):03}{ending:0>4}"


def mailbox(word: str = "ada") -> str:
    """An unused email address."""
    return f"{word}+{next(_numbers)}@customers.example"


async def twilio(vendor: VendorDrive) -> None:
    """Messages, the list in pages, and one message."""
    sent, id = await vendor.send(number())
    await vendor.look_up(sent, id)
    await vendor.poll(id, "queued")
    vendor.move(id, "sent")
    await vendor.poll(id, "sent")
    vendor.move(id, "undelivered", 30005)
    await vendor.poll(id, "undelivered")
    # Enough to one recipient for a second page of the list.
    ours = vendor.simulator.messages.pop(id)
    vendor.simulator.messages[id] = ours
    for n in range(250):
        vendor.simulator.messages[f"SM{n:032x}"] = replace(ours, id=f"SM{n:032x}", text="Another")
    await vendor.look_up(sent, id)
    await vendor.poll_refused("SM" + "f" * 32)
    await vendor.send(number(), text="ü" * 1600)
    for to in ("+15005550001", "+15005550004", "+15005550009"):
        await vendor.send(to, Outcome.REJECTED_RECIPIENT)
    for to in ("+15005550002", "+15005550003"):
        await vendor.send(to, Outcome.REJECTED)
    await vendor.struck(number(), 429, Outcome.THROTTLED)
    await vendor.unknown_here(number())


async def sendgrid(vendor: VendorDrive) -> None:
    """Mails, the logs, and the email activity."""
    sent, id = await vendor.send(mailbox())
    await vendor.look_up(sent, id)
    await vendor.poll(id, None)
    for status, code, means in (
        ("sent", None, "queued"),
        ("deferred", None, "queued"),
        ("delivered", None, "delivered"),
        ("open", None, "delivered"),
        ("spamreport", None, "delivered"),
    ):
        vendor.move(id, status, code)
        await vendor.poll(id, means)
        await vendor.look_up(sent, id)
    for status, code in (("bounce", "5.1.1"), ("blocked", "5.7.1"), ("dropped", "Bounced Address")):
        other, other_id = await vendor.send(mailbox())
        vendor.move(other_id, status, code)
        await vendor.poll(other_id, "undelivered")
        await vendor.look_up(other, other_id)
    await vendor.look_up(message(mailbox("Nobody")))
    await vendor.poll("never-heard-of", None)
    await vendor.send(mailbox("invalid"), Outcome.REJECTED_RECIPIENT)
    for status in (400, 401, 403, 404, 405, 413):
        await vendor.struck(mailbox(), status, Outcome.REJECTED)
    await vendor.struck(mailbox(), 500, Outcome.AMBIGUOUS)
    await vendor.struck(mailbox(), 429, Outcome.THROTTLED)
    await vendor.unknown_here(mailbox())


async def mailgun(vendor: VendorDrive) -> None:
    """Mails and events."""
    sent, id = await vendor.send(mailbox())
    await vendor.look_up(sent, id)
    for status, code, means in (
        ("failed", "temporary", "queued"),
        ("delivered", None, "delivered"),
        ("opened", None, "delivered"),
        ("complained", None, "delivered"),
    ):
        vendor.move(id, status, code)
        await vendor.poll(id, means)
    for status, code in (("failed", "bounce"), ("failed", "suppress-bounce"), ("rejected", None)):
        _, other = await vendor.send(mailbox())
        vendor.move(other, status, code)
        await vendor.poll(other, "undelivered")
    await vendor.look_up(message(mailbox()))
    await vendor.poll("never@heard.example", None)
    await vendor.send(mailbox("invalid"), Outcome.REJECTED_RECIPIENT)
    await vendor.struck(mailbox(), 400, Outcome.REJECTED)
    await vendor.struck(mailbox(), 429, Outcome.THROTTLED)
    await vendor.struck(mailbox(), 500, Outcome.AMBIGUOUS)
    await vendor.unknown_here(mailbox())


async def resend(vendor: VendorDrive) -> None:
    """Mails, their keys, and one mail."""
    sent, id = await vendor.send(mailbox())
    await vendor.repeat(sent)
    await vendor.repeat(replace(sent, content=replace(sent.content, body="Another")), Outcome.AMBIGUOUS)
    await vendor.poll(id, "queued")
    for status, means in (
        ("sent", "queued"),
        ("delivery_delayed", "queued"),
        ("delivered", "delivered"),
        ("opened", "delivered"),
        ("clicked", "delivered"),
        ("complained", "delivered"),
        ("bounced", "undelivered"),
        ("suppressed", "undelivered"),
        ("failed", "undelivered"),
        ("canceled", "undelivered"),
    ):
        vendor.move(id, status)
        await vendor.poll(id, means)
    await vendor.poll("00000000-0000-4000-8000-000000000000", None)
    await vendor.send(mailbox("invalid"), Outcome.REJECTED_RECIPIENT)
    for status, code in ((422, "validation_error"), (403, "invalid_api_key"), (422, "invalid_from_address")):
        await vendor.struck(mailbox(), status, Outcome.REJECTED, code)
    await vendor.struck(mailbox(), 409, Outcome.AMBIGUOUS)
    for code in ("rate_limit_exceeded", "daily_quota_exceeded"):
        await vendor.struck(mailbox(), 429, Outcome.THROTTLED, code)
    await vendor.unknown_here(mailbox())


async def whatsapp_cloud(vendor: VendorDrive) -> None:
    """Texts and templates."""
    await vendor.send(number())
    for type, text in (("statement", "Ready."), ("hello", "Hello"), ("debit_alert", TEXT)):
        await vendor.send(number(), type=type, text=text)
    for ending, outcome in (
        ("9926", Outcome.REJECTED_RECIPIENT),
        ("9956", Outcome.THROTTLED),
        ("9930", Outcome.REJECTED),
    ):
        await vendor.send(number(ending), outcome)
    await vendor.send(number("9947"), Outcome.REJECTED_RECIPIENT, type="statement")
    await vendor.send(number(), Outcome.REJECTED, type="unknown")
    for status, outcome in ((400, Outcome.REJECTED), (403, Outcome.REJECTED), (429, Outcome.THROTTLED)):
        await vendor.struck(number(), status, outcome)
    await vendor.unknown_here(number())


DRIVES = (
    Drive("twilio", {"/": "twilio_api_v2010_messages.json"}, "AUTH_TOKEN", twilio),
    Drive(
        "sendgrid",
        {
            "/v3/mail/": "tsg_mail_v3_prism.json",
            "/v3/logs": "tsg_logs_v3.json",
            "/v3/messages": "tsg_email_activity_v3.json",
        },
        "API_KEY",
        sendgrid,
    ),
    Drive("mailgun", {"/": "mailgun_messages_events_prism.yaml"}, "API_KEY", mailgun),
    Drive("resend", {"/": "resend.yaml"}, "API_KEY", resend),
    Drive("whatsapp_cloud", {"/": "whatsapp_cloud_messages_trimmed.yaml"}, "ACCESS_TOKEN", whatsapp_cloud),
)
