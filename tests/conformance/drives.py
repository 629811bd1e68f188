"""Every operation of every adapter whose vendor publishes a document, in every documented form.

Server errors that a document does not describe are not simulated: they would check nothing.
Undocumented refusals are simulated: their request is still checked.
"""

import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from desk import TEXT, Desk, message

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
    run: Callable[[Desk], Awaitable[None]]


def number(ending: str = "00") -> str:
    """An unused phone number."""
    return f"+234803{next(_numbers):03}{ending:0>4}"


def mailbox(word: str = "ada") -> str:
    """An unused email address."""
    return f"{word}+{next(_numbers)}@customers.example"


async def twilio(desk: Desk) -> None:
    """Messages, the list in pages, and one message."""
    sent, id = await desk.send(number())
    await desk.look_up(sent, id)
    await desk.poll(id, "queued")
    desk.move(id, "sent")
    await desk.poll(id, "sent")
    desk.move(id, "undelivered", 30005)
    await desk.poll(id, "undelivered")
    # Enough to one recipient for a second page of the list.
    ours = desk.simulator.messages.pop(id)
    desk.simulator.messages[id] = ours
    for n in range(250):
        desk.simulator.messages[f"SM{n:032x}"] = replace(ours, id=f"SM{n:032x}", text="Another")
    await desk.look_up(sent, id)
    await desk.not_told("SM" + "f" * 32)
    await desk.send(number(), text="ü" * 1600)
    for to in ("+15005550001", "+15005550004", "+15005550009"):
        await desk.send(to, Outcome.REJECTED_RECIPIENT)
    for to in ("+15005550002", "+15005550003"):
        await desk.send(to, Outcome.REJECTED)
    await desk.struck(number(), 429, Outcome.THROTTLED)
    await desk.unknown_here(number())


async def sendgrid(desk: Desk) -> None:
    """Mails, the logs, and the email activity."""
    sent, id = await desk.send(mailbox())
    await desk.look_up(sent, id)
    await desk.poll(id, None)
    for status, code, means in (
        ("sent", None, "queued"),
        ("deferred", None, "queued"),
        ("delivered", None, "delivered"),
        ("open", None, "delivered"),
        ("spamreport", None, "delivered"),
    ):
        desk.move(id, status, code)
        await desk.poll(id, means)
        await desk.look_up(sent, id)
    for status, code in (("bounce", "5.1.1"), ("blocked", "5.7.1"), ("dropped", "Bounced Address")):
        other, other_id = await desk.send(mailbox())
        desk.move(other_id, status, code)
        await desk.poll(other_id, "undelivered")
        await desk.look_up(other, other_id)
    await desk.look_up(message(mailbox("Nobody")))
    await desk.poll("never-heard-of", None)
    await desk.send(mailbox("invalid"), Outcome.REJECTED_RECIPIENT)
    for status in (400, 401, 403, 404, 405, 413):
        await desk.struck(mailbox(), status, Outcome.REJECTED)
    await desk.struck(mailbox(), 500, Outcome.AMBIGUOUS)
    await desk.struck(mailbox(), 429, Outcome.THROTTLED)
    await desk.unknown_here(mailbox())


async def mailgun(desk: Desk) -> None:
    """Mails and events."""
    sent, id = await desk.send(mailbox())
    await desk.look_up(sent, id)
    for status, code, means in (
        ("failed", "temporary", "queued"),
        ("delivered", None, "delivered"),
        ("opened", None, "delivered"),
        ("complained", None, "delivered"),
    ):
        desk.move(id, status, code)
        await desk.poll(id, means)
    for status, code in (("failed", "bounce"), ("failed", "suppress-bounce"), ("rejected", None)):
        _, other = await desk.send(mailbox())
        desk.move(other, status, code)
        await desk.poll(other, "undelivered")
    await desk.look_up(message(mailbox()))
    await desk.poll("never@heard.example", None)
    await desk.send(mailbox("invalid"), Outcome.REJECTED_RECIPIENT)
    await desk.struck(mailbox(), 400, Outcome.REJECTED)
    await desk.struck(mailbox(), 429, Outcome.THROTTLED)
    await desk.struck(mailbox(), 500, Outcome.AMBIGUOUS)
    await desk.unknown_here(mailbox())


async def resend(desk: Desk) -> None:
    """Mails, their keys, and one mail."""
    sent, id = await desk.send(mailbox())
    await desk.repeat(sent)
    await desk.repeat(replace(sent, content=replace(sent.content, body="Another")), Outcome.AMBIGUOUS)
    await desk.poll(id, "queued")
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
        desk.move(id, status)
        await desk.poll(id, means)
    await desk.poll("00000000-0000-4000-8000-000000000000", None)
    await desk.send(mailbox("invalid"), Outcome.REJECTED_RECIPIENT)
    for status, code in ((422, "validation_error"), (403, "invalid_api_key"), (422, "invalid_from_address")):
        await desk.struck(mailbox(), status, Outcome.REJECTED, code)
    await desk.struck(mailbox(), 409, Outcome.AMBIGUOUS)
    for code in ("rate_limit_exceeded", "daily_quota_exceeded"):
        await desk.struck(mailbox(), 429, Outcome.THROTTLED, code)
    await desk.unknown_here(mailbox())


async def whatsapp_cloud(desk: Desk) -> None:
    """Texts and templates."""
    await desk.send(number())
    for type, text in (("statement", "Ready."), ("hello", "Hello"), ("debit_alert", TEXT)):
        await desk.send(number(), type=type, text=text)
    for ending, outcome in (
        ("9926", Outcome.REJECTED_RECIPIENT),
        ("9956", Outcome.THROTTLED),
        ("9930", Outcome.REJECTED),
    ):
        await desk.send(number(ending), outcome)
    await desk.send(number("9947"), Outcome.REJECTED_RECIPIENT, type="statement")
    await desk.send(number(), Outcome.REJECTED, type="unknown")
    for status, outcome in ((400, Outcome.REJECTED), (403, Outcome.REJECTED), (429, Outcome.THROTTLED)):
        await desk.struck(number(), status, outcome)
    await desk.unknown_here(number())


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
